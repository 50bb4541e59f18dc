"""Run `fastbp bench`: check all arguments, measure, save, report and draw."""

import datetime
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fastbp.backends.environment import information
from fastbp.bench import grid
from fastbp.bench.candidates import (
    Candidate,
    available_memory,
    check_memory,
    choose_candidates,
    cpu_count,
    cpu_name,
)
from fastbp.bench.charts import save_chart
from fastbp.bench.grid import BenchSettings
from fastbp.bench.html_report import save_html
from fastbp.bench.measure import measure
from fastbp.bench.report import report
from fastbp.bench.results import Results, read_results, write_results
from fastbp.errors import plural
from fastbp.files.atomic import check_target
from fastbp.files.outputs import Outputs, warn
from fastbp.files.reading import StrPath
from fastbp.parameters import dtype_name
from fastbp.plots.curves import check_picture
from fastbp.training.progress import stages


def bench(
    settings: BenchSettings, names: Sequence[str], dtype: str, nets: Sequence[str], mini_batch_sizes: Sequence[int],
    json: StrPath | None, plot: Path | None, candidates: Sequence[Candidate] | None = None, html: Path | None = None,
) -> int:  # fmt: skip
    """Measure, write the files and print the report; return the exit code.

    The exit code is 0 if all went well, 1 if nothing could be measured, 2 if an output failed, 130 after Ctrl-C, and
    141 if standard output is a pipe that is no longer read. Arguments are checked before anything is measured. The
    results are saved before they are printed and drawn. If one output fails, the others are still made.

    If `candidates` are given, they are measured instead of the backends with the given names.
    """
    points = grid.points(settings, [grid.parse_sizes(text) for text in nets], mini_batch_sizes)
    dtype = dtype_name(dtype)
    no_gpu = None
    if candidates is None:
        candidates, no_gpu = choose_candidates(names)
    check_memory(points, dtype, candidates)
    _check_files(json, plot, html)
    results = _new_results(dtype, no_gpu)
    backends = ", ".join(candidate.name for candidate in candidates)
    outputs = Outputs()
    outputs.print(f"{plural(len(points), 'point')} in {dtype} on {backends}")
    if outputs.code and json is None and plot is None and html is None:
        return outputs.code  # the results could be neither printed nor saved
    try:
        with stages(len(points) + len({candidate.where for candidate in candidates})) as report_stage:
            measure(candidates, points, settings, results, report_stage)
        saved = _save(results, json, outputs)
    except KeyboardInterrupt:
        outputs.stopped()
        done = len({m.point for m in results.measurements})
        warn(f"stopped by Ctrl-C: {done} of {plural(len(points), 'point')} measured")
        saved = _save(results, json, outputs)
    outputs.print(report(results))
    if saved:
        outputs.print(f"results in {json}")
    _draw(results, plot, html, outputs)
    return outputs.code or (0 if results.measurements else 1)


def show_saved_results(source: StrPath, plot: Path | None, html: Path | None = None) -> int:
    """Print and draw the results of an earlier benchmark; return an exit code, which is explained in `bench`."""
    results = read_results(source)
    _check_files(None, plot, html)
    stopped = "" if results.complete else ", stopped before its end"
    outputs = Outputs()
    outputs.print(
        f"measured {results.date} on {results.processor}, {results.cores} cores, with {results.command}{stopped}"
    )
    outputs.print(report(results))
    _draw(results, plot, html, outputs)
    return outputs.code


def _save(results: Results, json: StrPath | None, outputs: Outputs) -> bool:
    """Save the results if a file is given; return whether they were saved."""
    return json is not None and outputs.attempt("save the results", write_results, json, results)


def _draw(results: Results, plot: Path | None, html: Path | None, outputs: Outputs) -> None:
    if plot is not None and results.measurements and outputs.attempt("draw the charts", save_chart, results, plot):
        outputs.print(f"charts in {plot}")
    if html is not None and results.measurements and outputs.attempt("write the page", save_html, results, html):
        outputs.print(f"report in {html}")


def _check_files(json: StrPath | None, plot: Path | None, html: Path | None) -> None:
    for path in (json, html):
        if path is not None:
            check_target(path)
    if plot is not None:
        check_picture(plot)


def _new_results(dtype: str, no_gpu: str | None) -> Results:
    return Results(
        date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        command=shlex.join(["fastbp", *sys.argv[1:]]),
        dtype=dtype,
        processor=cpu_name(),
        cores=cpu_count(),
        memory_bytes=available_memory(),
        information={name: text for name, text in information().items() if name != "compiled code"},
        no_gpu=no_gpu,
    )
