"""Caches: what a dataset has read and computed, kept for the next epoch.

    dataset --decode, resize--> cache --random transforms--> batch

PyTorch has no cache for datasets. Here are two: `MemoryCache` keeps samples in shared memory, once
for all workers; `DiskCache` keeps them in one file, for the next run too. Both find out by a
fingerprint whether the dataset or a transform has changed, and then start over.

Read in this order:

    base          the dataset around a dataset, and the order of cache and augmentation
    fingerprint   a name for what a transform does, on  fingerprint_code
    random_parts  which transforms are random
    records       samples as rows or as pickles
    memory        `MemoryCache`, on  table (which samples are there)
                                     slots (who has which piece of memory, and who goes)
                                     counts (hits and misses)
    disk          `DiskCache`, on  record_file
"""

from dlkit.cache.base import Cache, CacheInfo, RandomTransformWarning
from dlkit.cache.disk import DiskCache
from dlkit.cache.fingerprint import FingerprintError, fingerprint
from dlkit.cache.memory import MemoryCache

__all__ = [
    "Cache",
    "CacheInfo",
    "DiskCache",
    "FingerprintError",
    "MemoryCache",
    "RandomTransformWarning",
    "fingerprint",
]
