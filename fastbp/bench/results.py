"""The results of a benchmark, and their JSON file, whose content is checked when it is read."""

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from fastbp.bench.candidates import ON_CPU
from fastbp.bench.grid import flops_per_example, name_of
from fastbp.bench.timing import Spread
from fastbp.errors import InputError, brief
from fastbp.files.atomic import write_atomically
from fastbp.files.reading import StrPath, json_object, open_regular, read_bounded, reading

KIND, VERSION = "fastbp-bench", 1
_LATER = ("kernel_bytes_per_second", "steps")  # fields that older files do not have
# About 3,000 measurements. Reading a file takes at most 50 times its size in memory, whatever the file contains.
_MAX_BYTES = 2**22


@dataclass(frozen=True)
class Transfers:
    """Transfers to a GPU and back.

    The training data are sent once. `data_bytes` is the size of the data, and `data_seconds` is the time that sending
    them takes. The other fields give the bytes and the number of the transfers in each epoch.
    """

    data_bytes: int
    data_seconds: Spread
    epoch_bytes_to_device: int
    epoch_bytes_from_device: int
    epoch_transfers: int


@dataclass(frozen=True)
class Machine:
    """The peak rates of the CPU or of a GPU.

    `launch_seconds` is the time of one kernel launch. It is measured over many launches in a row.
    `kernel_bytes_per_second` is the bandwidth that the operations other than products achieve on large arrays. For the
    CPU, the fields about launches, transfers and kernels are None.
    """

    where: str
    device: str
    gemm_flops_per_second: dict[str, float]
    copy_bytes_per_second: float
    launch_seconds: Spread | None
    to_device_bytes_per_second: float | None
    from_device_bytes_per_second: float | None
    kernel_bytes_per_second: dict[str, float] | None = None


@dataclass(frozen=True)
class StepTimes:
    """The time of a step on a GPU, when steps follow one another, and the part of it in which the host is busy."""

    seconds: Spread
    host_seconds: Spread


@dataclass(frozen=True)
class Measurement:
    """The timings of one backend on one network and mini-batch size.

    A step is the update for one mini-batch, from the call in Python until the update is complete. An epoch is the
    training on all examples in random order, as in `Network.train`. The floor is the time of the epoch's matrix
    products alone. `steps` are the times of steps on a GPU in each mode (`fastbp.backends.cupy.replay`), and None on
    the CPU.
    """

    backend: str
    where: str
    sizes: tuple[int, ...]
    mini_batch_size: int
    examples: int
    step_seconds: Spread
    epoch_seconds: Spread
    floor_seconds: Spread
    transfers: Transfers | None
    steps: dict[str, StepTimes] | None = None

    @property
    def net(self) -> str:
        """The sizes of the layers, as one text."""
        return name_of(self.sizes)

    @property
    def point(self) -> tuple[str, int]:
        """The point of the grid, which is the network and the mini-batch size. Several backends are measured there."""
        return self.net, self.mini_batch_size

    @property
    def examples_per_second(self) -> float:
        """Training examples per second, in whole epochs."""
        return self.examples / self.epoch_seconds.median

    @property
    def flops_per_second(self) -> float:
        """Floating-point operations per second in the matrix products. The other operations of an epoch are few."""
        return flops_per_example(self.sizes) * self.examples_per_second


@dataclass(frozen=True)
class Failure:
    """A backend that failed, what was being measured, and why it failed."""

    backend: str
    what: str
    why: str


@dataclass
class Results:
    """The results of a run of the benchmark. `complete` is False if the run was stopped before its end.

    If a field has a unit, its name ends in the unit.
    """

    date: str
    command: str
    dtype: str
    processor: str
    cores: int
    memory_bytes: int
    information: dict[str, str]
    no_gpu: str | None
    complete: bool = False
    machines: list[Machine] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def gpus(self) -> list[str]:
        """Return the backends on GPUs. CuPy's array expressions are left out if its compiled kernels are measured."""
        found = dict.fromkeys(m.backend for m in self.measurements if m.where != ON_CPU)
        return [name for name in found if name.replace("-plain", "") == name or name.replace("-plain", "") not in found]

    def fastest_on_cpu(self) -> dict[tuple[str, int], Spread]:
        """Return the seconds per epoch of the CPU's fastest backend at each point of the grid."""
        fastest: dict[tuple[str, int], Spread] = {}
        for m in self.measurements:
            if m.where == ON_CPU and (m.point not in fastest or m.epoch_seconds.median < fastest[m.point].median):
                fastest[m.point] = m.epoch_seconds
        return fastest

    def unfused(self, m: Measurement) -> Spread | None:
        """Return the seconds per epoch of CuPy's array expressions at the point of a measurement on the same GPU."""
        for other in self.measurements:
            plain = other.backend.startswith("cupy-plain") and not m.backend.startswith("cupy-plain")
            if plain and (other.where, other.point) == (m.where, m.point):
                return other.epoch_seconds
        return None

    def share_of_products(self, m: Measurement) -> float | None:
        """Return the rate of the matrix products alone as a share of the peak, or None if it was not measured."""
        peak = self.peak(m.where)
        return None if peak is None else flops_per_example(m.sizes) * m.examples / m.floor_seconds.median / peak

    def peak(self, where: str) -> float | None:
        """Return the peak rate of matrix products in the dtype of the run, or None if it was not measured."""
        rates = [machine.gemm_flops_per_second.get(self.dtype) for machine in self.machines if machine.where == where]
        return rates[0] if rates else None


def write_results(path: StrPath, results: Results) -> None:
    """Write results to a file, atomically."""
    text = json.dumps(as_json(results), indent=1, ensure_ascii=False)
    with write_atomically(path) as file:
        file.write(text.encode(errors="backslashreplace") + b"\n")  # a path that is not UTF-8 is written with escapes


def as_json(results: Results) -> dict[str, Any]:
    """Return the content of the file of results."""
    return {"kind": KIND, "version": VERSION, **dataclasses.asdict(results)}


def read_results(path: StrPath) -> Results:
    """Return the results in a file; raises `InputError` for a file that was not written by `write_results`."""
    with reading(path), open_regular(path) as file:
        content = json_object("content", read_bounded(file, _MAX_BYTES))
        if content.pop("kind", None) != KIND:
            raise InputError("it does not hold benchmark results; expected a file that `fastbp bench --json` wrote")
        if content.pop("version", None) != VERSION:
            raise InputError(f"its results have another version; this fastbp reads version {VERSION}")
        results: Results = _decode(Results, content, "content")
        for measured in results.measurements:
            if len(measured.sizes) < 2 or not all((*measured.sizes, measured.mini_batch_size, measured.examples)):
                given = f"{brief(measured.sizes)} × {measured.mini_batch_size}"
                raise InputError(f"its measurements are damaged: layer sizes and counts must be positive, got {given}")
        return results


def _with_later_fields(value: Any, hints: dict[str, Any]) -> Any:
    """Add the fields that were added later, with the value None, to an object of a file of results."""
    return dict.fromkeys(filter(hints.__contains__, _LATER)) | value if isinstance(value, dict) else value


def _decode(expected: Any, value: Any, name: str) -> Any:
    """Convert a JSON value and all its parts to the expected type; raises `InputError` for a damaged field."""
    if get_origin(expected) is UnionType:  # T | None
        return None if value is None else _decode(get_args(expected)[0], value, name)
    if dataclasses.is_dataclass(expected):
        hints = get_type_hints(expected)
        value = _with_later_fields(value, hints)
        if not isinstance(value, dict) or value.keys() != hints.keys():
            raise InputError(f"its {name} is damaged: expected an object with the keys {', '.join(hints)}")
        return expected(**{key: _decode(hint, value[key], key) for key, hint in hints.items()})  # type: ignore[operator]
    if (kind := get_origin(expected)) in (list, tuple) and isinstance(value, list):
        return kind(_decode(get_args(expected)[0], entry, name) for entry in value)
    if kind is dict and isinstance(value, dict):
        return {key: _decode(get_args(expected)[1], entry, name) for key, entry in value.items()}
    if expected is float and type(value) in (int, float) and 0 < value <= sys.float_info.max:  # false for NaN
        return float(value)
    if expected is int and type(value) is int and 0 <= value < 2**63:
        return value
    if expected is str and type(value) is str:
        return value.encode(errors="backslashreplace").decode()  # a lone surrogate could not be printed
    if expected is bool and type(value) is bool:
        return value
    raise InputError(f"its {name} is damaged: {brief(value)}")
