"""Ctrl-C at random times during short trainings: `python tests/interrupt_stress.py 6000`.

Each training has validation data and a checkpoint. It must complete or raise KeyboardInterrupt, and nothing else. The
state of the process must be as before, and the next training must give the same bits.
"""

import mmap
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from numba.core.compiler_lock import global_compiler_lock

import fastbp
from fastbp.backends.numpy import threads, worker_thread
from fastbp_kernels.cpu import work_sharing


def state_of_process():
    """Return the state that an interrupted training must not change."""
    thread, free = worker_thread._worker, []

    def acquire():
        for lock in (thread.lock, threads.limits.lock, global_compiler_lock._lock):
            free.append(lock.acquire(blocking=False))
            if free[-1]:
                lock.release()

    other = threading.Thread(target=acquire)
    other.start()
    other.join()
    blas = worker_thread.blas_thread_pool()
    counts = None if blas is None else blas.threads()
    limits = len(threads.limits._blocks), len(threads.limits._trainings), dict(threads.limits._before)
    slot = work_sharing.slot[work_sharing.WORKER_PRESENT], work_sharing.slot[work_sharing.STATE]
    users = len(thread._users)
    return signal.getsignal(signal.SIGINT), free, counts, limits, tuple(map(int, slot)), users


def trained(path=None):
    """Train a small network, from a checkpoint if the file exists, use it, and return it."""
    rng = np.random.default_rng(1)
    x, y = rng.random((64, 640), np.float32), rng.integers(0, 10, 640)
    net = fastbp.Network([64, 40, 10], rng=0)
    options = {"validation": 0.25, "patience": 100, "progress": False}
    options |= {} if path is None else {"checkpoint": path, "resume": True}
    net.train(x, y, epochs=2, mini_batch_size=32, optimizer="adam", eta=0.001, **options)
    for _ in range(2):
        net.cost(x, y)
        net.accuracy(x, y)
    return net


def bits(net):
    return b"".join(array.tobytes() for array in [*net.weights, *net.biases])


PRESSER = """
import mmap, os, signal, sys, time
with open(sys.argv[1], "r+b") as file:
    pressed = mmap.mmap(file.fileno(), 8)
for line in sys.stdin:
    number, delay = line.split()
    time.sleep(float(delay))
    os.kill(os.getppid(), signal.SIGINT)
    pressed[:] = int(number).to_bytes(8, "little")
"""


class Presser:
    """A separate process that presses Ctrl-C: a thread would run only where Python checks for signals."""

    def __init__(self, folder):
        path = folder / "pressed"
        path.write_bytes(bytes(8))
        command = [sys.executable, "-c", PRESSER, str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
        with open(path, "r+b") as file:
            self.pressed, self.number = mmap.mmap(file.fileno(), 8), 0

    def press_after(self, seconds):
        self.number += 1
        self.process.stdin.write(f"{self.number} {seconds}\n")
        self.process.stdin.flush()

    def wait(self):
        """Wait until Ctrl-C has been pressed: KeyboardInterrupt is raised here at the latest."""
        while int.from_bytes(self.pressed[:], "little") != self.number:
            time.sleep(0.0005)
        time.sleep(0.0001)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.pressed.close()


def interrupted(times, seed=0):
    """Interrupt `times` trainings and check the state of the process after each; return how they ended."""
    with tempfile.TemporaryDirectory() as folder:
        presser = Presser(Path(folder))
        try:
            return _interrupted(times, random.Random(seed), presser, Path(folder) / "checkpoint")
        finally:
            presser.close()


def _interrupted(times, draw, presser, path):
    expected, before, outcomes = bits(trained()), state_of_process(), Counter()
    start = time.perf_counter()
    trained(path)
    longest = 1.2 * (time.perf_counter() - start)
    for number in range(times):
        path.unlink(missing_ok=True)
        ended = "interrupted"
        try:
            try:
                presser.press_after(draw.uniform(0.0, longest))
                trained(path)
                ended = "complete"
            finally:
                presser.wait()
        except KeyboardInterrupt:
            pass
        outcomes[ended] += 1
        outcomes["with a checkpoint"] += path.exists()
        assert state_of_process() == before, number
        if number % 20 == 0:
            if path.exists():
                assert bits(trained(path)) == expected, number
            assert bits(trained()) == expected, number
    return outcomes


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores SIGINT in what it starts with &
    worker_thread._MIN_MULTIPLICATIONS = 0
    with threads.use_threads(2):
        outcomes = interrupted(int(sys.argv[1]))
    print(dict(outcomes))
    assert outcomes["interrupted"], "no training was interrupted"
