"""A bench from beginning to end: what can be refused is refused first; what was measured is kept, come what may."""

import datetime
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fastbp.bench import contenders, grid
from fastbp.bench.contenders import Contender
from fastbp.bench.grid import Effort
from fastbp.bench.measure import measure
from fastbp.bench.plots import save_chart
from fastbp.bench.report import report
from fastbp.bench.results import Results, read_results, write_results
from fastbp.checks import plural
from fastbp.files import PathName, check_target
from fastbp.information import information
from fastbp.parameters import dtype_name
from fastbp.plots import check_picture
from fastbp.progress import stages

STOPPED = 130


def bench(
    effort: Effort, names: Sequence[str], dtype: str, nets: Sequence[str], mini_batch_sizes: Sequence[int],
    json: PathName | None, plot: Path | None, among: Sequence[Contender] | None = None,
) -> int:  # fmt: skip
    """Measure, print, and write files; return the exit code: 0, 130 after Ctrl-C, or 1 if nothing could be measured.

    `among` takes the place of the backends of those names.
    """
    points = grid.points(effort, [grid.parse_sizes(text) for text in nets], mini_batch_sizes)
    dtype = dtype_name(dtype)
    no_gpu = None
    if among is None:
        among, no_gpu = contenders.contenders(names)
    contenders.check_memory(points, dtype, among)
    _check_files(json, plot)
    results = _begun(dtype, no_gpu)
    backends = ", ".join(contender.name for contender in among)
    print(f"{plural(len(points), 'point')} in {dtype} on {backends}", flush=True)
    stopped = False
    with stages(len(points) + len({contender.where for contender in among})) as tell:
        try:
            measure(among, points, effort, results, tell)
        except KeyboardInterrupt:
            stopped = True
    if stopped:
        done = len({m.point for m in results.measurements})
        print(f"stopped by Ctrl-C: {done} of {plural(len(points), 'point')} measured", file=sys.stderr)
    _show(results, json, plot)
    if stopped:
        return STOPPED
    return 0 if results.measurements else 1


def show_again(source: PathName, plot: Path | None) -> None:
    """Print, and draw, the results of an earlier bench."""
    results = read_results(source)
    _check_files(None, plot)
    said = "" if results.complete else ", stopped before its end"
    print(f"measured {results.date} on {results.processor}, {results.cores} cores, by {results.command}{said}")
    _show(results, None, plot)


def _show(results: Results, json: PathName | None, plot: Path | None) -> None:
    print(report(results))
    if json is not None:
        write_results(json, results)
        print(f"results in {json}")
    if plot is not None and results.measurements:
        save_chart(results, plot)
        print(f"charts in {plot}")


def _check_files(json: PathName | None, plot: Path | None) -> None:
    if json is not None:
        check_target(json)
    if plot is not None:
        check_picture(plot)


def _begun(dtype: str, no_gpu: str | None) -> Results:
    return Results(
        date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        command=shlex.join(["fastbp", *sys.argv[1:]]),
        dtype=dtype,
        processor=contenders.processor(),
        cores=contenders.cores(),
        memory_bytes=contenders.memory(),
        information={name: said for name, said in information().items() if name != "compiled code"},
        no_gpu=no_gpu,
    )
