"""Time a training step on a GPU in each mode of `fastbp.backends.cupy.replay`: `python -m benchmarks.replay_modes`.

The columns are the time per step, in µs, and in brackets the part of it in which the host is busy. The column "block"
is the kernel for small networks (`fastbp.backends.cupy.small_networks`). All modes take the same steps. The parameters
after replayed steps are compared bit by bit.
"""

import argparse
import time
from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from fastbp import backends, equations
from fastbp.backends.cupy.replay import MODES, replay_at_most
from fastbp.operations import Examples, WorkspacePool, step_config
from fastbp.optimizers import OPTIMIZERS
from fastbp.parameters import as_parameters, draw_parameters, new_optimizer_state, plan_of

CASES = [
    ([784, 30, 10], 10, "float32", "sgd"),
    ([784, 30, 10], 100, "float32", "sgd"),
    ([64, 30, 10], 10, "float32", "sgd"),
    ([784, 30, 10], 10, "float64", "sgd"),
    ([784, 30, 10], 10, "float32", "adam"),
    ([784, 800, 10], 100, "float32", "sgd"),
    ([784, 800, 10], 100, "float32", "adam"),
    ([784, 800, 10], 100, "float64", "adam"),
    ([784, 1024, 1024, 10], 256, "float32", "sgd"),
    ([784, 1024, 1024, 10], 256, "float32", "adam"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="cupy", help="a GPU")
    parser.add_argument("--steps", type=int, default=2000, help="number of steps that are timed together")
    arguments = parser.parse_args()
    backend = backends.get(arguments.backend)
    print(f"{backend.device.description()}; {arguments.steps} steps")
    print(f"{'network × mini-batch':<42}" + "".join(f"{mode:>16}" for mode in (*MODES, "block")) + "  bits")
    for sizes, m, dtype, optimizer in CASES:
        name = f"{'-'.join(map(str, sizes))} × {m}, {dtype}, {optimizer}"
        cells, bits = [], []
        for mode in (*MODES, "block"):
            with replay_at_most(mode) if mode in MODES else nullcontext():
                total, host, parameters, reached = timed(backend, sizes, m, dtype, optimizer, arguments.steps)
            cells.append(f"{1e6 * total:.1f} ({1e6 * host:.1f})" if reached == mode else "–")
            bits += [parameters] if mode in MODES else []
        same = "same" if bits[0] == bits[1] == bits[2] else "DIFFERENT"
        print(f"{name:<42}" + "".join(f"{cell:>16}" for cell in cells) + f"  {same}", flush=True)
    print("refused:", backend.device.refused)


def timed(backend, sizes, m, dtype, optimizer, count, clock=time.perf_counter):
    """Return the time of a step and of the host's part, in seconds, the parameters after all steps, and the mode."""
    n = 1000 * m if 1000 * m * sizes[0] < 2**27 else 100 * m
    take, p, take_steps = prepared(backend, sizes, m, dtype, optimizer, count, n)
    backend.synchronize()
    start = clock()
    take(count)
    host = clock() - start
    backend.synchronize()
    whole = clock() - start
    parameters = [backend.to_host(w).tobytes() for w in p.weights]
    return whole / count, host / count, parameters, take_steps.mode


def prepared(backend, sizes, m, dtype, optimizer, count, n):
    """Return a function that takes up to `count` steps on n examples, the parameters, and the `Replay`.

    So many steps have been taken before that all graphs have been captured.
    """
    rng, optimizer = np.random.default_rng(0), OPTIMIZERS[optimizer]
    plan = plan_of(sizes, "sigmoid", "quadratic", bias=True, dtype=dtype, backend=backend, input_scale=1 / 255)
    plan = replace(plan, formulas=replace(plan.formulas, rule=optimizer.rule))
    p = as_parameters(*draw_parameters(plan, rng, "scaled"), plan)
    x = rng.integers(0, 256, (n, sizes[0]), np.uint8)
    examples = Examples(backend.upload(x), plan.array(rng.random((n, sizes[-1]))), plan.block(0, n), 1 / 255)
    operations = plan.operations("uint8")
    ws, total = WorkspacePool(plan, operations, m).workspace(m), backend.new_cost_total(sizes[-1], m, dtype)
    state, take_steps = new_optimizer_state(plan, optimizer.rule), backend.training_run(plan, "uint8", m, count * m)
    backend.set_cost_total(total, 0.0)
    order = backend.upload(rng.integers(0, n, count * m))
    done = 0

    def take(steps):
        nonlocal done
        config = step_config(optimizer, optimizer.default_eta, steps=done, count=steps, lmbda=0.1, n=n)
        with backend.device_context():
            part = order[: steps * m]
        take_steps(equations.train_mini_batches, operations, p, state, ws, examples, part, config, m, total)
        done += steps

    for steps in (1, 20, 1100, 32):  # also captures the graph of several steps
        take(min(steps, count))
    return take, p, take_steps


if __name__ == "__main__":
    main()
