"""A profile in words: text for a terminal, tables for a notebook and for a page of its own."""

import html as escaping
from collections.abc import Iterable, Iterator, Sequence

from dlkit.diagnose.findings import Diagnosis
from dlkit.diagnose.profiled import Profile
from dlkit.trace.spans import row_name


def figures(profile: Profile) -> Iterator[tuple[str, str]]:
    """Yield what was measured, as pairs of a name and a value."""
    loader = profile.loader
    yield "loader", f"{loader.kind}, {loader.dataset}, batches of {loader.batch_size}"
    how = f"{loader.num_workers} x {loader.worker_method}" if loader.num_workers else "none"
    yield "workers", how
    accelerator = "an accelerator" if profile.machine.accelerator else "no accelerator"
    yield "machine", f"{profile.machine.cores:g} cores, {accelerator}"
    yield "steps", f"{profile.steps} in {profile.seconds:.2f} s"
    yield "throughput", f"{profile.samples_per_second:,.0f} samples/s"
    yield "bytes", f"{profile.bytes_per_second / 1e6:,.1f} MB/s"
    if profile.has_step:
        yield "training waits", f"{profile.wait_share:.0%} of its time"
        yield "training step", f"{1e3 * profile.step_seconds:.2f} ms"
    yield "work on a batch", f"{1e3 * profile.batch_work:.2f} ms, {profile.cpu_share:.0%} computing"
    if profile.lock_share is not None:
        yield "the GIL", f"held for {profile.lock_share:.0%} of that computing"
    nbytes = profile.costs.batch_size * profile.costs.sample_bytes
    for method, crossing in profile.crossings.items():
        if method != "inline":
            taken = 1e3 * (crossing.worker(nbytes) + crossing.main(nbytes))
            yield f"a batch by a {method}", f"{taken:.2f} ms to hand it over"
    yield "stages", ", ".join(f"{s} {share:.0%}" for s, share in profile.stages.items() if share)
    yield "first batch", f"{profile.first_batch:.2f} s"
    if profile.turn_over:
        yield "epoch turn-over", f"{profile.turn_over:.2f} s"
    for part in profile.parts:
        yield f"transform {part.name}", f"{1e3 * part.mean:.3f} ms a sample"
    if len(profile.sample_times) > 1:
        slow = ", ".join(f"{i} ({1e3 * s:.2f} ms)" for i, s in profile.slowest(3))
        yield "slowest samples", slow
    for worker in profile.workers[:32]:
        yield row_name(worker.worker), f"{worker.batches} batches, busy {worker.busy:.2f} s"
    if profile.worker_memory:
        yield "memory of a worker", f"{profile.worker_memory / 1e6:.0f} MB of its own"
    if profile.trace.dropped:
        yield "dropped", f"{profile.trace.dropped} older spans did not fit"


def summary(profile: Profile) -> str:
    """Return what was measured as lines of text."""
    rows = list(figures(profile))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def table_html(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; all text is escaped."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}>{escaping.escape(cell)}</{tag}>" for cell in row)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', heading)}</tr></thead><tbody>{body}</tbody></table>"


def html(profile: Profile) -> str:
    """Return what was measured, and what was found, for a notebook."""
    return (
        f"<div>{table_html(('what', 'measured'), figures(profile))}"
        f"{findings_html(profile.diagnose())}</div>"
    )


def findings_html(diagnosis: Diagnosis) -> str:
    """Return findings as a list; all text is escaped."""
    items = "".join(
        f"<li><b>{escaping.escape(f.name)}</b>: {escaping.escape(f.what)}<br>"
        f"Seen: {escaping.escape(f.evidence)}.<br>Change: {escaping.escape(f.change)} "
        f"({escaping.escape(f.promise)})<pre>{escaping.escape(f.code)}</pre></li>"
        for f in diagnosis
    )
    return f"<p>{escaping.escape(diagnosis.verdict)}</p><ol>{items}</ol>"


def page(profile: Profile, title: str) -> str:
    """Return one self-contained HTML page: figures, findings, and the pictures in it."""
    from dlkit.plots import prediction, profiling
    from dlkit.plots.style import as_image

    pictures = [profiling.timeline(profile.records), profiling.stage_bars(profile.stages)]
    curve = [profile.predict(num_workers=count, batches=48) for count in _counts(profile)]
    here = {profile.loader.num_workers: profile.samples_per_second}
    pictures.append(prediction.throughput({"this loader": curve}, {"this loader": here}))
    if profile.has_step:
        pictures.append(profiling.wait_share(profile.records))
    fetch = {stage: profile.times(stage) for stage in ("fetch", "collate", "wait")}
    pictures.append(profiling.latencies({s: times for s, times in fetch.items() if times}))
    if profile.memory:
        pictures.append(profiling.memory(profile.memory))
    drawn = "".join(f"<figure>{as_image(picture)}</figure>" for picture in pictures)
    name = escaping.escape(title)
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{name}</h1>{html(profile)}{drawn}</body></html>"
    )


def _counts(profile: Profile) -> list[int]:
    """Return the numbers of workers for which a page says what they would deliver."""
    now = profile.loader.num_workers
    most = max(8, 2 * now, 2 * int(profile.machine.cores))
    return sorted({0, 1, 2, 3, 4, 6, 8, now, most})


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.2em .8em;"
    "border-bottom:1px solid #ddd}pre{background:#f5f5f5;padding:.5em}img{max-width:100%}"
    "figure{margin:1.5em 0}"
)
