"""Measure what the host does for a training step, with a driver that does nothing: `python stub_machine.py stub_costs`.

The times are those of the processor in Python, fastbp and CuPy. What NVIDIA's driver does for a call comes in addition.
"""

import sys
import time

from stub_machine import MACHINE

from benchmarks.replay_modes import CASES, timed
from fastbp import backends
from fastbp.backends.cupy.replay import MODES, replay_at_most

STEPS = 2000


def main() -> int:
    """Print the time of the host for a step, in µs, for each case and mode. Return 1 if a mode was not reached."""
    backend, reached = backends.get("cupy"), []
    MACHINE.compute(False)
    print(f"{'network × mini-batch':<42}" + "".join(f"{mode:>10}" for mode in MODES))
    for sizes, m, dtype, optimizer in CASES[:7]:
        times = []
        for mode in MODES:
            with replay_at_most(mode):
                _, host, _, taken = timed(backend, sizes, m, dtype, optimizer, STEPS, time.process_time)
            times.append(host)
            reached.append(taken == mode)
        name = f"{'-'.join(map(str, sizes))} × {m}, {dtype}, {optimizer}"
        print(f"{name:<42}" + "".join(f"{1e6 * time:10.1f}" for time in times), flush=True)
    MACHINE.compute(True)
    print(*backend.device.refused.values(), sep="\n", end="")
    return int(not all(reached))


if __name__ == "__main__":
    sys.exit(main())
