"""Measurements: ratios, both sides in one run, interleaved, medians. Never part of the tests.

python -m benchmarks.caching       caches and packed strings: second epoch, memory of workers
python -m benchmarks.ddp           training on two ranks, against one process
python -m benchmarks.live          live digits while a widget draws them: the latency of answers
python -m benchmarks.loader        the loader in one process, against PyTorch's
python -m benchmarks.mixed         loaders, faults, streams and kernels by turns: nothing may grow
python -m benchmarks.prediction    predicted against measured throughput, on a grid of real runs
python -m benchmarks.sharding      a rank's share of 100 million indices: time and memory
python -m benchmarks.soak          a long run with workers: nothing may grow
python -m benchmarks.storage       storage formats, against their own libraries and other projects
python -m benchmarks.streaming     live streams: rate, latency under load, memory, alignment
python -m benchmarks.tracing       what a trace costs where batches are cheapest
python -m benchmarks.training      training on an accelerator: what limits it
python -m benchmarks.tuning        what `tune` finds, against the best of a grid that is all run
python -m benchmarks.widgets       how long a widget takes to redraw after a step of a slider
python -m benchmarks.workers       the loader with workers, against PyTorch's

`measure` lets candidates take turns and prints the table, `processes` runs a function in a process
of its own and reads what processes hold, `samples` is what is read. The other modules are parts:
`workloads` and `starting` of `workers`, `storage_*` of `storage`, `streaming_*` of `streaming`.
"""
