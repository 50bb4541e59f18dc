"""What is in the CUDA kernels, read from their PTX and what the assembler says: `python -m fastbp_kernels.cuda`."""

import re
from collections import Counter
from typing import NamedTuple

from fastbp_kernels.cuda.kernels import ARCHITECTURES, KERNELS, Specification


class Access(NamedTuple):
    """A load ("ld") or store ("st") of so many bytes through one of a kernel's pointers, by its place among them."""

    kind: str
    parameter: int
    bytes: int


def main() -> None:
    """Print a line for each kernel and dtype: most registers on any architecture, instructions, bytes an element.

    The bytes are those of the loads and stores in the code for each element, against each input read once and each
    output written once.
    """
    print(f"{'kernel':24}{'dtype':9}{'registers':>9}{'instructions':>14}{'bytes moved':>13}{'ideal':>7}{'ratio':>7}")
    for name, specification in KERNELS.items():
        for dtype in ("float32", "float64"):
            kernel = specification.make(dtype)
            registers = max(registers_of(kernel.linked(architecture)[1]) for architecture in ARCHITECTURES)
            moved, ideal = traffic(specification, dtype)
            count = len(instructions(kernel.ptx))
            print(f"{name:24}{dtype:9}{registers:9}{count:14}{moved:13g}{ideal:7}{moved / ideal:7.2f}")


def registers_of(log: str) -> int:
    """Return how many registers a thread uses, from what the assembler says.

    >>> registers_of("ptxas info    : Used 28 registers, used 0 barriers")
    28
    """
    found = re.search(r"Used (\d+) registers", log)
    assert found is not None
    return int(found[1])


def instructions(ptx: str) -> list[str]:
    """Return the instructions of a kernel, guards left out.

    >>> instructions("{ .reg .b32 %r<2>; mov.u32 %r1, %tid.x; @%p1 bra $L; $L: ret; }")
    ['mov.u32 %r1, %tid.x', 'bra $L', 'ret']
    """
    body = ptx[ptx.index("{") :]
    found = re.findall(r"(?<![\w.%$])([a-z][a-z0-9]*(?:\.[\w:]+)*(?:\s+[^;{}]*(?:\{[^}]*\}[^;{}]*)*)?);", body)
    return [" ".join(text.split()) for text in found]


def traffic(specification: Specification, dtype: str) -> tuple[float, int]:
    """Return how many bytes a kernel moves for each element, and how few it could.

    Its code may hold the loop over the elements more than once, unrolled or behind a branch: as often as the parameter
    that is accessed least.
    """
    kernel = specification.make(dtype)
    names = kernel.body.__code__.co_varnames
    wanted = Counter({("ld", names.index(name)): 1 for name in specification.reads})
    wanted.update({("st", names.index(name)): 1 for name in specification.writes})
    made = [access for access in accesses(kernel.ptx) if (access.kind, access.parameter) in wanted]
    counts = Counter((access.kind, access.parameter) for access in made)
    size = {(access.kind, access.parameter): access.bytes for access in made}
    copies = min(counts[place] for place in wanted)
    return sum(access.bytes for access in made) / copies, sum(size[place] for place in wanted)


def accesses(ptx: str) -> list[Access]:
    """Return every access to global memory, with the parameter that its address comes from."""
    steps = instructions(ptx)
    origin: dict[str, int] = {}
    for _ in range(len(steps)):  # until nothing more is learnt: an address may go round a loop
        known = len(origin)
        for step in steps:
            _learn(step, origin)
        if len(origin) == known:
            break
    found = []
    for step in steps:
        match = re.match(r"(ld|st)\.global(?:\.nc)?(?:\.v(\d))?\.[a-z](\d+)\s.*\[\s*(%\w+)", step)
        if match:
            kind, lanes, bits, address = match.groups()
            found.append(Access(kind, origin[address], int(lanes or 1) * int(bits) // 8))
    return found


def _learn(step: str, origin: dict[str, int]) -> None:
    """Note which parameter a register points into, if an instruction says so."""
    if match := re.match(r"ld\.param\.u64 (%\w+), \[\w+_param_(\d+)\]", step):
        origin.setdefault(match[1], int(match[2]))
    elif match := re.match(r"(?:cvta\.to\.global|mov|add)\.\w+ (%rd\d+), (.*)", step):
        sources = [origin[register] for register in re.findall(r"%\w+", match[2]) if register in origin]
        if sources:
            origin.setdefault(match[1], min(sources))
