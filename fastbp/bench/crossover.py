"""From where on a GPU wins: the mini-batch size, or the network, from which its epochs take less time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastbp.bench.candidates import ON_CPU
from fastbp.bench.grid import flops_per_example
from fastbp.bench.results import Measurement, Results
from fastbp.bench.timing import Spread


@dataclass(frozen=True)
class Pair:
    """The same work by both: `at` a mini-batch size or a network, the best CPU's seconds and a GPU's."""

    at: str
    cpu: Spread
    gpu: Spread


@dataclass(frozen=True)
class Crossover:
    """From where on the GPU wins, or None; all it wins at, and where the two are too close to call."""

    start: str | None
    wins: tuple[str, ...]
    ties: tuple[str, ...]
    measured: tuple[str, ...]

    def __str__(self) -> str:
        if self.start is None:
            said = f"wins at {', '.join(self.wins)} and not beyond" if self.wins else "wins nowhere"
        else:
            said = "wins throughout" if self.start == self.measured[0] else f"wins from {self.start} on"
            if early := self.wins[: self.wins.index(self.start)]:
                said += f", and at {', '.join(early)}"
        return said + (f"; too close to call at {', '.join(self.ties)}" if self.ties else "")


def crossover(pairs: Sequence[Pair]) -> Crossover:
    """Return from where on the GPU wins: the first win after which it does not lose again.

    A win or a loss is one beyond the noise, that is, the quartiles of the two do not overlap; anything else is a tie,
    which is named and decides nothing.

    >>> at = lambda m, cpu, gpu: Pair(m, Spread(cpu, 0.9 * cpu, 1.1 * cpu, 5), Spread(gpu, 0.9 * gpu, 1.1 * gpu, 5))
    >>> str(crossover([at("10", 1.0, 3.0), at("100", 1.0, 1.1), at("1000", 1.0, 0.2)]))
    'wins from 1000 on; too close to call at 100'
    """
    wins = tuple(pair.at for pair in pairs if pair.gpu.below(pair.cpu))
    losses = [i for i, pair in enumerate(pairs) if pair.cpu.below(pair.gpu)]
    after = pairs[losses[-1] + 1 :] if losses else pairs
    start = next((pair.at for pair in after if pair.at in wins), None)
    ties = tuple(pair.at for i, pair in enumerate(pairs) if pair.at not in wins and i not in losses)
    return Crossover(start, wins, ties, tuple(pair.at for pair in pairs))


def crossovers(results: Results) -> Iterator[tuple[str, str, Crossover]]:
    """Yield each GPU's backend, what was held fixed, and the crossover: over mini-batch sizes, then over networks."""
    on_cpu = results.fastest_on_cpu()
    for backend in dict.fromkeys(m.backend for m in results.measurements if m.where != ON_CPU):
        both = [m for m in results.measurements if m.backend == backend and m.point in on_cpu]
        for net in dict.fromkeys(m.net for m in sorted(both, key=_work)):
            row = sorted((m for m in both if m.net == net), key=lambda m: m.mini_batch_size)
            pairs = [Pair(f"{m.mini_batch_size:,}", on_cpu[m.point], m.epoch_seconds) for m in row]
            yield backend, net, crossover(pairs)
        for size in sorted({m.mini_batch_size for m in both}):
            column = sorted((m for m in both if m.mini_batch_size == size), key=_work)
            if len(column) > 1:
                pairs = [Pair(m.net, on_cpu[m.point], m.epoch_seconds) for m in column]
                yield backend, f"mini-batches of {size:,}", crossover(pairs)


def _work(measurement: Measurement) -> int:
    return flops_per_example(measurement.sizes)
