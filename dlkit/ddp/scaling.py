"""How many ranks pay: the time of a step from what it computes and what it sends.

    step of N ranks = computing on 1/N of the batch, or exchanging gradients, whichever lasts longer

The exchange is a ring all-reduce: each rank sends 2 (N - 1) messages of 1/N of the gradients to its
neighbour. So the bytes hardly grow with N, and the number of messages does. (Thakur, Rabenseifner
and Gropp, "Optimization of Collective Communication Operations in MPICH", 2005; Patarasuk and Yuan,
"Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.)
"""

from dataclasses import dataclass

from dlkit.checks import check_positive_int


@dataclass(frozen=True)
class Network:
    """What a message costs.

    Args:
        latency: seconds before the first byte arrives.
        bandwidth: bytes/s of each rank.

    Raises:
        ValueError: if latency is negative or bandwidth not above 0.
    """

    latency: float
    bandwidth: float

    def __post_init__(self) -> None:
        if not self.latency >= 0:
            raise ValueError(f"latency must be 0 or more seconds, but got {self.latency!r}")
        if not self.bandwidth > 0:
            raise ValueError(f"bandwidth must be above 0 bytes/s, but got {self.bandwidth!r}")


def all_reduce_seconds(nbytes: float, world_size: int, network: Network) -> float:
    """Return how long a ring all-reduce takes.

    Args:
        nbytes: of the gradients; four for each float32 parameter.
        world_size: ranks in the ring.
        network: between neighbours.

    Example:
        >>> round(all_reduce_seconds(1e6, 4, Network(latency=1e-5, bandwidth=1e9)), 9)
        0.00156
    """
    check_positive_int("world_size", world_size)
    messages = 2 * (world_size - 1)
    return messages * (network.latency + nbytes / world_size / network.bandwidth)


def step_seconds(
    compute: float, nbytes: float, world_size: int, network: Network, *, overlap: float = 1.0
) -> float:
    """Return the seconds of a step of all ranks, which share one batch.

    Args:
        compute: seconds that one rank computes on the whole batch.
        nbytes: of the gradients.
        world_size: how many ranks share the batch.
        network: between them.
        overlap: share of the computing during which gradients can be sent, 0 to 1. They come out
            of the backward pass one by one, so for DDP about two thirds; with 0 sending follows.

    Raises:
        ValueError: if `overlap` is no share.

    Example:
        >>> step_seconds(1.0, 0.0, 4, Network(0.0, 1.0))
        0.25
        >>> step_seconds(1.0, 1e9, 4, Network(0.0, 1e9), overlap=0.0)
        1.75
    """
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap must be a share from 0 to 1, but got {overlap!r}")
    own = compute / world_size
    sending = all_reduce_seconds(nbytes, world_size, network)
    return own + max(0.0, sending - overlap * own)


def efficiency(
    compute: float, nbytes: float, world_size: int, network: Network, *, overlap: float = 1.0
) -> float:
    """Return the speed-up over one rank, divided by the number of ranks: 1 is perfect.

    Example:
        >>> efficiency(1.0, 0.0, 8, Network(0.0, 1.0))
        1.0
    """
    step = step_seconds(compute, nbytes, world_size, network, overlap=overlap)
    return compute / (world_size * step)
