"""Seconds from the start of a process to the end of its first mini-batch, with a warm cache and with a cold one.

    python benchmarks/startup.py

The clock of the machine is read before the process starts and, in it, after the mini-batch; each figure is the median
of seven processes, the cold ones each with a cache folder of its own.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

FIRST_MINI_BATCH = """
import time
import numpy as np
import fastbp

net = fastbp.Network([784, 30, 10], rng=0)
net.train(np.zeros((784, 10), np.float32), np.arange(10), epochs=1, mini_batch_size=10, progress=False)
print(time.time())
"""
ROUNDS = 7


def seconds(cache: str) -> float:
    """Return how long a process takes to its first mini-batch, with Numba's cache in a folder."""
    start = time.time()
    command = [sys.executable, "-c", FIRST_MINI_BATCH]
    done = subprocess.run(
        command, env={**os.environ, "NUMBA_CACHE_DIR": cache}, capture_output=True, text=True, check=True
    )
    return float(done.stdout) - start


def main() -> None:
    with tempfile.TemporaryDirectory() as warm:
        seconds(warm)
        print(f"warm {statistics.median(seconds(warm) for _ in range(ROUNDS)):.2f} s")
    cold = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as empty:
            cold.append(seconds(empty))
    print(f"cold {statistics.median(cold):.2f} s")


if __name__ == "__main__":
    main()
