"""A stand-in for a machine with two GPUs. It records every use of an array while another GPU is the current one.

With CuPy, such a use is enqueued on a stream of the wrong GPU, so that it may run too early or too late.
"""

import operator
from contextlib import contextmanager
from functools import partialmethod
from types import SimpleNamespace

import numpy as np
from array_api_compat import numpy as numpy_namespace
from gpu_stand_in import StandInDevice


class Machine:
    """The number of the current GPU, and the faults found so far. With `only`, uses of other GPUs are faults, too."""

    def __init__(self, only=None):
        self.current, self.only, self.faults, self.namespace = 0, only, [], Namespace(self)

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
        parts = key if isinstance(key, tuple) else (key,)
        found = self.host[parts if any(part is Ellipsis for part in parts) else (*parts, ...)]
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
        return self.machine.namespace

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
        with np.errstate(all="ignore"):
            return self._of(np.asarray(operation(*map(self._operand, values))))

    def _calculated_from(self, operation, *others):
        return self._calculated(operation, self, *others)

    def astype(self, dtype):
        return self._calculated(lambda host: host.astype(dtype), self)


def _add_operator(name):
    of = getattr(operator, f"__{name}__")

    def forward(self, other):
        return self._calculated(of, self, other)

    def backward(self, other):
        return self._calculated(lambda a, b: of(b, a), self, other)

    name = name.strip("_")
    setattr(Array, f"__{name}__", forward)
    setattr(Array, f"__r{name}__", backward)


for _name in ("add", "sub", "mul", "truediv", "pow", "matmul", "and", "or", "xor", "lshift", "rshift"):
    _add_operator(_name)
for _name in ("lt", "le", "eq", "ne", "gt", "ge", "neg", "abs", "invert"):
    setattr(Array, f"__{_name}__", partialmethod(Array._calculated_from, getattr(operator, _name)))
Array.__module__ = "cupy"  # so that fastbp takes it for an array of CuPy


class Namespace:
    """The functions of NumPy, on the arrays of this machine."""

    __name__ = "two_gpus"

    def __init__(self, machine):
        self.machine = machine

    def asarray(self, values, *, dtype=None, device=None, copy=None):
        number = self.machine.current if device is None else device.id
        host = values.host if isinstance(values, Array) else values
        with self.machine.device(number):  # as array_api_compat does
            if isinstance(values, Array):
                self.machine.use(values.number, "a copy")
            return Array(self.machine, number, np.array(host, dtype))

    def __getattr__(self, name):
        if name in ("isdtype", "float32", "float64", "uint8", "int64"):
            return getattr(np, name)
        function = getattr(numpy_namespace, name)
        if name == "permute_dims":  # returns a view
            return lambda array, axes: array._of(function(array.host, axes))

        def call(first, *others, **options):
            """Compute on the GPU of the first array. If there is none, make an array on the current GPU."""
            arrays = list(first) if isinstance(first, tuple) else [first, *others]
            here = next((a for a in arrays if isinstance(a, Array)), Array(self.machine, self.machine.current, None))
            if isinstance(first, tuple):
                return here._calculated(lambda *hosts: function(hosts, **options), *arrays)
            return here._calculated(lambda *hosts: function(*hosts, **options), *arrays)

        return call


class Device(StandInDevice):
    """Replaces `CuPyDevice`, like `StandInDevice`, on a machine with two GPUs."""

    def __init__(self, machine, number, *, tf32=False):
        super().__init__()
        self.machine, self.number, self.tf32, self.xp = machine, number, tf32, machine.namespace

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
