"""The crossover: the mini-batch size, or the network, from which a GPU trains faster than the CPU."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastbp.bench.grid import flops_per_example
from fastbp.bench.results import Measurement, Results
from fastbp.bench.timing import Spread


@dataclass(frozen=True)
class Pair:
    """The seconds per epoch on the CPU's fastest backend and on a GPU, for one network and mini-batch size.

    `at` is a text with the mini-batch size or the network, whichever is compared.
    """

    at: str
    cpu: Spread
    gpu: Spread


@dataclass(frozen=True)
class Crossover:
    """The sizes or networks at which the GPU wins, that is, trains faster than the CPU.

    `start` is where the GPU starts to win, or None if it does not. `wins` are all places where it wins. `ties` are the
    places that are too close to call. `measured` are all places in order.
    """

    start: str | None
    wins: tuple[str, ...]
    ties: tuple[str, ...]
    measured: tuple[str, ...]

    def __str__(self) -> str:
        if self.start is None:
            text = f"wins at {', '.join(self.wins)} and not beyond" if self.wins else "wins nowhere"
        else:
            text = "wins throughout" if self.start == self.measured[0] else f"wins from {self.start} on"
            if early := self.wins[: self.wins.index(self.start)]:
                text += f", and at {', '.join(early)}"
        return text + (f"; too close to call at {', '.join(self.ties)}" if self.ties else "")


def crossover(pairs: Sequence[Pair]) -> Crossover:
    """Return the crossover. The start is the first win of the GPU after its last loss.

    A win or a loss must exceed the noise: the ranges between the quartiles of the two times must not overlap.
    Everything else is a tie. Ties are reported, but they have no influence on the start.

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
    """Yield crossovers, each with the name of the GPU's backend and a text that says what is held fixed.

    For each backend, the first crossovers hold a network fixed and compare mini-batch sizes. The others hold a
    mini-batch size fixed and compare networks.
    """
    on_cpu = results.fastest_on_cpu()
    for backend in results.gpus():
        both = [m for m in results.measurements if m.backend == backend and m.point in on_cpu]
        for net in dict.fromkeys(m.net for m in sorted(both, key=_flops)):
            row = sorted((m for m in both if m.net == net), key=lambda m: m.mini_batch_size)
            pairs = [Pair(f"{m.mini_batch_size:,}", on_cpu[m.point], m.epoch_seconds) for m in row]
            yield backend, net, crossover(pairs)
        for size in sorted({m.mini_batch_size for m in both}):
            column = sorted((m for m in both if m.mini_batch_size == size), key=_flops)
            if len(column) > 1:
                pairs = [Pair(m.net, on_cpu[m.point], m.epoch_seconds) for m in column]
                yield backend, f"mini-batches of {size:,}", crossover(pairs)


def _flops(measurement: Measurement) -> int:
    return flops_per_example(measurement.sizes)
