"""Start-up time: from the start of a process to the end of its first mini-batch, with a warm and with a cold cache.

    python -m benchmarks.startup

Networks with 2, 5 and 20 layers of weights are trained for one mini-batch, each in a new process. For a cold cache,
each process has a new, empty cache folder, so it compiles all kernels. The system clock is read before the process
starts and at its end. All processes are timed in turn, and times are medians with quartiles.

Two bounds are checked. With a warm cache, the first mini-batch of the smallest network may end at most `MAX_OWN`
seconds later than a process that only imports NumPy, Numba and SciPy. With a cold cache, 20 layers may take at most
10 % longer than 2. The exit code is 1 if a bound is missed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from typing import Any

from fastbp.backends.environment import information
from fastbp.bench.timing import Spread, in_turn, ratio, spread, warn_if_busy

ROUNDS, COLD_ROUNDS = 9, 3
DEPTHS = (2, 5, 20)
MAX_OWN, MAX_GROWTH = 0.12, 1.1
IMPORTS = "import numpy, numba, scipy"


def first_mini_batch(depth: int) -> str:
    """Return a program that trains a network with `depth` layers of weights for one mini-batch."""
    return f"""
import numpy as np
import fastbp

net = fastbp.Network([784, *[30] * {depth - 1}, 10], rng=0)
net.train(np.zeros((784, 10), np.float32), np.arange(10), epochs=1, mini_batch_size=10, progress=False)
"""


FIRST_MINI_BATCH = first_mini_batch(2)


def run(source: str, cache: str | None = None) -> float:
    """Run Python source in a new process; return the seconds from the start of the process to the end of the source.

    `cache` is the folder of Numba's cache.
    """
    environment = dict(os.environ) if cache is None else {**os.environ, "NUMBA_CACHE_DIR": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # use bytecode, as installed packages do
    command = [sys.executable, "-c", f"{source}\nimport time\nprint(time.time())"]
    start = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout) - start


def run_cold(source: str) -> float:
    """Run Python source in a new process with an empty cache folder; return the seconds."""
    with tempfile.TemporaryDirectory() as empty:
        return run(source, empty)


def difference(rounds: list[dict[str, float]], name: str, other: str) -> Spread:
    """Return the difference of the seconds of two tasks, computed within each round."""
    return spread([figures[name] - figures[other] for figures in rounds])


def _fail(name: str, error: Exception) -> None:
    raise error


def _line(name: str, taken: Spread) -> str:
    return f"  {name:36} {taken.median:6.3f} s  {taken.low:.3f} to {taken.high:.3f}"


def _print_seconds(rounds: list[dict[str, float]]) -> None:
    for name in rounds[0]:
        print(_line(name, spread([figures[name] for figures in rounds])), flush=True)


def measure(rounds: int, cold_rounds: int) -> bool:
    """Print all times; return whether both bounds are met."""
    with tempfile.TemporaryDirectory() as warm:
        run(FIRST_MINI_BATCH, warm)
        tasks: dict[str, Any] = {
            "import numpy": partial(run, "import numpy"),
            "import fastbp": partial(run, "import fastbp"),
            IMPORTS: partial(run, IMPORTS),
            "import numpy, numba, scipy.linalg": partial(run, "import numpy, numba, scipy.linalg"),
        }
        tasks |= {f"{depth} layers, warm cache": partial(run, first_mini_batch(depth), warm) for depth in DEPTHS}
        figures = list(in_turn(tasks, range(rounds), _fail))
    _print_seconds(figures)
    own = difference(figures, f"{DEPTHS[0]} layers, warm cache", IMPORTS)
    own_met = own.meets(upper=MAX_OWN)
    print(_line(f"beyond {IMPORTS}", own), f"≤ {MAX_OWN:g} s", "" if own_met else "MISSED", flush=True)
    cold = {f"{depth} layers, cold cache": partial(run_cold, first_mini_batch(depth)) for depth in DEPTHS}
    figures = list(in_turn(cold, range(cold_rounds), _fail))
    _print_seconds(figures)
    growth = ratio(figures, f"{DEPTHS[-1]} layers, cold cache", f"{DEPTHS[0]} layers, cold cache")
    growth_met = growth.meets(upper=MAX_GROWTH)
    text = f"  {'ratio of 20 layers to 2':36} {growth.median:6.3f}    {growth.low:.3f} to {growth.high:.3f}"
    print(text, f"≤ {MAX_GROWTH:g}", "" if growth_met else "MISSED")
    return own_met and growth_met


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds with a warm cache (default: %(default)s)")
    help_text = "rounds with a cold cache (default: %(default)s)"
    parser.add_argument("--cold-rounds", type=int, default=COLD_ROUNDS, help=help_text)
    options = parser.parse_args(given)
    for name in ("rounds", "cold_rounds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be an integer >= 1, got {getattr(options, name)}")
    print(*(f"{name}: {text}" for name, text in information().items()), sep="\n")
    warn_if_busy()
    return 0 if measure(options.rounds, options.cold_rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
