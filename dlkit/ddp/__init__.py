"""Many ranks: processes that train one model together, each on its share of the data.

    launch / torchrun --> context --> meeting --> process group --> DDP
                          who am I    all here?   all-reduce

Read in this order:

    context      rank, world size, device            group      opening and closing, the barrier
    meeting      how ranks find each other, the barrier, and who is missing
    reductions   exact sums, means and gathers        uneven     ranks with fewer batches
    same_data    do all ranks hold the same data?     seeds      random numbers by rank
    launch       ranks from a notebook cell           output     printing once
    rank, child  a rank from outside, and inside     server     what ranks are forked from
    errors       what goes wrong, by rank            scaling    how many ranks pay
    exchange     when gradients travel, in a trace

Everything works the same in one process without ranks, so one program serves both.
"""

from dlkit.ddp.context import Context, current
from dlkit.ddp.errors import (
    MismatchedDataError,
    MissingRankError,
    RankDiedError,
    RankTimeoutError,
    RendezvousError,
)
from dlkit.ddp.exchange import RankTime, spans_of_ranks, time_of_ranks
from dlkit.ddp.group import barrier, process_group
from dlkit.ddp.launch import launch
from dlkit.ddp.output import print_once, progress
from dlkit.ddp.reductions import (
    from_first,
    gather,
    gather_uneven,
    sum_over_ranks,
    total,
    weighted_mean,
)
from dlkit.ddp.same_data import check_same_data
from dlkit.ddp.seeds import seed_of_rank, seed_ranks
from dlkit.ddp.uneven import join

__all__ = [
    "Context",
    "MismatchedDataError",
    "MissingRankError",
    "RankDiedError",
    "RankTime",
    "RankTimeoutError",
    "RendezvousError",
    "barrier",
    "check_same_data",
    "current",
    "from_first",
    "gather",
    "gather_uneven",
    "join",
    "launch",
    "print_once",
    "process_group",
    "progress",
    "seed_of_rank",
    "seed_ranks",
    "spans_of_ranks",
    "sum_over_ranks",
    "time_of_ranks",
    "total",
    "weighted_mean",
]
