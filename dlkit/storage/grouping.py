"""Tables cut and joined: a format writes units of its own size, whatever size came in."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np

from dlkit.storage.columns import Column, Pieces, Rows, Table
from dlkit.storage.schema import Field, Schema


def joined(schema: Schema, tables: Sequence[Table]) -> Table:
    """Lay tables of one schema end to end."""
    columns: list[Column] = []
    for parts in zip(*(table.columns for table in tables), strict=True):
        if isinstance(parts[0], Rows):
            columns.append(Rows(np.concatenate([part.values for part in parts])))
            continue
        pieces = cast(tuple[Pieces, ...], parts)
        bases = np.cumsum([0, *(int(piece.offsets[-1]) for piece in pieces)])
        offsets = [p.offsets[:-1] + base for p, base in zip(pieces, bases, strict=False)]
        shapes = None
        if pieces[0].shapes is not None:
            shapes = np.concatenate([p.shapes for p in pieces if p.shapes is not None])
        columns.append(
            Pieces(
                np.concatenate([piece.values for piece in pieces]),
                np.concatenate([*offsets, bases[-1:]]),
                shapes,
            )
        )
    return Table(schema, tuple(columns), sum(map(len, tables)))


def regrouped(tables: Iterable[Table], nbytes: int) -> Iterator[Table]:
    """Cut and join tables so that each but the last has about `nbytes` bytes.

    Example:
        >>> from dlkit.storage.tabulate import tabulate
        >>> [len(table) for table in regrouped([tabulate([1, 2, 3]), tabulate([4, 5])], 16)]
        [2, 2, 1]
    """
    waiting: list[Table] = []
    missing = nbytes
    for table in tables:
        start = 0
        row = max(1, table.nbytes // max(1, len(table)))
        while start < len(table):
            end = min(len(table), start + max(1, missing // row))
            waiting.append(_part(table, start, end))
            missing -= row * (end - start)
            start = end
            if missing < row:
                yield _all(waiting)
                waiting, missing = [], nbytes
    if waiting:
        yield _all(waiting)


def _all(tables: Sequence[Table]) -> Table:
    return tables[0] if len(tables) == 1 else joined(tables[0].schema, tables)


def _part(table: Table, start: int, end: int) -> Table:
    if (start, end) == (0, len(table)):
        return table
    return table.take(np.arange(start, end))


def arrays_of(table: Table) -> list[Any]:
    """Return the arrays of all columns, in order: what a checksum over a table is taken of."""
    arrays: list[Any] = []
    for column in table.columns:
        if isinstance(column, Rows):
            arrays.append(column.values)
        else:
            arrays += [column.values, column.offsets]
            arrays += [] if column.shapes is None else [column.shapes]
    return arrays


def values_of(table: Table) -> Callable[[int], list[Any]]:
    """Return the function from a position to the arrays and bytes of one sample."""

    def value(field: Field, column: Column, place: int) -> Any:
        if isinstance(column, Rows):
            return column.values[place]
        piece = column.values[column.offsets[place] : column.offsets[place + 1]]
        if column.shapes is None:
            return piece.tobytes()
        return piece.reshape([side for side in column.shapes[place].tolist() if side != -1])

    pairs = list(zip(table.schema.fields, table.columns, strict=True))
    return lambda place: [value(field, column, place) for field, column in pairs]
