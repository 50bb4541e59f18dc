"""Compare steps with dropout with steps without.

    python -m benchmarks.dropout_steps

The network is 784-100-10 with relu and softmax, in mini-batches of 32 random examples. Epochs without dropout, with
dropout of the hidden layer, and with dropout of the input too, are timed in turn. A ratio is the time of an epoch over
that of the epoch without dropout in the same round. A bound is missed if even the better quartile of the ratios misses
it. The exit code is 1 if a bound is missed. `FASTBP_THREADS` and `FASTBP_WORKER` apply.

`--json FILE` saves the ratios. `--baseline FILE` compares them with those of an earlier run.
"""

import argparse
import sys
from functools import partial

import numpy as np

import fastbp
from benchmarks import baseline
from fastbp.backends.environment import information
from fastbp.bench.timing import Spread, in_turn, ratio, spread, warn_if_busy

SIZES, M, EXAMPLES, ROUNDS = (784, 100, 10), 32, 16_000, 15
RATES = {"no dropout": 0.0, "hidden": [0.0, 0.5], "input and hidden": [0.2, 0.5]}
BOUND = 1.15


def seconds_per_step(net: fastbp.Network, x: object, y: object, dropout: object) -> float:
    history = net.train(x, y, epochs=1, mini_batch_size=M, eta=0.01, dropout=dropout, progress=False)
    return history.seconds[0] * M / EXAMPLES


def _fail(name: str, error: Exception) -> None:
    raise error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dropout_steps", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds (default: %(default)s)")
    baseline.add_options(parser)
    options = parser.parse_args(arguments)
    before = baseline.checked(parser, options)
    print(*(f"{name}: {text}" for name, text in information().items()), sep="\n")
    warn_if_busy()
    print("columns: µs per step, ratio to a step without dropout, its quartiles, bound")
    rng, ratios, missed = np.random.default_rng(0), {}, False
    labels = rng.integers(0, SIZES[-1], EXAMPLES)
    for dtype in ("float32", "float64"):
        x = rng.random((EXAMPLES, SIZES[0])).astype(dtype).T
        tasks = {}
        for name, rates in RATES.items():
            net = fastbp.Network(SIZES, ["relu", "softmax"], "log-likelihood", dtype=dtype, rng=0)
            tasks[name] = partial(seconds_per_step, net, x, labels, rates)
            tasks[name]()
        figures = list(in_turn(tasks, range(options.rounds), _fail))
        for name in tasks:
            measured = ratios[f"{name}, {dtype}"] = ratio(figures, name, "no dropout")
            seconds: Spread = spread([figure[name] for figure in figures])
            bound = BOUND if dtype == "float32" else None
            text = "" if bound is None else f"≤ {bound:g}{'' if measured.meets(bound) else ' MISSED'}"
            missed |= not measured.meets(bound)
            name = f"{name}, {dtype}"
            print(f"  {name:26} {1e6 * seconds.median:8.1f} {measured.median:6.3f}", end="  ")
            print(f"{measured.low:.3f} to {measured.high:.3f} {text}", flush=True)
    slower = baseline.finish(options, before, ratios)
    return 1 if missed or slower else 0


if __name__ == "__main__":
    sys.exit(main())
