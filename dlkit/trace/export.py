"""Traces for others: JSON that is read back, Chrome's format, a table for notebooks."""

import html as escaping
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlkit.files import replacing
from dlkit.trace.rings import Records
from dlkit.trace.spans import (
    AGREEMENT,
    EXCHANGE,
    FIRST_PART,
    GRADIENTS,
    LOOP,
    PIN,
    RECORD,
    STAGES,
    WHOLE,
    row_name,
)
from dlkit.trace.summary import TraceSummary

_FORMAT = "dlkit trace 1"


def to_json(records: Records, about: dict[str, Any]) -> str:
    """Return spans as JSON text: one list for each column."""
    names = RECORD.names or ()
    columns = {name: records[name].tolist() for name in names}
    return json.dumps({"format": _FORMAT, "stages": STAGES, **about, "columns": columns})


def from_json(text: str) -> tuple[Records, dict[str, Any]]:
    """Return the spans of `to_json`, and what it was told about them.

    Raises:
        ValueError: if the text is something else.
    """
    content = json.loads(text)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"expected a JSON object whose format is {_FORMAT!r}")
    try:
        columns, stages = content.pop("columns"), content.pop("stages")
        records = np.empty(len(columns["start"]), dtype=RECORD)
        for name in RECORD.names or ():
            records[name] = columns[name]
        about: dict[str, Any] = {
            key: int(content[key]) for key in ("capacity", "rank", "epochs", "dropped")
        }
        about |= {key: bool(content[key]) for key in ("samples", "cpu")}
        about["parts"] = tuple(map(str, content["parts"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"a column or a setting is missing or damaged: {error!r}") from None
    known = (records["stage"] >= 0) & (records["stage"] < len(STAGES))
    if stages != list(STAGES) or not known.all():
        raise ValueError(f"it has other stages: {stages!r}")
    return records, about


def chrome(records: Records, rank: int, dropped: int, parts: Sequence[str] = ()) -> str:
    """Return spans in Chrome's trace event format, as one process for the rank.

    Source: "Trace Event Format" (Google, 2016): complete events ("X") with times in microseconds,
    and metadata events ("M") that name processes and threads and set their order.
    """
    return json.dumps(
        {
            "traceEvents": [*_names(records, rank), *_events(records, rank, parts)],
            "displayTimeUnit": "ms",
            "otherData": {"source": "dlkit", "dropped": dropped},
        }
    )


def _names(records: Records, rank: int) -> Iterator[dict[str, Any]]:
    def name(kind: str, thread: int, **args: Any) -> dict[str, Any]:
        return {"ph": "M", "name": kind, "pid": rank, "tid": thread, "args": args}

    yield name("process_name", 0, name=f"rank {rank}")
    for worker in sorted(set(records["worker"].tolist())):
        yield name("thread_name", _thread(worker), name=row_name(worker))
        yield name("thread_sort_index", _thread(worker), sort_index=_thread(worker))


def _events(records: Records, rank: int, parts: Sequence[str]) -> Iterator[dict[str, Any]]:
    origin = int(records["start"].min()) if len(records) else 0
    for start, end, batch, index, cpu, epoch, worker, stage in records.tolist():
        args = {"batch": batch, "epoch": epoch}
        if index >= 0:
            args["index"] = index
        if cpu >= 0:
            args["cpu_us"] = cpu / 1e3
        yield {
            "ph": "X",
            "name": _event_name(STAGES[stage], index, parts),
            "cat": STAGES[stage],
            "ts": (start - origin) / 1e3,
            "dur": (end - start) / 1e3,
            "pid": rank,
            "tid": _thread(worker),
            "args": args,
        }


def _event_name(stage: str, index: int, parts: Sequence[str]) -> str:
    if index == WHOLE:
        return stage
    if stage == "compute":
        return {GRADIENTS: "gradients", AGREEMENT: "agreement"}.get(index, f"{stage} part")
    number = FIRST_PART - index
    if number < 0:
        return f"{stage} sample"
    return parts[number] if number < len(parts) else f"{stage} part {number}"


def _thread(worker: int) -> int:
    """Numbers of threads are positive: training, pinning, the workers, and exchange at the end."""
    return {LOOP: 1, PIN: 2, EXCHANGE: 1 << 16}.get(worker, worker + 3)


def write(path: Path, text: str) -> None:
    """Write a file as a whole, or not at all.

    Raises:
        OSError: of the same kind as the cause, with the path and how many bytes were to be written.
    """
    data = text.encode("utf-8")
    try:
        if path.exists() and not path.is_file():  # a pipe or a device is written as it is
            with path.open("wb", buffering=0) as file:
                file.write(data)
            return
        with replacing(path) as whole:
            whole.write(data)
    except OSError as error:
        reason = f"cannot write {len(data):,} bytes: {error.strerror}"
        raise type(error)(error.errno, reason, str(path)) from error


def html(summary: TraceSummary, records: Records) -> str:
    """Return a table of the stages, and the timeline where matplotlib is there."""
    heading, *rows = (
        "".join(f"<{tag}>{escaping.escape(cell)}</{tag}>" for cell in row)
        for tag, row in _tagged(summary)
    )
    table = f"<table><thead><tr>{heading}</tr></thead><tbody>"
    table += "".join(f"<tr>{row}</tr>" for row in rows) + "</tbody></table>"
    return f"<div><p>{escaping.escape(summary.line)}</p>{table}{_picture(records)}</div>"


def _tagged(summary: TraceSummary) -> Iterator[tuple[str, tuple[str, ...]]]:
    for number, row in enumerate(summary.rows()):
        yield ("td" if number else "th"), row


def _picture(records: Records) -> str:
    if not len(records):
        return ""
    try:
        from dlkit.plots.profiling import timeline
        from dlkit.plots.style import as_image
    except ImportError:
        return ""
    return as_image(timeline(records))
