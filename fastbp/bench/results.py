"""What was measured, as one file of JSON: written whole or not at all, and read back with nothing taken on trust."""

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
from fastbp.files.tensors import StrPath, json_object, open_regular, read_bounded, reading, write_whole

KIND, VERSION = "fastbp-bench", 1
_LARGEST = 2**22  # bytes: some 3,000 measurements; whatever is in them, reading takes at most 50 times as much memory


@dataclass(frozen=True)
class Transfers:
    """What went to a device and back: data once, with the seconds that took; then in each epoch."""

    data_bytes: int
    data_seconds: Spread
    epoch_bytes_to_device: int
    epoch_bytes_from_device: int
    epoch_transfers: int


@dataclass(frozen=True)
class Machine:
    """What the CPU, or a GPU, can do. A launch is one of many that are waited for together; the CPU has none."""

    where: str
    device: str
    gemm_flops_per_second: dict[str, float]
    copy_bytes_per_second: float
    launch_seconds: Spread | None
    to_device_bytes_per_second: float | None
    from_device_bytes_per_second: float | None


@dataclass(frozen=True)
class Measurement:
    """A backend on a network and a mini-batch size.

    A step is one mini-batch, asked for from Python and waited for; an epoch n examples as `Network.train` goes through
    them, shuffled; the floor the bare products of an epoch.
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

    @property
    def net(self) -> str:
        """The layers, as they are written."""
        return name_of(self.sizes)

    @property
    def point(self) -> tuple[str, int]:
        """The network and the mini-batch size, which several backends share."""
        return self.net, self.mini_batch_size

    @property
    def examples_per_second(self) -> float:
        """Examples trained on in a second."""
        return self.examples / self.epoch_seconds.median

    @property
    def flops_per_second(self) -> float:
        """Operations of the products in a second, of which the rest of an epoch needs none to speak of."""
        return flops_per_example(self.sizes) * self.examples_per_second


@dataclass(frozen=True)
class Failure:
    """A backend that could not do something, and why."""

    backend: str
    what: str
    why: str


@dataclass
class Results:
    """A run: when, how and on what, and what came of it; `complete` unless it was stopped. Units are in the names."""

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

    def fastest_on_cpu(self) -> dict[tuple[str, int], Spread]:
        """Return the seconds of an epoch of the CPU's fastest backend at each point."""
        fastest: dict[tuple[str, int], Spread] = {}
        for m in self.measurements:
            if m.where == ON_CPU and (m.point not in fastest or m.epoch_seconds.median < fastest[m.point].median):
                fastest[m.point] = m.epoch_seconds
        return fastest

    def peak(self, where: str) -> float | None:
        """Return the best rate of products in the run's dtype, or None if that was not reached."""
        rates = [machine.gemm_flops_per_second.get(self.dtype) for machine in self.machines if machine.where == where]
        return rates[0] if rates else None


def write_results(path: StrPath, results: Results) -> None:
    """Write results to a file, whole or not at all."""
    text = json.dumps({"kind": KIND, "version": VERSION, **dataclasses.asdict(results)}, indent=1, ensure_ascii=False)
    with write_whole(path) as file:
        file.write(text.encode(errors="backslashreplace") + b"\n")  # of a path that is not UTF-8, JSON's own escapes


def read_results(path: StrPath) -> Results:
    """Return the results in a file; raises `InputError`, one line, for any that `write_results` did not write."""
    with reading(path), open_regular(path) as file:
        content = json_object("content", read_bounded(file, _LARGEST))
        if content.pop("kind", None) != KIND:
            raise InputError("it holds no results of a bench; wanted is what `fastbp bench --json` writes")
        if content.pop("version", None) != VERSION:
            raise InputError(f"its results are of another version; this fastbp reads version {VERSION}")
        results: Results = _as_type(Results, content, "content")
        for measured in results.measurements:
            if len(measured.sizes) < 2 or not all((*measured.sizes, measured.mini_batch_size, measured.examples)):
                given = f"{brief(measured.sizes)} × {measured.mini_batch_size}"
                raise InputError(f"its measurements are damaged: {given}")
        return results


def _as_type(wanted: Any, value: Any, name: str) -> Any:
    """Return a value of JSON as a type, field by field, or raise `InputError` with the name of what is not of it."""
    if get_origin(wanted) is UnionType:  # T | None
        return None if value is None else _as_type(get_args(wanted)[0], value, name)
    if dataclasses.is_dataclass(wanted):
        hints = get_type_hints(wanted)
        if not isinstance(value, dict) or value.keys() != hints.keys():
            raise InputError(f"its {name} is damaged: wanted are {', '.join(hints)}")
        return wanted(**{key: _as_type(hint, value[key], key) for key, hint in hints.items()})  # type: ignore[operator]
    if (kind := get_origin(wanted)) in (list, tuple) and isinstance(value, list):
        return kind(_as_type(get_args(wanted)[0], entry, name) for entry in value)
    if kind is dict and isinstance(value, dict):
        return {key: _as_type(get_args(wanted)[1], entry, name) for key, entry in value.items()}
    if wanted is float and type(value) in (int, float) and 0 < value <= sys.float_info.max:  # NaN is not
        return float(value)
    if wanted is int and type(value) is int and 0 <= value < 2**63:
        return value
    if wanted is str and type(value) is str:
        return value.encode(errors="backslashreplace").decode()  # a lone surrogate could not be printed
    if wanted is bool and type(value) is bool:
        return value
    raise InputError(f"its {name} is damaged: {brief(value)}")
