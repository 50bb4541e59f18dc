"""The verdict of a benchmark: one sentence that says where to train, on the CPU or on the GPU."""

from collections.abc import Iterator, Sequence

from fastbp.bench.crossover import Pair, crossover
from fastbp.bench.grid import flops_per_example
from fastbp.bench.results import Measurement, Results


def verdicts(results: Results) -> Iterator[str]:
    """Yield one sentence for each GPU backend, or one that says what is missing for a comparison.

    All points are compared in the order of their arithmetic per step. The GPU is recommended from the first point on at
    which it wins, and after which it does not lose.
    """
    on_cpu = results.fastest_on_cpu()
    gpus = results.gpus()
    if not results.measurements:
        return
    if results.no_gpu is not None and not gpus:
        yield (
            "Train on the CPU, because no GPU can be used here; on a machine with a GPU, fastbp bench says from which "
            "size on the GPU is faster."
        )
        return
    if not gpus or not on_cpu:
        yield (
            f"Only the {'GPU' if gpus else 'CPU'} was measured, so this says nothing about the other one; fastbp bench "
            "without --backend measures both."
        )
        return
    for backend in gpus:
        both = [m for m in results.measurements if m.backend == backend and m.point in on_cpu]
        if both:
            yield _verdict(backend, sorted(both, key=_work), results)


def _verdict(backend: str, points: Sequence[Measurement], results: Results) -> str:
    on_cpu = results.fastest_on_cpu()
    pairs = [Pair(_name(m), on_cpu[m.point], m.epoch_seconds) for m in points]
    found = crossover(pairs)
    if found.start is None:
        slower = _range([1 / _ratio(pair) for pair in pairs])
        if not found.wins and not found.ties:
            return f"On this machine, train on the CPU: at each size, it is {slower} times as fast as {backend}."
        if not found.wins:
            return f"On this machine, train on the CPU: {backend} is not clearly faster at any size."
        return f"On this machine, train on the CPU; {backend} is faster only at {', '.join(found.wins)}."
    at = [pair.at for pair in pairs].index(found.start)
    faster = f"{backend} is {_range([_ratio(pair) for pair in pairs[at:]])} times as fast"
    if at == 0:
        return f"On this machine, train on the GPU: at each size, {faster} as the CPU."
    return f"On this machine, train on the CPU up to {pairs[at - 1].at}; from {found.start} on, {faster}."


def _ratio(pair: Pair) -> float:
    return pair.cpu.median / pair.gpu.median


def _range(ratios: Sequence[float]) -> str:
    low, high = (f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}" for ratio in (min(ratios), max(ratios)))
    return low if low == high else f"{low} to {high}"


def _name(m: Measurement) -> str:
    return f"{m.net} with mini-batches of {m.mini_batch_size:,}"


def _work(m: Measurement) -> int:
    return flops_per_example(m.sizes) * m.mini_batch_size
