"""The report of a benchmark as one HTML file: the verdict, charts, the machine, the method, and the results as JSON."""

from collections.abc import Iterator
from typing import Any

from fastbp.bench.crossover import crossovers
from fastbp.bench.gpu_report import GPU_LEGEND
from fastbp.bench.report import LEGEND, report
from fastbp.bench.results import Results, as_json
from fastbp.bench.verdict import verdicts
from fastbp.files.atomic import write_atomically
from fastbp.files.reading import StrPath
from fastbp.plots.explain.pages import assembled


def save_html(results: Results, path: StrPath) -> None:
    """Write the page about the results of a benchmark, atomically. It needs neither a server nor a connection."""
    title = f"fastbp bench, {results.date[:10]}: {'; '.join(m.device for m in results.machines) or results.processor}"
    page = assembled(title, "fastbp.bench", "bench", page_content(results))
    with write_atomically(path) as file:
        file.write(page.encode(errors="backslashreplace"))


def page_content(results: Results) -> dict[str, Any]:
    """Return what the page shows, ready for JSON. `results` is the content of a file of `fastbp bench --json`."""
    text = report(results)
    return {
        "verdict": list(_verdict(results)),
        "report": text.replace(f"{LEGEND}\n\n", "").replace(f"{GPU_LEGEND}\n\n", ""),
        "legend": f"{LEGEND}\n\n{GPU_LEGEND}" if GPU_LEGEND in text else LEGEND,
        "points": [
            {
                "net": m.net,
                "m": m.mini_batch_size,
                "backend": m.backend,
                "where": m.where,
                "rate": m.examples_per_second,
                "low": m.examples / m.epoch_seconds.high,
                "high": m.examples / m.epoch_seconds.low,
                "floor": m.examples / m.floor_seconds.median,
                "peak": None if (peak := results.peak(m.where)) is None else m.flops_per_second / peak,
            }
            for m in results.measurements
        ],
        "results": as_json(results),
    }


def _verdict(results: Results) -> Iterator[str]:
    """Yield what the measurements say, one sentence each."""
    if not results.complete:
        yield "The benchmark was stopped before its end. These are the results so far."
    yield from verdicts(results)
    plain = {m.point: m.examples_per_second for m in results.measurements if m.backend == "numpy-plain"}
    for backend in dict.fromkeys(m.backend for m in results.measurements if m.backend != "numpy-plain"):
        of_backend = [m for m in results.measurements if m.backend == backend and m.point in plain]
        ratios = sorted(m.examples_per_second / plain[m.point] for m in of_backend)
        if ratios:
            times = f"{ratios[0]:.2g}" if len(ratios) == 1 else f"{ratios[0]:.2g} to {ratios[-1]:.2g}"
            yield f"{backend} trains {times} times as fast as plain NumPy."
    for backend, fixed, found in crossovers(results):
        yield f"{backend} on {fixed}: the GPU {found}."
    if results.no_gpu is not None:
        yield f"There is no usable GPU: {results.no_gpu}"
    for failure in results.failures:
        yield f"{failure.backend} failed while measuring {failure.what}: {failure.why}"
