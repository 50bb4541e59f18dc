"""List the registers, instructions and memory traffic of the CUDA kernels, from their PTX and the assembler's log.

PTX is NVIDIA's assembly language. `python -m fastbp_kernels.cuda` prints the list. This package cannot import fastbp,
so the formulas here are copies of formulas in fastbp: the sigmoid, the quadratic cost, momentum and Adam.
For each listed kernel, tests/kernels/test_cuda_kernels.py makes a second kernel from fastbp's own formula, and tests
that both kernels have the same PTX.
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from fastbp_kernels.cuda import kernels
from fastbp_kernels.cuda.compilation import ARCHITECTURES, Kernel
from fastbp_kernels.words import exp, sqrt


class Listed(NamedTuple):
    """A kernel of the list. `make` returns the kernel for a dtype.

    `reads` names the arguments from which the kernel reads one number per element. `writes` names the arguments to
    which it writes one number per element. Arguments that a thread accesses only once are left out. Examples are the
    bias of a neuron in `activate`, the weight of an example in `add_log_likelihood`, and a partial sum.
    """

    make: Callable[[str], Kernel]
    reads: tuple[str, ...]
    writes: tuple[str, ...]


class Access(NamedTuple):
    """A load ("ld") or a store ("st") through a pointer of a kernel.

    `parameter` is the position of the pointer in the kernel's arguments.
    """

    kind: str
    parameter: int
    bytes: int


def main() -> None:
    """Print a table with one line per kernel and dtype.

    The columns are the registers per thread (the largest number on any architecture), the instructions, the bytes moved
    per element (loaded and stored), the ideal number of these bytes, and the ratio of the bytes moved to the ideal
    number. Ideally, each input is read once and each output is written once.
    """
    print(f"{'kernel':24}{'dtype':9}{'registers':>9}{'instructions':>14}{'bytes moved':>13}{'ideal':>7}{'ratio':>7}")
    for name, listed in KERNELS.items():
        for dtype in ("float32", "float64"):
            kernel = listed.make(dtype)
            registers = max(registers_of(kernel.link(architecture, "-v")[1]) for architecture in ARCHITECTURES)
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
    """Return the instructions of a kernel, without their guards, such as `@%p1`.

    >>> instructions("{ .reg .b32 %r<2>; mov.u32 %r1, %tid.x; @%p1 bra $L; $L: ret; }")
    ['mov.u32 %r1, %tid.x', 'bra $L', 'ret']
    """
    body = ptx[ptx.index("{") :]
    found = re.findall(r"(?<![\w.%$])([a-z][a-z0-9]*(?:\.[\w:]+)*(?:\s+[^;{}]*(?:\{[^}]*\}[^;{}]*)*)?);", body)
    return [" ".join(text.split()) for text in found]


def traffic(listed: Listed, dtype: str) -> tuple[float, int]:
    """Return the number of bytes that a kernel moves per element, and the ideal number.

    The code may contain the body of the loop over the elements several times, because the loop is unrolled or is in two
    branches. The number of these copies is the number of accesses to the argument that has the fewest accesses.
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
    """Return all accesses to global memory, each with the parameter from which its address is computed."""
    steps = instructions(ptx)
    origin: dict[str, int] = {}
    for _ in range(len(steps)):  # until nothing changes, because an address may depend on itself
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
    """If the instruction computes a pointer from a parameter, record in `origin` which parameter this is."""
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


def _momentum(w: Any, g: Any, v: Any, eta: Any, decay: Any, _t: Any, mu: Any) -> Any:
    v = mu * v - eta * (g + decay * w)
    return w + v, v


def _adam(
    w: Any, g: Any, m: Any, v: Any, _eta: Any, decay: Any, _t: Any, eta_t: Any, rho_1: Any, rho_2: Any, epsilon: Any
) -> Any:
    g = g + decay * w
    m = (1.0 - rho_1) * m + rho_1 * g
    v = (1.0 - rho_2) * v + rho_2 * g * g
    return w - eta_t * m / (sqrt(v) + epsilon), m, v


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
        lambda dtype: kernels.optimizer_step(_momentum, dtype, state=1, constants=1),
        ("nabla", "first", "w"),
        ("first", "w"),
    ),
    "optimizer_step, Adam": Listed(
        lambda dtype: kernels.optimizer_step(_adam, dtype, state=2, constants=4),
        ("nabla", "first", "second", "w"),
        ("first", "second", "w"),
    ),
    "gather": Listed(lambda dtype: kernels.gather(dtype, dtype), ("x",), ("out",)),
    "gather from uint8": Listed(lambda dtype: kernels.gather("uint8", dtype), ("x",), ("out",)),
    "add_cost": Listed(lambda dtype: kernels.add_cost(_quadratic, dtype, weighted=False), ("a", "y"), ()),
    "add_cost, weighted": Listed(lambda dtype: kernels.add_cost(_quadratic, dtype, weighted=True), ("a", "y", "s"), ()),
    "add_squares": Listed(kernels.add_squares, ("w",), ()),
    "add_log_likelihood": Listed(lambda dtype: kernels.add_log_likelihood(dtype, weighted=True), ("z", "y"), ()),
}
"""The kernels to list, by their names in the table."""
