"""Stand-ins for backends: they compute with plain NumPy, and their clock follows a model of the machine."""

import numpy as np

from fastbp.backends.array_api import ArrayAPI
from fastbp.bench.candidates import ON_CPU, Candidate
from fastbp.bench.machine import copy
from fastbp.operations import LayerOperations


class Modelled(ArrayAPI):
    """Adds to its clock a launch per operation, and the time of the arithmetic of products and the bytes of copies."""

    def __init__(self, name, launch, rate, copies, link=None):
        super().__init__(name, np)
        self.kind, self.now = "numpy", 0.0
        self.launch, self.rate, self.copies, self.link = launch, rate, copies, link

    def clock(self):
        return self.now

    def operations(self, formulas, dtype, source, *, keep_z=False):
        plain = super().operations(formulas, dtype, source, keep_z=keep_z)
        layers = [LayerOperations(keep, *map(self.launched, others)) for keep, *others in plain.layers]
        kept = ("layers", "sum_over_ranks")  # the sum launches nothing on one rank
        others = {name: self.launched(f) for name, f in plain._asdict().items() if name not in kept}
        return plain._replace(layers=tuple(layers), **others)

    def launched(self, operation):
        def call(*arguments):
            self.now += self.launch
            operation(*arguments)

        return call

    def gemm(self, alpha, a, b, beta, c):
        self.now += 2 * a.shape[0] * a.shape[1] * b.shape[1] / self.rate
        super().gemm(alpha, a, b, beta, c)

    def run(self, equation, *arguments):
        if equation is copy:
            self.now += 2 * arguments[0].nbytes / self.copies
        super().run(equation, *arguments)

    def upload(self, host):
        self.now += host.nbytes / self.link if self.link else 0.0
        return super().upload(host)

    def to_host(self, array):
        self.now += array.nbytes / self.link if self.link else 0.0
        return super().to_host(array)


def candidate(backend, where=ON_CPU, free=2**40):
    return Candidate(backend.name, backend, backend, where, f"model of {where}", lambda: free, backend.clock)


def cpu(kind=Modelled, name="slow-numbers"):
    return candidate(kind(name, launch=1e-6, rate=1e9, copies=1e10))


def gpu(kind=Modelled, free=2**40):
    return candidate(kind("stand-in", launch=20e-6, rate=1e12, copies=1e12, link=1e10), "stand-in", free)
