"""Start-up time: from the start of a process to the end of its first mini-batch, with a warm and with a cold cache.

    python -m benchmarks.startup

The time to import fastbp is printed too, without the time to import NumPy. The system clock is read before the process
starts and at the end of the process. Each figure is the median of seven processes. For a cold cache, each process has a
new, empty cache folder.
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
    """Run Python source in a new process; return the seconds from the start of the process to the end of the source.

    `cache` is the folder of Numba's cache.
    """
    environment = os.environ if cache is None else {**os.environ, "NUMBA_CACHE_DIR": cache}
    command = [sys.executable, "-c", f"{source}\nimport time\nprint(time.time())"]
    start = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout) - start


def main() -> None:
    imports = {name: statistics.median(run(f"import {name}") for _ in range(ROUNDS)) for name in ("numpy", "fastbp")}
    print(f"import fastbp: {1e3 * (imports['fastbp'] - imports['numpy']):.0f} ms more than NumPy")
    with tempfile.TemporaryDirectory() as warm:
        run(FIRST_MINI_BATCH, warm)
        seconds = statistics.median(run(FIRST_MINI_BATCH, warm) for _ in range(ROUNDS))
        print(f"first mini-batch, warm cache: {seconds:.2f} s")
    cold = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as empty:
            cold.append(run(FIRST_MINI_BATCH, empty))
    print(f"first mini-batch, cold cache: {statistics.median(cold):.2f} s")


if __name__ == "__main__":
    main()
