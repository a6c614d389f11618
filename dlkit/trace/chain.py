"""A chain: what the training loop went through, one row for each batch.

    asked ----> between ----> ready ----> asked again
      |  before   |   after     |  compute  |
      +---------- wait ---------+

A batch of rows in memory takes 20 microseconds, of which a note for each stage would take one. What
ends is where the next thing begins, so three times say it all, and `read` makes spans of them.
"""

import numpy as np
import numpy.typing as npt

from dlkit.trace.rings import Records, Rows, to_records
from dlkit.trace.spans import CODES, EPOCH, LOOP


class Chain(Rows):
    """The newest batches that the training loop got.

    A row is its running number, the batch's key, and three times: when it was asked for, when the
    stage `before` ended and `after` began, and when the batch was there. A row whose key is below 0
    says that there was no batch: at the end of a pass, or where one failed.

    Args:
        capacity: how many batches.
        before: the stage from asking on; None where nothing of the batch happens then.
        after: the stage until it is there; batches whose middle time is 0 have none of the two.

    Attributes:
        computing: whether training computes all the time from one batch until it asks for the next.
            Who iterates and does other things beside says when it computed, and clears this.
        left_out: batches that were not noted, because they came too fast.

    Example:
        >>> from dlkit.trace.rings import no_records
        >>> from dlkit.trace.spans import STAGES
        >>> chain = Chain(10, "sample", "fetch")
        >>> chain.extend((next(chain.numbers), 0, 100, 103, 150))
        >>> chain.end(200)
        >>> records, dropped = chain.read(no_records())
        >>> [(STAGES[r["stage"]], int(r["start"]), int(r["end"])) for r in records]
        [('sample', 100, 103), ('fetch', 103, 150), ('wait', 100, 150), ('compute', 150, 200)]
    """

    def __init__(self, capacity: int, before: str | None, after: str) -> None:
        super().__init__(capacity, 5)
        self._before, self._after = before, after
        self.computing = True
        self.left_out = 0

    def begin(self) -> None:
        """A pass begins: what came before it is not followed by its first batch."""
        self.end(0)

    def end(self, asked: int) -> None:
        """Note that a batch was asked for, and there was none."""
        self.extend((-1, -1, asked, asked, asked))

    def clear(self) -> None:
        """Forget all batches."""
        super().clear()
        self.left_out = 0

    def read(self, collated: Records) -> tuple[Records, int]:
        """Return the spans of the batches, and how many are not there any more.

        Args:
            collated: spans of collating, which ends the stage `after` where a batch has one.
        """
        table = self.table()
        there = table[:, 1] >= 0
        batches = table[there]
        _, key, asked, between, ready = batches.T
        apart = between > 0
        done = _begun(collated, key, ready)
        spans = {"wait": (asked, ready, key)}
        if self.computing:
            spans["compute"] = _computed(table, there)
        found = {self._after: (between[apart], done[apart], key[apart])}
        if self._before is not None:
            found = {self._before: (asked[apart], between[apart], key[apart]), **found}
        records = [_spans(stage, *columns) for stage, columns in {**found, **spans}.items()]
        of_a_batch = len(spans) + (len(found) if apart.any() else 0)
        return np.concatenate(records), of_a_batch * (self.dropped(batches) + self.left_out)


Column = npt.NDArray[np.int64]


def _begun(collated: Records, key: Column, ready: Column) -> Column:
    """Return when each batch's collating began, and where it has none, when it was there."""
    if not len(collated):
        return ready
    keys = collated["epoch"].astype(np.int64) * EPOCH + collated["batch"]
    begun = dict(zip(keys.tolist(), collated["start"].tolist(), strict=True))
    return np.array([begun.get(k, r) for k, r in zip(key.tolist(), ready.tolist(), strict=True)])


def _computed(
    table: npt.NDArray[np.int64], there: npt.NDArray[np.bool_]
) -> tuple[Column, Column, Column]:
    """Training computes from one batch until it asks for the next, or finds the end."""
    last = np.flatnonzero(there[:-1]) if len(table) else np.empty(0, dtype=np.int64)
    last = last[table[last + 1, 2] > 0]
    return table[last, 4], table[last + 1, 2], table[last, 1]


def _spans(stage: str, start: Column, end: Column, key: Column) -> Records:
    none = np.full(len(key), -1)
    code = np.full(len(key), CODES[stage])
    rows = {"start": start, "end": end, "key": key, "stage": code, "index": none, "cpu": none}
    return to_records(rows, LOOP)
