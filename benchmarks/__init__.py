"""Measurements: ratios, both sides in one run, interleaved, medians. Never part of the tests.

python -m benchmarks.loader        the loader in one process, against PyTorch's
python -m benchmarks.workers       the loader with workers, against PyTorch's
python -m benchmarks.soak          a long run with workers: nothing may grow
python -m benchmarks.streaming     live streams: rate, latency under load, memory, alignment
"""
