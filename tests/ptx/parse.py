"""Parse the text of a kernel into statements (PTX ISA, "Syntax" and "Kernel and Function Directives: .entry").

A text must have one `.entry`. The directives `.reg`, `.pragma` and `.shared` are accepted within a kernel; others
(.local) are rejected. Dynamic shared memory is declared before the kernel: `.extern .shared .align 4 .b8 name[]`. A
block in braces may declare registers again, with the same type.
"""

import re
from dataclasses import dataclass, field

from .errors import PTXError
from .types import TYPES

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
ENTRY = re.compile(r"\.entry\s+(?P<name>[\w$]+)\s*\((?P<parameters>[^)]*)\)[^{]*\{")
PARAMETER = re.compile(
    r"\.param\s+(?:\.align\s+\d+\s+)?\.(?P<type>\w+)(?:\s+\.ptr(?:\s+\.global)?(?:\s+\.align\s+\d+)?)?"
    r"\s+(?P<name>[\w$]+)(?P<bytes>\[\d+\])?$"
)
SHARED = re.compile(r"\.extern\s+\.shared\s+\.align\s+\d+\s+\.b8\s+([\w$]+)\[\]")
STATIC_SHARED = re.compile(r"\.shared \.align (\d+) \.b8 ([\w$]+)\[(\d+)\]$")
LARGEST_ALIGNMENT = 16  # of dynamic shared memory, which begins after the static one
SPACE = re.compile(r"\s*")
LABEL = re.compile(r"([\w$]+)\s*:")
STATEMENT = re.compile(r"[^;]*;")
INSTRUCTION = re.compile(r"(?:@(?P<not>!?)(?P<guard>%[\w$]+)\s+)?(?P<mnemonic>[a-z][\w.:]*)\s*(?P<operands>.*)$", re.S)
OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+")


@dataclass(frozen=True)
class Statement:
    """One instruction as written: guard, mnemonic, operands. `text` is all of it, for messages."""

    text: str
    guard: str | None
    negated: bool
    mnemonic: str
    operands: tuple[str, ...]


@dataclass
class Kernel:
    """A kernel as written: parameters and registers (name → type), statements, labels (name → statement).

    `shared` holds the names of shared memory, and where each begins. Dynamic shared memory begins at `static_bytes`.
    """

    name: str
    parameters: dict[str, str]
    shared: dict[str, int] = field(default_factory=dict)
    static_bytes: int = 0
    registers: dict[str, str] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


def parse(text: str) -> Kernel:
    """Return the one kernel of a text; raises `PTXError` if it cannot be parsed."""
    text = COMMENT.sub(" ", text)
    entries = list(ENTRY.finditer(text))
    if len(entries) != 1:
        raise PTXError(f"the text must have one .entry that can be parsed, got {len(entries)}")
    kernel = Kernel(entries[0]["name"], _parameters(entries[0]["parameters"]))
    _read_body(kernel, text, entries[0].end())
    kernel.static_bytes = _aligned(kernel.static_bytes, LARGEST_ALIGNMENT)
    kernel.shared |= dict.fromkeys(SHARED.findall(text), kernel.static_bytes)
    return kernel


def _parameters(text: str) -> dict[str, str]:
    parameters = {}
    for declaration in filter(None, (part.strip() for part in text.split(","))):
        found = PARAMETER.match(declaration)
        if found is None or found["type"] not in TYPES or (found["bytes"] and found["type"] != "b8"):
            raise PTXError(f"unknown parameter: {declaration}")
        parameters[found["name"]] = found["type"] + (found["bytes"] or "")
    return parameters


def _read_body(kernel: Kernel, text: str, at: int) -> None:
    depth = 1  # of braces, which open and close scopes at the start of a statement
    while True:
        at = SPACE.match(text, at).end()
        if at == len(text):
            raise PTXError(f"{kernel.name}: the closing brace is missing")
        if text[at] in "{}":
            depth += 1 if text[at] == "{" else -1
            at += 1
            if depth == 0:
                return
        elif label := LABEL.match(text, at):
            kernel.labels[label[1]] = len(kernel.statements)
            at = label.end()
        elif statement := STATEMENT.match(text, at):
            _read_statement(kernel, " ".join(statement[0][:-1].split()))
            at = statement.end()
        else:
            raise PTXError(f"cannot be parsed: {text[at : at + 60]!r}")


def _read_statement(kernel: Kernel, text: str) -> None:
    if text.startswith(".reg "):
        _declare(kernel.registers, text)
    elif found := STATIC_SHARED.match(text):
        kernel.shared[found[2]] = _aligned(kernel.static_bytes, int(found[1]))
        kernel.static_bytes = kernel.shared[found[2]] + int(found[3])
    elif text.startswith(".") and not text.startswith(".pragma "):
        raise PTXError(f"unknown directive: {text}")
    elif not text.startswith("."):
        found = INSTRUCTION.match(text)
        if found is None:
            raise PTXError(f"cannot be parsed: {text}")
        operands = tuple(OPERAND.findall(found["operands"]))
        kernel.statements.append(Statement(text, found["guard"], found["not"] == "!", found["mnemonic"], operands))


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _declare(registers: dict[str, str], text: str) -> None:
    """Add the registers of `.reg .f32 %a, %b`, or %f0 to %f4 of `.reg .f32 %f<5>` ("Parameterized Variable Names")."""
    _, kind, names = text.split(maxsplit=2)
    for name in re.split(r"\s*,\s*", names):
        found = re.fullmatch(r"(%?[\w$]+?)(?:<(\d+)>)?", name)
        if found is None or kind[1:] not in TYPES:
            raise PTXError(f"unknown declaration: {text}")
        for register in [name] if found[2] is None else [f"{found[1]}{i}" for i in range(int(found[2]))]:
            if registers.setdefault(register, kind[1:]) != kind[1:]:
                raise PTXError(f"{text}: {register} is .{registers[register]} already")
