"""Measurements: ratios, both sides in one run, interleaved, medians. Never part of the tests.

python -m benchmarks.ddp           training on two ranks, against one process
python -m benchmarks.caching       caches and packed strings: second epoch, memory of workers
python -m benchmarks.live          live digits while a widget draws them: the latency of answers
python -m benchmarks.loader        the loader in one process, against PyTorch's
python -m benchmarks.workers       the loader with workers, against PyTorch's
python -m benchmarks.sharding      a rank's share of 100 million indices: time and memory
python -m benchmarks.soak          a long run with workers: nothing may grow
python -m benchmarks.storage       storage formats, against their own libraries and other projects
python -m benchmarks.streaming     live streams: rate, latency under load, memory, alignment
python -m benchmarks.widgets       how long a widget takes to redraw after a step of a slider
"""
