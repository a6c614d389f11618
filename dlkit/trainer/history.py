"""What training did, one row per epoch, as a tidy table.

Every row has the same columns, every column one meaning and one unit:

| column | meaning |
|---|---|
| `epoch` | counted from 1 |
| `train_loss`, `train_accuracy` | means over the samples of the epoch, while the weights changed |
| `val_loss`, `val_accuracy` | means over the validation samples, after the epoch |
| `samples_per_second` | training samples divided by `seconds` |
| `wait_share` | share of `seconds` spent inside `next(loader)`, 0 to 1 |
| `lr` | learning rate of the first parameter group at the first step of the epoch |
| `seconds` | wall time of the epoch's training part, validation left out |
| `batch_size` | largest batch of the epoch |

A metric of your own adds `train_<name>` and `val_<name>`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, float]

TIMINGS = ("samples_per_second", "wait_share", "seconds")
"""The columns that differ from run to run even when the numbers of the training do not."""


class History(Sequence[Row]):
    """A list of epochs, each a `dict` from column to number.

    Args:
        rows: Rows to start with; they are copied.

    Example:
        >>> history = History([{"epoch": 1, "val_loss": 0.5}, {"epoch": 2, "val_loss": 0.4}])
        >>> history.column("val_loss")
        [0.5, 0.4]
        >>> history.best("val_loss")["epoch"]
        2
        >>> print(history)
        epoch  val_loss
            1    0.5000
            2    0.4000
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.rows: list[Row] = [dict(row) for row in rows]

    def append(self, row: Row) -> None:
        """Add the row of one more epoch."""
        self.rows.append(dict(row))

    @property
    def columns(self) -> list[str]:
        """Names of all columns, in the order in which they first appeared."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def column(self, name: str) -> list[float]:
        """Return one column, epoch by epoch; NaN where an epoch has no such number.

        Raises:
            KeyError: If no epoch has it.
        """
        if name not in self.columns:
            raise KeyError(f"no column {name!r} in the history, there are {self.columns}")
        return [row.get(name, math.nan) for row in self.rows]

    def best(self, name: str, mode: str = "auto") -> Row:
        """Return the epoch with the best value of a column.

        Args:
            name: A column.
            mode: `"min"`, `"max"`, or `"auto"`: the smallest loss, the largest of anything else.

        Raises:
            KeyError: If there is no such column.
            ValueError: If `mode` is none of these, or the column is NaN in every epoch.
        """
        pick = min if better_direction(name, mode) == "min" else max
        values = self.column(name)
        known = [index for index, value in enumerate(values) if not math.isnan(value)]
        if not known:
            raise ValueError(f"{name!r} is NaN in every epoch: there is no best one")
        return self.rows[pick(known, key=lambda index: values[index])]

    def without_timings(self) -> list[Row]:
        """Return the rows without the columns that depend on the clock: equal for equal runs."""
        return [{k: v for k, v in row.items() if k not in TIMINGS} for row in self.rows]

    def to_pandas(self) -> "pd.DataFrame":
        """Return the table as a `pandas.DataFrame`, one row per epoch."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=self.columns)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> "History": ...
    def __getitem__(self, index: int | slice) -> "Row | History":
        return History(self.rows[index]) if isinstance(index, slice) else self.rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, History) and self.rows == other.rows

    __hash__ = None  # type: ignore[assignment]  # it grows, so it must not be a key

    def __repr__(self) -> str:
        return f"History({len(self)} epochs: {', '.join(self.columns)})"

    def __str__(self) -> str:
        table = [self.columns, *([_text(row.get(c)) for c in self.columns] for row in self.rows)]
        widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
        lines = ("  ".join(map(str.rjust, cells, widths)) for cells in table)
        return "\n".join(lines) if self.rows else "no epoch yet"


def better_direction(name: str, mode: str = "auto") -> str:
    """Return `"min"` or `"max"`: which way a column gets better.

    Raises:
        ValueError: If `mode` is not `"auto"`, `"min"` or `"max"`.

    Example:
        >>> better_direction("val_loss"), better_direction("val_accuracy")
        ('min', 'max')
    """
    if mode not in ("auto", "min", "max"):
        raise ValueError(f"mode must be 'auto', 'min' or 'max', got {mode!r}")
    if mode == "auto":
        return "min" if "loss" in name else "max"
    return mode


def _text(value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int) or (abs(value) >= 1000 and math.isfinite(value)):
        return f"{value:.0f}"
    return f"{value:.4f}"
