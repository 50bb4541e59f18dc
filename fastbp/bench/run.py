"""A bench from beginning to end: what can be refused is refused first; what was measured is kept, come what may."""

import datetime
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fastbp.backends.environment import information
from fastbp.bench import candidates, grid
from fastbp.bench.candidates import Candidate
from fastbp.bench.charts import save_chart
from fastbp.bench.grid import BenchSettings
from fastbp.bench.measure import measure
from fastbp.bench.report import report
from fastbp.bench.results import Results, read_results, write_results
from fastbp.errors import plural
from fastbp.files.outputs import Outputs, warn
from fastbp.files.tensors import StrPath, check_target
from fastbp.parameters import dtype_name
from fastbp.plots.learning_curves import check_picture
from fastbp.training.progress import stages


def bench(
    effort: BenchSettings, names: Sequence[str], dtype: str, nets: Sequence[str], mini_batch_sizes: Sequence[int],
    json: StrPath | None, plot: Path | None, among: Sequence[Candidate] | None = None,
) -> int:  # fmt: skip
    """Measure, write files and print; return the exit code.

    That is 0, 1 if nothing could be measured, 2 if an output failed, 130 after Ctrl-C, or 141 if nothing reads standard
    output any more. The results are saved first, and no output that fails keeps the others from being made.

    `among` takes the place of the backends of those names.
    """
    points = grid.points(effort, [grid.parse_sizes(text) for text in nets], mini_batch_sizes)
    dtype = dtype_name(dtype)
    no_gpu = None
    if among is None:
        among, no_gpu = candidates.choose_candidates(names)
    candidates.check_memory(points, dtype, among)
    _check_files(json, plot)
    results = _begun(dtype, no_gpu)
    backends = ", ".join(contender.name for contender in among)
    outputs = Outputs()
    outputs.print(f"{plural(len(points), 'point')} in {dtype} on {backends}")
    if outputs.code and json is None and plot is None:
        return outputs.code  # nothing would be left of what was measured
    try:
        with stages(len(points) + len({contender.where for contender in among})) as tell:
            measure(among, points, effort, results, tell)
        saved = _saved(results, json, outputs)
    except KeyboardInterrupt:
        outputs.stopped()
        done = len({m.point for m in results.measurements})
        warn(f"stopped by Ctrl-C: {done} of {plural(len(points), 'point')} measured")
        saved = _saved(results, json, outputs)
    outputs.print(report(results))
    if saved:
        outputs.print(f"results in {json}")
    _draw(results, plot, outputs)
    return outputs.code or (0 if results.measurements else 1)


def show_again(source: StrPath, plot: Path | None) -> int:
    """Print, and draw, the results of an earlier bench; return the exit code, as `bench` does."""
    results = read_results(source)
    _check_files(None, plot)
    said = "" if results.complete else ", stopped before its end"
    outputs = Outputs()
    outputs.print(f"measured {results.date} on {results.processor}, {results.cores} cores, by {results.command}{said}")
    outputs.print(report(results))
    _draw(results, plot, outputs)
    return outputs.code


def _saved(results: Results, json: StrPath | None, outputs: Outputs) -> bool:
    """Save results if that was asked for, and return whether it was done."""
    return json is not None and outputs.attempt("save the results", write_results, json, results)


def _draw(results: Results, plot: Path | None, outputs: Outputs) -> None:
    if plot is not None and results.measurements and outputs.attempt("draw the charts", save_chart, results, plot):
        outputs.print(f"charts in {plot}")


def _check_files(json: StrPath | None, plot: Path | None) -> None:
    if json is not None:
        check_target(json)
    if plot is not None:
        check_picture(plot)


def _begun(dtype: str, no_gpu: str | None) -> Results:
    return Results(
        date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        command=shlex.join(["fastbp", *sys.argv[1:]]),
        dtype=dtype,
        processor=candidates.processor(),
        cores=candidates.cores(),
        memory_bytes=candidates.memory(),
        information={name: said for name, said in information().items() if name != "compiled code"},
        no_gpu=no_gpu,
    )
