"""Measurements: ratios, both sides in one run, interleaved, medians. Never part of the tests.

python -m benchmarks.caching       caches and packed strings: second epoch, memory of workers
python -m benchmarks.loader        the loader in one process, against PyTorch's
python -m benchmarks.workers       the loader with workers, against PyTorch's
python -m benchmarks.soak          a long run with workers: nothing may grow
"""
