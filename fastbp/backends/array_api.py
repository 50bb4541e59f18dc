"""The interpreted backend: plain array expressions, for any array API namespace whose arrays are writable.

Each operation is written as its formula, so this backend can serve as the reference for compiled code. It also shows
that the equations do not depend on NumPy.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import InputError
from fastbp.operations import Backend, Formulas, LayerOperations, Operation, Operations
from fastbp_kernels.threefry import kept_units

Array = Any


class ArrayAPI(Backend):
    """The equations, interpreted with the functions of an array API namespace.

    Parameters
    ----------
    name : str
        The name of the backend.
    xp : module
        The array API namespace.
    device : object, optional
        The device for new arrays. If it is not given, the namespace chooses the device.

    Raises
    ------
    InputError
        If the arrays of the namespace are read-only.

    Examples
    --------
    >>> ArrayAPI("numpy-plain", np).empty((2, 3), "float32").shape
    (2, 3)
    """

    def __init__(self, name: str, xp: Any, device: Any = None) -> None:
        self.name, self.xp, self.device = name, xp, device
        self.kind = name.partition(":")[0].removesuffix("-plain")
        self._has_float64 = True
        try:
            self.assign(self.empty((1,), "float32"), 0.0)
        except (TypeError, ValueError, AttributeError) as error:
            reason = "its arrays cannot be written to, and fastbp updates arrays in place"
            raise InputError(f"backend {name!r} cannot be used: {reason}") from error
        try:
            self.empty((1,), "float64")
        except Exception:  # of any type, from the library
            self._has_float64 = False

    def operations(self, formulas: Formulas, dtype: str, source: str, *, keep_z: bool = False) -> Operations:
        """Return the operations. They are array expressions, so they accept any dtype."""
        *hidden, last = formulas.activations
        rule = formulas.output
        layers = [self._layer(g.f, g.prime, formulas.bias, keep_z or g.needs_z) for g in hidden]
        layers.append(self._layer(last.f, last.prime, formulas.bias, keep_z or rule.needs_z))
        gemm, xp = self.gemm, self.xp

        def add_column_sums(alpha: float, sums: Array, beta: float, b: Array) -> None:
            b[...] = beta * b + alpha * sums

        def optimizer_step(
            eta: float, decay: float, t: float, constants: npt.NDArray[np.float64],
            nabla: Array, first: Array, second: Array, third: Array, w: Array,
        ) -> None:  # fmt: skip
            if (step := formulas.rule) is not None:
                state, numbers = (first, second, third)[: step.state], constants.tolist()[: step.constants]
                found = step.formula(w, nabla, *state, eta, decay, t, *numbers)
                for array, value in zip((w, *state), found if state else (found,), strict=True):
                    self._write(self._filled(value, array), array)

        def output_error(z: Array, a: Array, y: Array, s: Array, delta: Array, sums: Array) -> None:
            error = self._filled(rule.error(z, a, y), a)
            self._write(s * error if formulas.weighted else error, delta)
            self._sum(delta, sums)

        def add_cost(z: Array, a: Array, y: Array, s: Array, total: Array) -> None:
            cost = self._filled(rule.cost(z, a, y), a)
            total[...] = total + xp.sum(s * cost if formulas.weighted else cost, dtype=total.dtype)

        def add_squares(factor: float, w: Array, total: Array) -> None:
            total[...] = total + factor * xp.sum(w * w, dtype=total.dtype)

        return Operations(
            layers=tuple(layers),
            gather_x=self._gather,
            gather=self._gather,
            matmul_transposed=lambda w, delta, out: gemm(1.0, w.T, delta, 0.0, out),
            add_column_sums=add_column_sums,
            optimizer_step=optimizer_step,
            output_error=output_error,
            add_cost=add_cost,
            add_squares=add_squares,
            sum_over_ranks=lambda ranks, w: None,
        )

    def dropout(self, dtype: str) -> Operation:
        """Return the operation of dropout. It uses int64, because some libraries have no arithmetic in uint32."""
        xp = self.xp

        def drop(
            threshold: int, scale: float, key_0: int, key_1: int, n: int, examples: Array, a: Array, out: Array
        ) -> None:
            j = self._units((n + 3) // 4)[:, None]
            kept = xp.concat(kept_units(threshold, key_0, key_1, j, examples[None, :]), axis=0)[:n, :]
            out[...] = xp.where(kept, scale * a, xp.zeros_like(a))

        return drop

    def gemm(self, alpha: float, a: Array, b: Array, beta: float, c: Array) -> None:
        """Compute the matrix product c ← alpha a b + beta c."""
        product = a @ b if alpha == 1.0 else alpha * (a @ b)
        c[...] = product if beta == 0.0 else product + beta * c

    def run(self, equation: Callable[..., None], *arguments: Any) -> None:
        """Run an equation as Python code, without NumPy's warnings. An overflow shows as a cost that is not finite."""
        with np.errstate(all="ignore"):
            equation(*arguments)

    def columns(self, rows: Array) -> Array:
        """Return the transpose of the matrix. It is a view."""
        return rows.T

    def empty(self, shape: Sequence[int], dtype: str) -> Array:
        """Return a new, uninitialized array on the backend's device."""
        return self.xp.empty(tuple(shape), dtype=getattr(self.xp, dtype), device=self.device)

    def upload(self, host: npt.NDArray[Any]) -> Array:
        """Return an array of the namespace. It may share memory with the host array."""
        return self.xp.asarray(np.require(host, requirements="W"), device=self.device)

    def to_host(self, array: Array) -> npt.NDArray[Any]:
        """Return a copy as a NumPy array."""
        if isinstance(array, np.ndarray):
            return array.copy()
        from array_api_compat import to_device

        on_host = self.xp.empty((0,)).device  # the default device of these libraries
        return np.array(np.from_dlpack(array if array.device == on_host else to_device(array, on_host)))

    def from_foreign(self, name: str, array: Array) -> Array | None:
        """Return the array if it belongs to this library, else None.

        Raises `InputError` if the array is sparse or on another device.
        """
        native = super().from_foreign(name, array)
        if native is None or isinstance(native, np.ndarray):
            return native
        like = self.empty((0,), "float32")
        for attribute in ("device", "layout"):  # of PyTorch tensors
            given, expected = getattr(native, attribute, None), getattr(like, attribute, None)
            if given != expected:
                advice = f"; pass {name}.to('{expected}')" if attribute == "device" else ""
                raise InputError(f"{name} must have the {attribute} of the network, {expected}, got {given}{advice}")
        return native

    def synchronize(self) -> None:
        """Do nothing, because these libraries compute synchronously."""

    def check(self, sizes: Sequence[int], formulas: Formulas, dtype: str) -> None:
        """Raise `InputError` for a float64 network on a device without float64."""
        if dtype == "float64" and not self._has_float64:
            raise InputError(f"dtype must be float32 with the backend '{self.name}', whose device has no float64")

    def new_cost_total(self, n: int, m: int, dtype: str) -> Array:
        """Return memory for adding up costs, in float64 if the device has float64."""
        return self.empty((1,), "float64" if self._has_float64 else dtype)

    def _layer(
        self, f: Callable[..., Array], prime: Callable[..., Array], bias: bool, keeps_z: bool
    ) -> LayerOperations:
        def activate(z: Array, a: Array, b: Array) -> None:
            if bias:
                z[...] = z + b
            self._write(self._filled(f(z), a), a)

        def hadamard(z: Array, a: Array, delta: Array, sums: Array) -> None:
            self._write(delta * prime(z, a), delta)
            self._sum(delta, sums)

        return LayerOperations(
            keeps_z,
            matmul=lambda w, a, z: self.gemm(1.0, w, a, 0.0, z),
            add_outer=lambda alpha, delta, a, beta, w: self.gemm(alpha, delta, a.T, beta, w),
            activate=activate,
            hadamard=hadamard,
        )

    def _units(self, count: int) -> Array:
        """Return the numbers from 0 to count − 1, as int64."""
        return self.xp.arange(count, dtype=self.xp.int64, device=self.device)

    def _gather(self, data: Array, indices: Array, scale: float, out: Array) -> None:
        columns = self.xp.astype(self.xp.take(data, indices, axis=0), out.dtype).T
        out[...] = columns if scale == 1.0 else scale * columns

    def _sum(self, delta: Array, sums: Array) -> None:
        """Write the sum of the columns of `delta` to `sums`, if the network has biases."""
        if sums.shape[0]:
            sums[...] = self.xp.sum(delta, axis=1, keepdims=True)

    def _filled(self, value: Array, like: Array) -> Array:
        """Return the value of a formula as an array. A single number becomes an array shaped like `like`."""
        return value if hasattr(value, "dtype") else self.xp.full_like(like, value)

    def _write(self, value: Array, out: Array) -> None:
        out[...] = value if value.dtype == out.dtype else self.xp.astype(value, out.dtype)
