"""Do all ranks hold the same data? Asked before training, because afterwards it is too late.

A rank that reads an old copy, or files in another order, gets its share of *other* samples: some
are then seen twice, some never, and nothing fails. So each rank computes a digest of its dataset,
and all are compared.
"""

import hashlib
import pickle
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data

from dlkit.datasets.combine import TransformDataset
from dlkit.ddp.context import current
from dlkit.ddp.errors import MismatchedDataError
from dlkit.ddp.reductions import gather
from dlkit.randomness import get_rng_state, set_rng_state

_PROBES = 16  # samples of an unknown dataset that are read
_WHOLE_UP_TO = 64 << 20  # bytes of a tensor that are all read; of a larger one, rows here and there


def check_same_data(dataset: Any, name: str = "dataset") -> str:
    """Raise on every rank unless all ranks hold the same dataset.

    Args:
        dataset: map-style or iterable; see `digest`.
        name: how the error calls it.

    Returns:
        The digest.

    Raises:
        MismatchedDataError: which ranks have what.

    Example:
        >>> from dlkit.datasets import TensorDataset
        >>> len(check_same_data(TensorDataset(torch.arange(4))))
        16
    """
    own, steady = digest(dataset)
    if not current().is_distributed:
        return own
    found = gather((own, steady, _length(dataset), type(dataset).__name__))
    if not all(steady for _, steady, _, _ in found):
        # Somewhere samples differ from reading to reading: only kind and length can be compared.
        found = [("-", False, length, kind) for _, _, length, kind in found]
    if len(set(found)) == 1:
        return own
    groups: dict[Any, list[int]] = {}
    for rank, what in enumerate(found):
        groups.setdefault(what, []).append(rank)
    told = "; ".join(
        f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}: {kind} of "
        f"{'unknown length' if length is None else f'{length} samples'}, digest {code}"
        for (code, _, length, kind), ranks in groups.items()
    )
    raise MismatchedDataError(
        f"{name} must be the same on all ranks, but is not: {told}. Look for an old copy, a "
        "download that was cut, or files listed in the file system's order (sort them)"
    )


def digest(dataset: Any) -> tuple[str, bool]:
    """Return 16 characters that depend on a dataset's content, and whether they can be relied on.

    Tensors are read whole up to 64 MB each; subsets, concatenations and transforms are followed to
    what they hold. Of any other map-style dataset its kind, its length and 16 samples count, read
    twice with the same random numbers: if they differ, the digest cannot be relied on.

    Args:
        dataset: what a loader reads.

    Example:
        >>> from dlkit.datasets import TensorDataset
        >>> one = digest(TensorDataset(torch.arange(4)))
        >>> one == digest(TensorDataset(torch.arange(4)))
        True
        >>> one == digest(TensorDataset(torch.tensor([0, 1, 2, 4])))
        False
    """
    codes = []
    for _ in range(2):
        state = hashlib.blake2b(digest_size=8)
        random_state = get_rng_state()
        try:
            random.seed(0)
            torch.manual_seed(0)
            np.random.seed(0)  # noqa: NPY002  # datasets draw from the global one
            exact = _feed(state, dataset)
        finally:
            set_rng_state(random_state)
        codes.append(state.hexdigest())
        if exact:
            return codes[0], True
    return codes[0], codes[0] == codes[1]


def _feed(state: Any, dataset: Any) -> bool:
    """Let a hash see a dataset; return whether every reading gives the same by construction."""
    state.update(f"{type(dataset).__name__} {_length(dataset)};".encode())
    if isinstance(dataset, Tensor):
        _feed_tensor(state, dataset)
        return True
    if isinstance(dataset, torch_data.TensorDataset):
        for tensor in dataset.tensors:
            _feed_tensor(state, tensor)
        return True
    if isinstance(dataset, torch_data.Subset):
        state.update(np.asarray(dataset.indices, dtype=np.int64).tobytes())
        return _feed(state, dataset.dataset)
    if isinstance(dataset, torch_data.ConcatDataset):
        exact = [_feed(state, part) for part in dataset.datasets]  # of all, also after one is not
        return all(exact)
    if isinstance(dataset, TransformDataset):
        return _feed(state, dataset.dataset)  # what is done to a sample may be random
    length = _length(dataset)
    if not length or isinstance(dataset, torch_data.IterableDataset):
        return True  # nothing to read, or a stream that reading would use up
    for index in sorted({round(place) for place in np.linspace(0, length - 1, _PROBES)}):
        state.update(_bytes(dataset[index]))
    return False


def _feed_tensor(state: Any, tensor: Tensor) -> None:
    state.update(f"{tuple(tensor.shape)} {tensor.dtype};".encode())
    nbytes = tensor.numel() * tensor.element_size()
    if nbytes > _WHOLE_UP_TO and tensor.ndim:
        tensor = tensor[:: -(-nbytes // _WHOLE_UP_TO)]
    # As bytes: NumPy does not know bfloat16. A scalar has no last dimension to be viewed along.
    state.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _bytes(sample: Any) -> bytes:
    if isinstance(sample, Tensor):
        return sample.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(sample, np.ndarray) and sample.dtype != object:
        return sample.tobytes()
    if isinstance(sample, tuple | list):
        return b"".join(map(_bytes, sample))
    if isinstance(sample, dict):
        return b"".join(repr(key).encode() + _bytes(value) for key, value in sample.items())
    try:
        return pickle.dumps(sample)
    except Exception:  # a file handle, a decoder: only its kind can be compared
        return type(sample).__name__.encode()


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:  # a stream, or a tensor that is one number
        return None
