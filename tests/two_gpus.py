"""A stand-in for a machine with two GPUs. It records every use of an array while another GPU is the current one.

With CuPy, such a use is enqueued on a stream of the wrong GPU, so that it may run too early or too late.
"""

import operator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
from gpu_stand_in import StandInDevice


class Machine:
    """The number of the current GPU, and the faults found so far. With `only`, uses of other GPUs are faults, too."""

    def __init__(self, only=None):
        self.current, self.only, self.faults = 0, only, []

    def use(self, number, what):
        """Note that something happens on a GPU."""
        if number != self.current:
            self.faults.append(f"{what} on GPU {number} while GPU {self.current} is current")
        elif self.only is not None and number != self.only:
            self.faults.append(f"{what} on GPU {number}")

    @contextmanager
    def device(self, number):
        previous, self.current = self.current, number
        try:
            yield
        finally:
            self.current = previous


class Array:
    """An array on one of the GPUs, like CuPy's. Its memory is a NumPy array, which only its GPU may use."""

    def __init__(self, machine, number, host):
        self.machine, self.number, self.host = machine, number, host
        self.device = SimpleNamespace(id=number)

    shape, dtype, ndim, size, nbytes, flags = (
        property(lambda self, name=name: getattr(self.host, name))
        for name in ("shape", "dtype", "ndim", "size", "nbytes", "flags")
    )

    @property
    def T(self):  # noqa: N802
        return self._of(self.host.T)

    def __len__(self):
        return len(self.host)

    def __getitem__(self, key):
        """Return a view. Its making does not use the GPU."""
        found = self.host[key]
        assert np.shares_memory(found, self.host) or found.size == 0
        return self._of(found)

    def __setitem__(self, key, value):
        self.machine.use(self.number, "a write")
        self.host[key] = self._operand(value)

    def __float__(self):
        self.machine.use(self.number, "a download")
        return float(self.host)

    def __array__(self, *arguments, **options):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_namespace__(self, api_version=None):
        return Namespace(self.machine)

    def _of(self, host):
        return Array(self.machine, self.number, host)

    def _operand(self, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        if not isinstance(value, Array):
            return value
        self.machine.use(value.number, "an operand")
        return value.host

    def _calculated(self, operation, *values):
        self.machine.use(self.number, "an expression")
        return self._of(np.asarray(operation(*map(self._operand, values))))

    def astype(self, dtype):
        return self._calculated(lambda host: host.astype(dtype), self)


def _add_operator(name):
    def forward(self, other):
        return self._calculated(getattr(operator, name), self, other)

    def backward(self, other):
        return self._calculated(lambda a, b: getattr(operator, name)(b, a), self, other)

    setattr(Array, f"__{name}__", forward)
    setattr(Array, f"__r{name}__", backward)


for _name in ("add", "sub", "mul", "truediv", "pow"):
    _add_operator(_name)
Array.__module__ = "cupy"  # so that fastbp takes it for an array of CuPy


class Namespace:
    """The functions of NumPy, on the arrays of this machine."""

    __name__ = "two_gpus"

    def __init__(self, machine):
        self.machine = machine

    def asarray(self, values, *, device=None, copy=None):
        number = self.machine.current if device is None else device.id
        host = values.host if isinstance(values, Array) else values
        with self.machine.device(number):  # as array_api_compat does
            if isinstance(values, Array):
                self.machine.use(values.number, "a copy")
            return Array(self.machine, number, np.array(host))

    def __getattr__(self, name):
        if name in ("isdtype", "float32", "float64", "uint8"):
            return getattr(np, name)
        function = getattr(np, name)

        def call(array, *arguments, **options):
            return array._calculated(lambda *hosts: function(*hosts, **options), array, *arguments)

        return call


class Device(StandInDevice):
    """Replaces `CuPyDevice`, like `StandInDevice`, on a machine with two GPUs."""

    def __init__(self, machine, number, *, tf32=False):
        super().__init__()
        self.machine, self.number, self.tf32, self.xp = machine, number, tf32, Namespace(machine)

    def device_context(self):
        return self.machine.device(self.number)

    def empty(self, shape, dtype):
        return Array(self.machine, self.number, super().empty(shape, dtype))

    def upload(self, host):
        return Array(self.machine, self.number, super().upload(host))

    def contiguous(self, array):
        return array if array.flags.c_contiguous else array._calculated(np.ascontiguousarray, array)

    def to_host(self, array):
        self.machine.use(array.number, "a download")
        return super().to_host(array.host)

    def binding(self):
        self.machine.use(self.number, "a stream")
        return super().binding()

    def free_bytes(self):
        return 2**40

    def capture(self, ready, steps):
        self.machine.use(self.number, "a capture")
        return super().capture(ready, steps)

    def _log(self, name):
        self.machine.use(self.number, name)
        super()._log(name)

    def _do(self, name, call, *arguments):
        for array in (self, *(a for a in arguments if isinstance(a, Array))):
            self.machine.use(array.number, name)
        super()._do(name, call, *(a.host if isinstance(a, Array) else a for a in arguments))

    def _launch_graph(self, graph):
        self.machine.use(self.number, "a graph")
        super()._launch_graph(graph)
