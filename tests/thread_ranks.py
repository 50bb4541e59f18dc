"""A stand-in for communicators of mpi4py: the ranks are threads of one process."""

import threading
from concurrent.futures import ThreadPoolExecutor


class ThreadRanks:
    """A stand-in for a communicator of mpi4py whose ranks are threads."""

    def __init__(self, size):
        self.size, self.barrier, self.slots = size, threading.Barrier(size, timeout=60), [None] * size

    def rank(self, index):
        return Rank(self, index)


def on_threads(count, work):
    """Call a function with each of several ranks at the same time, and return what the calls return."""
    group = ThreadRanks(count)
    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(work, group.rank(index)) for index in range(count)]]


class Rank:
    def __init__(self, group, index):
        self.group, self.index = group, index

    def Get_rank(self):  # noqa: N802 (a name of mpi4py)
        return self.index

    def Get_size(self):  # noqa: N802
        return self.group.size

    def Dup(self):  # noqa: N802
        return self

    def Free(self):  # noqa: N802
        pass

    def Abort(self, code):  # noqa: N802
        self.group.barrier.abort()
        raise RuntimeError("aborted")

    def allgather(self, value):
        self.group.slots[self.index] = value
        self.group.barrier.wait()
        values = list(self.group.slots)
        self.group.barrier.wait()
        return values

    def bcast(self, value):
        return self.allgather(value)[0]

    def Allreduce(self, own, total):  # noqa: N802
        total[...] = sum(self.allgather(own.copy()))
