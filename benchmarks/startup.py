"""Seconds from the start of a process to the end of its first mini-batch, with a warm cache and with a cold one.

    python -m benchmarks.startup

Also what the import of fastbp takes beyond NumPy's. The clock of the machine is read before the process starts and, in
it, at the end; each figure is the median of seven processes, the cold ones each with a cache folder of its own.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

FIRST_MINI_BATCH = """
import numpy as np
import fastbp

net = fastbp.Network([784, 30, 10], rng=0)
net.train(np.zeros((784, 10), np.float32), np.arange(10), epochs=1, mini_batch_size=10, progress=False)
"""
ROUNDS = 7


def run(source: str, cache: str | None = None) -> float:
    """Return how long a process takes to the end of its source, with Numba's cache in a folder."""
    environment = os.environ if cache is None else {**os.environ, "NUMBA_CACHE_DIR": cache}
    command = [sys.executable, "-c", f"{source}\nimport time\nprint(time.time())"]
    start = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout) - start


def main() -> None:
    imports = {name: statistics.median(run(f"import {name}") for _ in range(ROUNDS)) for name in ("numpy", "fastbp")}
    print(f"import fastbp: {1e3 * (imports['fastbp'] - imports['numpy']):.0f} ms beyond NumPy's")
    with tempfile.TemporaryDirectory() as warm:
        run(FIRST_MINI_BATCH, warm)
        print(f"first mini-batch, warm: {statistics.median(run(FIRST_MINI_BATCH, warm) for _ in range(ROUNDS)):.2f} s")
    cold = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as empty:
            cold.append(run(FIRST_MINI_BATCH, empty))
    print(f"first mini-batch, cold: {statistics.median(cold):.2f} s")


if __name__ == "__main__":
    main()
