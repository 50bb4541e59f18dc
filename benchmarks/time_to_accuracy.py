"""Measure the time to accuracy: from the start of a process until 97.5 % of MNIST's test images are classified right.

    FASTBP_DATA=FOLDER python -m benchmarks.time_to_accuracy

This is the time that a person waits: imports, reading the data, compiling or loading code from a cache, and training.
fastbp, JAX, PyTorch and scikit-learn run in turn, once for each of five seeds. Each run is a process of its own, with
the library's default threads (`benchmarks.accuracy_runs`). The test images are classified after each epoch. The
60,000 training images are read from files of `numpy.save`, as bytes. A first, untimed run of each library fills the
caches on disk, which are Numba's and JAX's.

Everything is measured twice: alone, and beside a process that keeps one processor busy. Times are medians with
quartiles. A ratio is another library's time over fastbp's, computed within each round. The exit code is 1 if fastbp is
less than three times as fast as the best other library.

`--json FILE` saves all results. `--picture FILE` draws them. `--from FILE` reads saved results instead of measuring.
"""

import argparse
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy_runs import RECIPES, Part, write_examples
from benchmarks.mnist import mnist_parts
from fastbp.bench.candidates import cpu_count, cpu_name
from fastbp.bench.timing import Spread, in_turn, spread, warn_if_busy
from fastbp.errors import InputError
from fastbp.files.atomic import write_atomically
from fastbp.plots.curves import check_picture

TARGET, SEEDS, MIN_RATIO = 0.975, 5, 3.0
PACKAGES = {"fastbp": "fastbp", "JAX": "jax", "PyTorch": "torch", "scikit-learn": "scikit-learn"}
ALONE, BUSY = "alone", "beside a busy process"
Run = dict[str, Any]
"""The results of one process. `stages` has the seconds of each stage. `seconds` is infinite if it missed the target."""


def run(library: str, seed: int, folder: Path, target: float, caches: Path) -> Run:
    """Run a library in a new process; return its times. Raises RuntimeError if the process fails."""
    command = [sys.executable, "-m", "benchmarks.accuracy_runs", library, str(seed), str(folder), str(target)]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(caches / "numba"), **_jax_cache(caches / "jax")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # use bytecode, as installed packages do
    start = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    return summary(start, json.loads(done.stdout.splitlines()[-1]), target)


def _jax_cache(folder: Path) -> dict[str, str]:
    """Return the settings with which JAX keeps all compiled code on disk, as fastbp does by default."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def summary(start: float, printed: dict[str, Any], target: float) -> Run:
    """Return the seconds of a run and of its stages. `printed` is what the process has printed.

    >>> summary(10.0, {"accuracies": [0.9, 0.98], "marks": {"NumPy": 10.5, "later epochs": 12.0}}, 0.97)
    {'seconds': 2.0, 'epochs': 2, 'accuracy': 0.98, 'stages': {'NumPy': 0.5, 'later epochs': 1.5}}
    """
    accuracies, ends = printed["accuracies"], list(printed["marks"].values())
    stages = {name: end - begin for name, begin, end in zip(printed["marks"], [start, *ends], ends, strict=False)}
    seconds = ends[-1] - start if accuracies[-1] >= target else math.inf
    return {"seconds": seconds, "epochs": len(accuracies), "accuracy": accuracies[-1], "stages": stages}


@contextmanager
def busy_process(wanted: bool) -> Iterator[None]:
    """Keep one processor busy within a `with` block, if wanted."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(libraries: list[str], seeds: int, target: float, parts: list[Part]) -> dict[str, dict[str, list[Run]]]:
    """Return the runs of each library, alone and beside a busy process. A library that fails is left out."""
    figures: dict[str, dict[str, list[Run]]] = {}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as caches:
        write_examples(Path(folder), *parts)
        start = partial(run, folder=Path(folder), target=target, caches=Path(caches))
        usable = [library for library in libraries if _warm_up(start, library)]
        for name in (ALONE, BUSY):
            runs: dict[str, list[Run]] = {library: [] for library in usable}

            def task(library: str, runs: dict[str, list[Run]] = runs) -> float:
                runs[library].append(start(library, seed=len(runs[library])))
                return float(runs[library][-1]["seconds"])

            with busy_process(name == BUSY):
                for number, _ in enumerate(
                    in_turn({l: partial(task, l) for l in usable}, range(seeds), _print_failure), 1
                ):
                    print(f"  {name}: {number} of {seeds} seeds", flush=True)
            figures[name] = {library: done for library, done in runs.items() if len(done) == seeds}
    return figures


def _warm_up(start: Any, library: str) -> bool:
    """Run a library once, untimed; return whether it works."""
    try:
        start(library, seed=0)
    except RuntimeError as error:
        _print_failure(library, error)
        return False
    return True


def _print_failure(library: str, error: Exception) -> None:
    print(f"  {library} is left out: {error}", flush=True)


def seconds_of(runs: list[Run]) -> Spread:
    """Return the median and the quartiles of the seconds."""
    return spread([one["seconds"] for one in runs])


def ratio_of(theirs: list[Run], ours: list[Run]) -> Spread:
    """Return how many times as long the runs of another library take, by the ratios for each seed."""
    return spread([b["seconds"] / a["seconds"] for a, b in zip(ours, theirs, strict=True)])


def table(figures: dict[str, dict[str, list[Run]]]) -> str:
    """Return a table of the times and ratios, for 80 columns.

    >>> runs = summary(0.0, {"accuracies": [0.98], "marks": {"imports": 0.5, "later epochs": 2.0}}, 0.97)
    >>> print(table({"alone": {"fastbp": [runs], "JAX": [runs | {"seconds": 8.0}]}}))
    alone             seconds  quartiles       epochs  times fastbp's
      fastbp             2.00  2.00 to 2.00         1
      JAX                8.00  8.00 to 8.00         1     4.0  4.0 to 4.0
    """
    lines = []
    for name, runs in figures.items():
        lines.append(f"{name:21}".ljust(18) if len(name) <= 17 else name)
        heading = "seconds  quartiles       epochs  times fastbp's"
        lines[-1] = f"{lines[-1].rstrip():17} {heading}" if len(name) <= 17 else f"{name}\n{'':17} {heading}"
        for library, done in runs.items():
            taken, epochs = seconds_of(done), int(np.median([one["epochs"] for one in done]))
            line = f"  {library:13} {taken.median:9.2f}  {f'{taken.low:.2f} to {taken.high:.2f}':16} {epochs:5}"
            if library != "fastbp" and "fastbp" in runs:
                ratio = ratio_of(done, runs["fastbp"])
                line += f"   {ratio.median:5.1f}  {ratio.low:.1f} to {ratio.high:.1f}"
            lines.append(line)
    return "\n".join(lines)


def stages_table(runs: dict[str, list[Run]]) -> str:
    """Return a table with the median seconds of each stage, for 80 columns."""
    names = list(next(iter(runs.values()))[0]["stages"])
    lines = ["seconds of each stage, alone", " " * 15 + "".join(f"{name:>13}" for name in names)]
    for library, done in runs.items():
        medians = [np.median([one["stages"][name] for one in done]) for name in names]
        lines.append(f"  {library:13}" + "".join(f"{value:13.2f}" for value in medians))
    return "\n".join(lines)


def best_ratio(runs: dict[str, list[Run]]) -> tuple[str, Spread]:
    """Return the fastest other library and the ratio of its time to fastbp's.

    >>> best_ratio({"fastbp": [{"seconds": 1.0}], "A": [{"seconds": 4.0}], "B": [{"seconds": 2.0}]})
    ('B', Spread(median=2.0, low=2.0, high=2.0, repeats=1))
    """
    ratios = {library: ratio_of(done, runs["fastbp"]) for library, done in runs.items() if library != "fastbp"}
    return min(ratios.items(), key=lambda item: item[1].median)


def description(seeds: int, target: float, libraries: list[str]) -> str:
    """Return a text with what was measured, the machine, the versions and the date."""
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(PACKAGES[name])}" for name in libraries)]
    versions += [f"{name} {version(name)}" for name in ("numpy", "numba", "scipy")]
    return (
        f"Seconds from the start of a process until {target:.1%} of MNIST's test images are right. Medians of {seeds} "
        f"seeds, caches warm, default threads. {cpu_name()}, {cpu_count()} cores. {', '.join(versions)}. "
        f"{datetime.date.today()}."
    )


def draw(figures: dict[str, dict[str, list[Run]]], text: str) -> Any:
    """Return a Matplotlib figure with a panel for each of the two situations, a bar per library, and a text below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 2.9), facecolor="white")
    panels = figure.subplots(1, len(figures), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left=0.15, right=0.98, top=0.81, bottom=0.31, wspace=0.1)
    figure.suptitle("Seconds to train MNIST to the target accuracy (less is better)", fontsize=11)
    for panel, (name, runs) in zip(panels, figures.items(), strict=True):
        seconds = [seconds_of(done).median for done in runs.values()]
        shown = [value if math.isfinite(value) else 0.0 for value in seconds]
        bars = panel.barh(list(runs), shown, color=["#0072B2" if l == "fastbp" else "#BBBBBB" for l in runs])
        labels = [f"{value:.1f}" if math.isfinite(value) else "not reached" for value in seconds]
        panel.bar_label(bars, labels, padding=3)
        panel.set_title(name, fontsize=10)
        panel.set_xlim(0, 1.25 * max(shown))
        panel.tick_params(left=False, labelsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    figure.text(0.015, 0.015, textwrap.fill(text, 104), fontsize=7.5, va="bottom", color="#444444")
    return figure


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.time_to_accuracy", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs of each library (default: %(default)s)")
    parser.add_argument("--library", action="append", choices=PACKAGES, help="library to run; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for all figures")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="picture to write, .png or .svg")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="saved", help="JSON of an earlier run, to draw it")
    arguments = parser.parse_args(given)
    if arguments.seeds < 1:
        parser.error(f"--seeds must be an integer >= 1, got {arguments.seeds}")
    return arguments


def main(given: list[str] | None = None) -> int:
    arguments = _arguments(given)
    try:
        if arguments.picture:
            check_picture(arguments.picture)
        results = _saved(arguments.saved) if arguments.saved else _measured(arguments)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    figures = results["figures"]
    if arguments.json:
        with write_atomically(arguments.json) as file:
            file.write(json.dumps(results, indent=1).encode())
    print(f"\n{table(figures)}\n\n{stages_table(figures[ALONE])}\n")
    if arguments.picture:
        with write_atomically(arguments.picture) as file:
            draw(figures, results["description"]).savefig(file, format=arguments.picture.suffix[1:].lower(), dpi=200)
    return _verdict(figures)


def _measured(arguments: argparse.Namespace) -> dict[str, Any]:
    if (read := mnist_parts()) is None:
        raise InputError("FASTBP_DATA must be a folder with MNIST's four IDX files")
    training, validation, test = (Part(images, labels.astype(np.int64)) for images, labels, _ in read)
    whole = Part(*(np.concatenate(pair) for pair in zip(training, validation, strict=True)))
    libraries = [name for name in PACKAGES if name in (arguments.library or PACKAGES)]
    warn_if_busy()
    for name in libraries:
        print(f"{name:13} {RECIPES[name]}")
    figures = measure(libraries, arguments.seeds, TARGET, [whole, test])
    text = description(arguments.seeds, TARGET, list(figures[ALONE]))
    print(textwrap.fill(text, 80))
    recipes = {name: str(RECIPES[name]) for name in figures[ALONE]}
    return {"description": text, "recipes": recipes, "figures": figures}


def _saved(path: Path) -> dict[str, Any]:
    try:
        results: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"--from must be a file written with --json: {error}") from None
    return results


def _verdict(figures: dict[str, dict[str, list[Run]]]) -> int:
    """Print whether the bound is met; return the exit code."""
    missed = False
    for name, runs in figures.items():
        if "fastbp" in runs and len(runs) > 1:
            library, ratio = best_ratio(runs)
            met = ratio.meets(lower=MIN_RATIO)
            missed |= not met
            verdict = "" if met else " MISSED"
            print(f"{name}: {library} takes {ratio.median:.1f} times as long (bound: {MIN_RATIO:g}){verdict}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
