"""Measurements: ratios, both sides in one run, interleaved, medians. Never part of the tests.

python -m benchmarks.loader        the loader in one process, against PyTorch's
"""
