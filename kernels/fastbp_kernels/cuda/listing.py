"""Registers, instructions and memory traffic of the CUDA kernels, read from their PTX and the assembler's log.

`python -m fastbp_kernels.cuda` prints them. This package cannot import fastbp, so the formulas here are copies of
fastbp's: the sigmoid, the quadratic cost, momentum and Adam. tests/kernels/test_cuda_kernels.py checks that each kernel
listed here has the same PTX as the kernel that fastbp makes from its own formula.
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from fastbp_kernels.cuda import kernels
from fastbp_kernels.cuda.compilation import ARCHITECTURES, Kernel
from fastbp_kernels.words import exp, sqrt


class Listed(NamedTuple):
    """A kernel to list, made for a dtype, and the arguments of which it reads or writes one number per element.

    Arguments that a thread accesses once are left out: the bias of a neuron, the weight of an example, a partial sum.
    """

    make: Callable[[str], Kernel]
    reads: tuple[str, ...]
    writes: tuple[str, ...]


class Access(NamedTuple):
    """A load ("ld") or store ("st") through one of a kernel's pointers, given by its position in the arguments."""

    kind: str
    parameter: int
    bytes: int


def main() -> None:
    """Print one line per kernel and dtype: registers (the most on any architecture), instructions, bytes per element.

    The bytes are those of the loads and stores in the code per element, beside the minimum, which is reading each input
    once and writing each output once.
    """
    print(f"{'kernel':24}{'dtype':9}{'registers':>9}{'instructions':>14}{'bytes moved':>13}{'ideal':>7}{'ratio':>7}")
    for name, listed in KERNELS.items():
        for dtype in ("float32", "float64"):
            kernel = listed.make(dtype)
            registers = max(registers_of(kernel.linked(architecture)[1]) for architecture in ARCHITECTURES)
            moved, ideal = traffic(listed, dtype)
            count = len(instructions(kernel.ptx))
            print(f"{name:24}{dtype:9}{registers:9}{count:14}{moved:13g}{ideal:7}{moved / ideal:7.2f}")


def registers_of(log: str) -> int:
    """Return the number of registers per thread, from the assembler's log.

    >>> registers_of("ptxas info    : Used 28 registers, used 0 barriers")
    28
    """
    found = re.search(r"Used (\d+) registers", log)
    assert found is not None
    return int(found[1])


def instructions(ptx: str) -> list[str]:
    """Return the instructions of a kernel, without guards.

    >>> instructions("{ .reg .b32 %r<2>; mov.u32 %r1, %tid.x; @%p1 bra $L; $L: ret; }")
    ['mov.u32 %r1, %tid.x', 'bra $L', 'ret']
    """
    body = ptx[ptx.index("{") :]
    found = re.findall(r"(?<![\w.%$])([a-z][a-z0-9]*(?:\.[\w:]+)*(?:\s+[^;{}]*(?:\{[^}]*\}[^;{}]*)*)?);", body)
    return [" ".join(text.split()) for text in found]


def traffic(listed: Listed, dtype: str) -> tuple[float, int]:
    """Return the bytes that a kernel moves per element, and the minimum.

    The code may contain the loop over the elements more than once, unrolled or in two branches: as often as it accesses
    the argument that it accesses least.
    """
    kernel = listed.make(dtype)
    names = kernel.body.__code__.co_varnames
    counted = {("ld", names.index(name)) for name in listed.reads} | {
        ("st", names.index(name)) for name in listed.writes
    }
    made = [access for access in accesses(kernel.ptx) if (access.kind, access.parameter) in counted]
    counts = Counter((access.kind, access.parameter) for access in made)
    size = {(access.kind, access.parameter): access.bytes for access in made}
    copies = min(counts[argument] for argument in counted)
    return sum(access.bytes for access in made) / copies, sum(size[argument] for argument in counted)


def accesses(ptx: str) -> list[Access]:
    """Return all accesses to global memory, each with the parameter that its address comes from."""
    steps = instructions(ptx)
    origin: dict[str, int] = {}
    for _ in range(len(steps)):  # until nothing changes: an address may depend on itself in a loop
        known = len(origin)
        for step in steps:
            _trace(step, origin)
        if len(origin) == known:
            break
    found = []
    for step in steps:
        match = re.match(r"(ld|st)\.global(?:\.nc)?(?:\.v(\d))?\.[a-z](\d+)\s.*\[\s*(%\w+)", step)
        if match:
            kind, lanes, bits, address = match.groups()
            found.append(Access(kind, origin[address], int(lanes or 1) * int(bits) // 8))
    return found


def _trace(step: str, origin: dict[str, int]) -> None:
    """Record which parameter the result of an instruction points into, if the instruction shows it."""
    if match := re.match(r"ld\.param\.u64 (%\w+), \[\w+_param_(\d+)\]", step):
        origin.setdefault(match[1], int(match[2]))
    elif match := re.match(r"(?:cvta\.to\.global|mov|add)\.\w+ (%rd\d+), (.*)", step):
        sources = [origin[register] for register in re.findall(r"%\w+", match[2]) if register in origin]
        if sources:
            origin.setdefault(match[1], min(sources))


# ---- The kernels to list


def _sigmoid(z: Any) -> Any:
    return 1.0 / (1.0 + exp(-z))


def _sigmoid_prime(z: Any, a: Any) -> Any:
    return a * (1.0 - a)


def _quadratic(z: Any, a: Any, y: Any) -> Any:
    return 0.5 * (a - y) * (a - y)


def _quadratic_error(z: Any, a: Any, y: Any) -> Any:
    return (a - y) * (a * (1.0 - a))


def _momentum(w: Any, g: Any, v: Any, rest: Any, eta: Any, mu: Any, _k_2: Any, _k_3: Any) -> Any:
    v = mu * v - eta * g
    return w + v, v, rest


def _adam(w: Any, g: Any, m: Any, v: Any, eta: Any, rho_1: Any, rho_2: Any, epsilon: Any) -> Any:
    m = (1.0 - rho_1) * m + rho_1 * g
    v = (1.0 - rho_2) * v + rho_2 * g * g
    return w - eta * m / (sqrt(v) + epsilon), m, v


KERNELS: dict[str, Listed] = {
    "activate": Listed(lambda dtype: kernels.activate(_sigmoid, dtype, bias=True, keep_z=False), ("a",), ("a",)),
    "activate, z kept": Listed(
        lambda dtype: kernels.activate(_sigmoid, dtype, bias=True, keep_z=True), ("z",), ("z", "a")
    ),
    "softmax": Listed(lambda dtype: kernels.softmax(dtype, bias=True), ("z", "b"), ("z", "a")),
    "output_error": Listed(
        lambda dtype: kernels.output_error(_quadratic_error, dtype, weighted=False, bias=True), ("a", "y"), ("delta",)
    ),
    "output_error, weighted": Listed(
        lambda dtype: kernels.output_error(_quadratic_error, dtype, weighted=True, bias=True),
        ("a", "y", "s"),
        ("delta",),
    ),
    "hadamard": Listed(lambda dtype: kernels.hadamard(_sigmoid_prime, dtype, bias=True), ("a", "delta"), ("delta",)),
    "add_column_sums": Listed(kernels.add_column_sums, ("sums",), ()),
    "optimizer_step": Listed(
        lambda dtype: kernels.optimizer_step(_momentum, dtype, two=False), ("nabla", "first", "w"), ("first", "w")
    ),
    "optimizer_step, Adam": Listed(
        lambda dtype: kernels.optimizer_step(_adam, dtype, two=True),
        ("nabla", "first", "second", "w"),
        ("first", "second", "w"),
    ),
    "gather": Listed(lambda dtype: kernels.gather(dtype, dtype), ("x",), ("out",)),
    "gather from uint8": Listed(lambda dtype: kernels.gather("uint8", dtype), ("x",), ("out",)),
    "add_cost": Listed(lambda dtype: kernels.add_cost(_quadratic, dtype, weighted=False), ("a", "y"), ()),
    "add_cost, weighted": Listed(lambda dtype: kernels.add_cost(_quadratic, dtype, weighted=True), ("a", "y", "s"), ()),
    "add_log_likelihood": Listed(lambda dtype: kernels.add_log_likelihood(dtype, weighted=True), ("z", "y"), ()),
}
"""The kernels, by the name in the listing."""
