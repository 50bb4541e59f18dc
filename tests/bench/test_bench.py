"""Tests of `fastbp bench`: the logic on made-up timings, everything on stand-ins with a model clock, and real runs."""

import dataclasses
import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
from itertools import pairwise

import pytest
from bench_stand_ins import Modelled, candidate, cpu, gpu
from commands import FASTBP
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from fastbp.bench import charts, gpu_steps, grid, run
from fastbp.bench.candidates import Candidate, choose_candidates
from fastbp.bench.crossover import Pair, crossover, crossovers
from fastbp.bench.gpu_report import GPU_LEGEND, gpu_table
from fastbp.bench.grid import BenchSettings
from fastbp.bench.report import report
from fastbp.bench.results import Measurement, Results, StepTimes, read_results, write_results
from fastbp.bench.timing import Spread, spread
from fastbp.bench.verdict import verdicts
from fastbp.cli import fastbp
from fastbp.errors import InputError

NETS, BATCHES = ["20-8-5", "20-64-5"], [10, 100, 1000]
TINY = BenchSettings(
    (), (), epoch_flops=1e4, max_examples=50, seconds=0.0, min_rounds=3, max_rounds=3, max_side=64, copy_bytes=2**16
)


def bench(candidates, folder=None, nets=NETS, batches=BATCHES, dtype="float64"):
    """Run a benchmark; return the exit code and the results as read from the file."""
    path = None if folder is None else folder / "out.json"
    code = run.bench(TINY, [], dtype, nets, batches, path, None, candidates)
    return code, None if path is None else read_results(path)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    code, results = bench([cpu(), gpu()], tmp_path_factory.mktemp("bench"))
    assert code == 0
    return results


def took(seconds, noise=0.0):
    return Spread(seconds, seconds * (1 - noise), seconds * (1 + noise), 5)


def pairs(cpu_seconds, gpu_seconds, noise=0.0):
    both = zip(cpu_seconds, gpu_seconds, strict=True)
    return [Pair(str(i), took(c, noise), took(g, noise)) for i, (c, g) in enumerate(both)]


# ---- evaluation of timings


@pytest.mark.parametrize(
    ("gpu_seconds", "noise", "said"),
    [
        ([2.0, 1.5, 0.5, 0.1], 0.1, "wins from 2 on"),
        ([0.5, 0.4, 0.3, 0.2], 0.1, "wins throughout"),
        ([2.0, 3.0, 4.0, 5.0], 0.1, "wins nowhere"),
        ([2.0, 1.05, 0.5, 0.1], 0.1, "wins from 2 on; too close to call at 1"),
        ([2.0, 0.5, 1.05, 0.1], 0.1, "wins from 1 on; too close to call at 2"),
        ([1.0, 1.0, 1.0, 1.0], 0.0, "wins nowhere; too close to call at 0, 1, 2, 3"),
        ([2.0, 0.5, 2.0, 2.0], 0.1, "wins at 1 and not beyond"),
        ([0.5, 2.0, 0.5, 0.5], 0.1, "wins from 2 on, and at 0"),
        ([1.0, 0.5, 0.5, 0.5], 0.1, "wins from 1 on; too close to call at 0"),
    ],
)
def test_crossover_of_made_up_timings(gpu_seconds, noise, said):
    assert str(crossover(pairs([1.0] * 4, gpu_seconds, noise))) == said


@given(st.lists(st.floats(0.01, 100.0), min_size=1, max_size=8), st.floats(0.0, 0.3), st.randoms())
def test_crossover_of_decreasing_ratios_is_the_first_clear_win(ratios, noise, random):
    """Whatever the speed and the noise: the start is a win that exceeds the noise, and no loss follows."""
    ratios.sort(reverse=True)
    scale = [random.uniform(0.1, 10.0) for _ in ratios]
    found = crossover(pairs(scale, [s * r for s, r in zip(scale, ratios, strict=True)], noise))
    clear = [str(i) for i, r in enumerate(ratios) if r * (1 + noise) < (1 - noise) * (1 - 1e-9)]
    doubtful = [str(i) for i, r in enumerate(ratios) if abs(r * (1 + noise) - (1 - noise)) <= 1e-9]
    if not doubtful:
        assert found.start == (clear[0] if clear else None)
        assert found.wins == tuple(clear)


@given(st.lists(st.tuples(st.floats(0.1, 10.0), st.floats(0.1, 10.0), st.floats(0.0, 0.5)), max_size=8))
def test_every_point_is_a_win_a_loss_or_a_tie(timings):
    made = [Pair(str(i), took(c, noise), took(g, noise)) for i, (c, g, noise) in enumerate(timings)]
    found = crossover(made)
    losses = [pair.at for pair in made if pair.cpu.high < pair.gpu.low]
    assert sorted([*found.wins, *found.ties, *losses]) == sorted(pair.at for pair in made)
    if found.start is not None:
        assert found.start in found.wins
        assert not [at for at in losses if int(at) > int(found.start)]


def test_spread_is_the_median_and_the_quartiles():
    assert spread([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(3.0, 2.0, 4.0, 5)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0, 1)


def test_flops_per_example_are_those_of_the_products():
    sizes = [7, 5, 3, 2]
    products = [2 * n * k for k, n in pairwise(sizes)]  # forward, gradient, and backward except in layer 1
    assert grid.flops_per_example(sizes) == 2 * sum(products) + sum(products[1:])


# ---- complete runs with the model clock


def test_times_agree_with_the_model(results):
    """A step of two layers with biases has 15 launches: 3 gathers, 2 + 1 + 2 products, 2 σ, 1 δ, 1 σ′, 2 b, 1 cost."""
    for m in results.measurements:
        launch, rate, link = (1e-6, 1e9, None) if m.where == "CPU" else (20e-6, 1e12, 1e10)
        inputs, hidden, outputs = m.sizes
        flops = m.mini_batch_size * (4 * inputs * hidden + 6 * hidden * outputs)
        assert m.step_seconds.median == pytest.approx(15 * launch + flops / rate)
        steps = m.examples // m.mini_batch_size
        order = 8 * m.examples / link if link else 0.0
        assert m.epoch_seconds.median == pytest.approx(steps * (15 * launch + flops / rate) + order)
        assert m.floor_seconds.median == pytest.approx(steps * (5 * launch + flops / rate))
        assert m.epoch_seconds.repeats == 3
        assert m.step_seconds.low == pytest.approx(m.step_seconds.high)


def test_peak_rates_agree_with_the_model(results):
    on_cpu, on_gpu = results.machines
    assert on_cpu.gemm_flops_per_second["float64"] == pytest.approx(4 * 64**3 / (2e-6 + 4 * 64**3 / 1e9))
    assert on_gpu.gemm_flops_per_second["float32"] == pytest.approx(4 * 64**3 / (40e-6 + 4 * 64**3 / 1e12))
    assert on_cpu.copy_bytes_per_second == pytest.approx(1e10)
    assert on_cpu.launch_seconds is None
    assert on_gpu.launch_seconds.median == pytest.approx(20e-6)
    assert on_gpu.to_device_bytes_per_second == on_gpu.from_device_bytes_per_second == pytest.approx(1e10)


def test_steps_and_kernels_agree_with_the_model(results):
    """The model has no replay, and its calls return when the work is done. A kernel takes the time of a launch."""
    for m in results.measurements:
        if m.where == "CPU":
            assert m.steps is None
            continue
        (times,) = m.steps.values()
        assert list(m.steps) == ["eager"]
        assert times.seconds.median == pytest.approx(m.step_seconds.median)
        assert times.host_seconds == times.seconds
        assert times.seconds.repeats == 3
        flops = grid.flops_per_example(m.sizes) * m.mini_batch_size
        products = 5 * 20e-6 + flops / 1e12
        assert results.share_of_products(m) == pytest.approx(flops / products / results.peak("stand-in"))
    on_cpu, on_gpu = results.machines
    assert on_cpu.kernel_bytes_per_second is None
    numbers = {"gather": 1.25, "activate": 2, "output error": 3, "hadamard": 3, "Adam": 7}  # of 4 bytes, per element
    expected = {name: count * TINY.copy_bytes / 20e-6 for name, count in numbers.items()}
    assert on_gpu.kernel_bytes_per_second == pytest.approx(expected)


def with_plain(folder):
    """Return results with a model of cupy and one of cupy-plain, which takes three launches for one, on one GPU."""
    unfused = Modelled("cupy-plain", launch=60e-6, rate=1e12, copies=1e12, link=1e10)
    both = [dataclasses.replace(gpu(), name="cupy"), candidate(unfused, "stand-in")]
    return bench([cpu(), *both], folder, ["20-8-5"], [10, 1000])[1]


def test_the_table_of_the_gpu(tmp_path):
    results = with_plain(tmp_path)
    text = report(results)
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if "time of a step, and of the host" in line)
    table = lines[first : lines.index("On a GPU, the host enqueues steps, and the GPU computes them.")]
    assert max(map(len, [*table, *GPU_LEGEND.splitlines()])) <= 80
    rows = [line.split() for line in table[3:-1]]
    assert [(row[0], row[1], row[3:7], row[-1]) for row in rows] == [
        ("10", "cupy", ["300", "µs", "300", "µs"], "3×"),
        ("10", "cupy-plain", ["900", "µs", "900", "µs"], "–"),
        ("1,000", "cupy", ["301", "µs", "301", "µs"], "3×"),
        ("1,000", "cupy-plain", ["901", "µs", "901", "µs"], "–"),
    ]
    assert "  kernels, GB/s: gather 4.1, activate 6.55, output error 9.83, hadamard 9.83, Adam 22.9" in lines
    assert len(results.machines) == 2
    (said,) = verdicts(results)  # about cupy only, because cupy-plain is measured for comparison
    assert "cupy-plain" not in said
    assert {backend for backend, _, _ in crossovers(results)} == {"cupy"}


def test_the_table_of_the_gpu_fits_80_columns(tmp_path):
    results = with_plain(tmp_path)
    seconds = took(0.0234)
    wide = dataclasses.replace(
        results,
        measurements=[
            dataclasses.replace(
                m,
                backend="cupy:1+tf32",
                mini_batch_size=100_000,
                steps=dict.fromkeys(gpu_steps.STEP_MODES, StepTimes(seconds, seconds)),
            )
            for m in results.measurements
        ],
    )
    table = list(gpu_table(wide))
    assert max(map(len, table)) <= 80
    assert sum(line.count("23.4 ms") for line in table) == 6 * len(wide.measurements)


def test_without_a_gpu_nothing_is_said_about_its_steps(tmp_path):
    _, results = bench([cpu()], tmp_path, ["20-8-5"], [10])
    assert list(gpu_table(results)) == []
    assert "host" not in report(results)


def test_files_from_before_there_were_times_of_steps_can_be_read(results, tmp_path):
    write_results(tmp_path / "old.json", results)
    old = json.loads((tmp_path / "old.json").read_text())
    for machine in old["machines"]:
        del machine["kernel_bytes_per_second"]
    for measured in old["measurements"]:
        del measured["steps"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    read = read_results(tmp_path / "old.json")
    assert all(m.steps is None for m in read.measurements)
    assert "time of a step, and of the host" not in report(read)
    assert list(verdicts(read)) == list(verdicts(results))


def test_crossover_agrees_with_the_model(results):
    """A step needs 285 µs more on the GPU, and an operation 0.999 ns less: break-even at 2.9e5 operations per step."""
    said = {fixed: str(found) for backend, fixed, found in crossovers(results) if backend == "stand-in"}
    assert said == {
        "20-8-5": "wins from 1,000 on",  # 880 operations per example
        "20-64-5": "wins from 100 on",  # 7,040
        "mini-batches of 10": "wins nowhere",
        "mini-batches of 100": "wins from 20-64-5 on",
        "mini-batches of 1,000": "wins throughout",
    }
    assert "stand-in on 20-64-5: the GPU wins from 100 on" in report(results).splitlines()


def test_transfers_are_counted(results):
    for m in results.measurements:
        if m.where == "CPU":
            assert m.transfers is None
            continue
        n, inputs, outputs = m.examples, m.sizes[0], m.sizes[-1]
        assert m.transfers.data_bytes == n * inputs + n * outputs * 8  # the inputs stay bytes
        assert m.transfers.data_seconds.median == pytest.approx(m.transfers.data_bytes / 1e10)
        assert m.transfers.epoch_bytes_to_device == 8 * n
        assert m.transfers.epoch_transfers == 1
    assert "back, 1 transfer\n" in report(results)


def test_rows_of_the_table_against_a_calculation_by_hand(results):
    """20-8-5 × 10: 880 operations per example, 15 + 8.8 µs per step, products 5 + 8.8 µs; on the GPU 300.0088 µs."""
    lines = report(results).splitlines()
    on_cpu, on_gpu = (line.split() for line in lines[lines.index("20-8-5") + 1 :][:2])
    assert on_cpu[:4] == ["10", "slow-numbers", "23.8", "µs"]
    peak = 4 * 64**3 / (2e-6 + 4 * 64**3 / 1e9) / 1e9
    rate = 880 * 10 / 23.8e-6 / 1e9
    assert on_cpu[4:] == ["420,168", "±0%", f"{rate:.1f}", f"{13.8 / 23.8:.0%}", f"{rate / peak:.0%}", "–", "–"]
    assert on_gpu[-1] == "0.079×"  # 23.8 / 300.1


def test_the_table_and_the_verdict_fit_80_columns(results):
    wide = dataclasses.replace(
        results,
        measurements=[
            dataclasses.replace(
                m,
                backend={"stand-in": "cupy:1+tf32"}.get(m.backend, "numpy-plain"),
                sizes=sizes,
                epoch_seconds=took(10_000 * m.epoch_seconds.median),
                floor_seconds=took(10_000 * m.floor_seconds.median),
            )
            for m in results.measurements
            for sizes in [(784, 2048, 2048, 2048, 10)]
        ],
    )
    for shown in (results, wide):
        lines = report(shown).splitlines()
        first = next(i for i, line in enumerate(lines) if line.startswith("float64 "))
        table = lines[first : lines.index("Medians; ± half the interquartile range of examples/s.")]
        assert len(table) > 8
        assert max(map(len, table + lines[-3:])) <= 80
        assert lines[first].endswith("share of  speedup over")


# The verdict.


def compared(*points, backend="cupy", no_gpu=None):
    """Return results with points (network, m, seconds on the CPU, seconds on the GPU), and a noise of 5%."""
    measured = []
    for net, m, *seconds in points:
        for name, where, taken in zip(("numpy", backend), ("CPU", backend), seconds, strict=False):
            times = took(taken, 0.05)
            measured.append(Measurement(name, where, grid.parse_sizes(net), m, 1000, times, times, times, None))
    return Results("", "", "float32", "", 1, 1, {}, no_gpu, measurements=measured)


SMALL, MIDDLE, LARGE = ("784-30-10", 10), ("784-30-10", 1000), ("784-1024-10", 100)


@pytest.mark.parametrize(
    ("results", "said"),
    [
        (
            compared((*LARGE, 8.8, 1.0), (*SMALL, 1.0, 14.0), (*MIDDLE, 2.4, 1.0)),  # in any order
            "On this machine, train on the CPU up to 784-30-10 with mini-batches of 10; from 784-30-10 with "
            "mini-batches of 1,000 on, cupy is 2.4 to 8.8 times as fast.",
        ),
        (
            compared((*SMALL, 3.1, 1.0), (*LARGE, 3.1, 1.0), backend="cupy:1"),
            "On this machine, train on the GPU: at each size, cupy:1 is 3.1 times as fast as the CPU.",
        ),
        (
            compared((*SMALL, 1.0, 14.0), (*MIDDLE, 1.0, 2.0)),
            "On this machine, train on the CPU: at each size, it is 2 to 14 times as fast as cupy.",
        ),
        (
            compared((*SMALL, 1.0, 14.0), (*MIDDLE, 1.0, 1.0)),
            "On this machine, train on the CPU: cupy is not clearly faster at any size.",
        ),
        (
            compared((*SMALL, 1.0, 14.0), (*MIDDLE, 2.0, 1.0), (*LARGE, 1.0, 2.0)),
            "On this machine, train on the CPU; cupy is faster only at 784-30-10 with mini-batches of 1,000.",
        ),
        (
            compared((*SMALL, 1.0), no_gpu="CuPy is not installed"),
            "Train on the CPU, because no GPU can be used here; on a machine with a GPU, fastbp bench says from which "
            "size on the GPU is faster.",
        ),
        (
            compared((*SMALL, 1.0)),
            "Only the CPU was measured, so this says nothing about the other one; fastbp bench without --backend "
            "measures both.",
        ),
    ],
)
def test_the_report_ends_with_the_verdict(results, said):
    assert list(verdicts(results)) == [said]
    assert report(results).replace("\n", " ").endswith(f"  {said}")


def test_without_measurements_there_is_no_verdict():
    assert list(verdicts(compared(no_gpu="CuPy is not installed"))) == []


def test_speedups_over_plain_numpy_and_over_the_cpu(tmp_path):
    _, results = bench([cpu(name="numpy-plain"), gpu()], tmp_path, ["20-64-5"], [1000])
    assert [line.split()[-2:] for line in report(results).splitlines() if "±0%" in line] == [
        ["1×", "–"],
        ["23×", "23×"],
    ]


def test_results_round_trip_through_the_file(results, tmp_path):
    write_results(tmp_path / "again.json", results)
    assert read_results(tmp_path / "again.json") == results
    assert results.complete
    written = json.loads((tmp_path / "again.json").read_text())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", written["date"])
    assert {"NumPy", "Numba", "BLAS", "Python", "fastbp"} <= set(written["information"])
    assert written["processor"]
    assert written["cores"] >= 1
    assert "compiled code" not in written["information"]  # a folder in the user's home


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_chart_is_a_picture(results, tmp_path, ending):
    charts.save_chart(results, tmp_path / f"chart.{ending}")
    data = (tmp_path / f"chart.{ending}").read_bytes()
    if ending == "png":
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        assert data.endswith(b"IEND\xaeB`\x82")
    else:
        assert b"20-64-5" in data or b"<svg" in data


def test_the_chart_shows_what_was_measured(results):
    axes = charts._figure(results).axes
    panels = {panel.get_title(): {line.get_label(): line for line in panel.get_lines()} for panel in axes}
    for sizes in ((20, 8, 5), (20, 64, 5)):
        lines = panels["-".join(map(str, sizes))]
        assert set(lines) == {
            "slow-numbers",
            "stand-in",
            "matrix products alone, CPU",
            "matrix products alone, stand-in",
        }
        on_gpu = [m for m in results.measurements if m.sizes == sizes and m.backend == "stand-in"]
        assert lines["stand-in"].get_xdata().tolist() == BATCHES
        assert lines["stand-in"].get_ydata() == pytest.approx([m.examples_per_second for m in on_gpu])
    looks = [(line.get_linestyle(), line.get_marker()) for name, line in lines.items() if not name.startswith("matrix")]
    assert len(set(looks)) == len(looks)  # distinguishable without colour
    shares = axes[2].get_lines()[1].get_ydata()
    wanted = [m.flops_per_second / results.peak("stand-in") for m in results.measurements if m.backend == "stand-in"]
    assert shares == pytest.approx(wanted[:3])


@pytest.mark.cuda
def test_cuda_backend_on_a_stand_in_for_the_gpu(tmp_path, monkeypatch):
    """Each call of the device takes 1 µs: launches, products, memory, transfers and synchronization."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")
    from gpu_stand_in import StandIn

    backend = StandIn(one_block=True)
    clock = lambda: 1e-6 * len(backend.device.calls)
    candidates = [Candidate("cupy", backend, backend, "cupy", "a stand-in", lambda: 2**30, clock)]
    monkeypatch.setattr(gpu_steps, "_MOST_STEPS", 8)  # the interpreter is slow
    small = dataclasses.replace(TINY, epoch_flops=2e3, max_examples=8, max_side=4, copy_bytes=2**8)
    assert run.bench(small, [], "float32", ["6-5-3"], [4], tmp_path / "out.json", None, candidates) == 0
    results = read_results(tmp_path / "out.json")
    (machine,), (m,) = results.machines, results.measurements
    assert machine.launch_seconds.median == pytest.approx(1.01e-6)  # with one synchronization per hundred
    assert m.examples == 12
    assert m.step_seconds.median == pytest.approx((6 * 2 + 2 + 1) * 1e-6)  # 6 L + 2 launches and a synchronization
    assert m.floor_seconds.median == pytest.approx((5 * 3 + 1) * 1e-6)
    assert list(m.steps) == ["eager", "ready", "graph", "block"]
    # 14 calls; the kernel that advances the place; one launch; one launch for all 8 steps
    for mode, calls in (("eager", 14), ("ready", 15), ("graph", 1), ("block", 1 / 8)):
        steps = m.steps[mode]
        assert steps.host_seconds.median == pytest.approx(calls * 1e-6, rel=0.2)
        assert steps.host_seconds.median < steps.seconds.median  # a synchronization
    assert list(machine.kernel_bytes_per_second) == ["gather", "activate", "output error", "hadamard", "Adam"]
    sent = m.transfers
    assert sent.data_bytes == 12 * 6 + 12 * 3 * 4
    assert sent.epoch_transfers == 3  # the order, the cost's zeros, the cost
    assert sent.epoch_bytes_to_device == 8 * 12 + sent.epoch_bytes_from_device


# ---- failures


class Failing(Modelled):
    """Fails at mini-batches of 100."""

    def operations(self, *arguments, **options):
        operations = super().operations(*arguments, **options)

        def matmul(w, a, z):
            if a.shape[1] == 100:
                raise RuntimeError("out of\nmemory")
            operations.layers[0].matmul(w, a, z)

        return operations._replace(layers=tuple(layer._replace(matmul=matmul) for layer in operations.layers))


class Wrong(Modelled):
    """Computes the gradient of one layer with an error of a tenth."""

    def gemm(self, alpha, a, b, beta, c):
        super().gemm(1.1 * alpha if c.shape == (8, 20) else alpha, a, b, beta, c)


class Stopped(Modelled):
    """Raises KeyboardInterrupt at mini-batches of 1,000."""

    def operations(self, *arguments, **options):
        operations = super().operations(*arguments, **options)

        def gather(data, indices, scale, out):
            if out.shape[1] == 1000:
                raise KeyboardInterrupt
            operations.gather_x(data, indices, scale, out)

        return operations._replace(gather_x=gather)


def test_a_backend_that_fails_is_reported_and_the_others_are_measured(tmp_path, capsys):
    code, results = bench([cpu(), gpu(Failing)], tmp_path, ["20-8-5"])
    assert code == 0
    assert results.complete
    assert [(m.backend, m.mini_batch_size) for m in results.measurements] == [
        ("slow-numbers", 10), ("stand-in", 10), ("slow-numbers", 100), ("slow-numbers", 1000), ("stand-in", 1000),
    ]  # fmt: skip
    assert "stand-in failed while measuring 20-8-5 × 100: RuntimeError: out of memory\n" in capsys.readouterr().out


def test_a_backend_that_fails_everywhere_is_left_out(tmp_path, capsys):
    class Broken(Modelled):
        def operations(self, *arguments, **options):
            raise RuntimeError("no")

    code, results = bench([cpu(Broken, "broken"), cpu(), gpu(Broken)], tmp_path, ["20-8-5"], [10])
    assert (code, len(results.machines), len(results.measurements)) == (0, 1, 1)
    assert "stand-in failed while measuring the machine: RuntimeError: no" in capsys.readouterr().out
    assert bench([gpu(Broken)], None, ["20-8-5"], [10])[0] == 1  # nothing could be measured


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_backend_with_a_wrong_gradient_is_not_timed(dtype, capsys):
    assert bench([gpu(Wrong)], None, ["20-8-5"], [10], dtype)[0] == 1
    assert (
        "stand-in failed while measuring 20-8-5 × 10: its gradient does not agree with that of plain"
        in capsys.readouterr().out
    )


def test_ctrl_c_keeps_what_was_measured(tmp_path, capsys):
    path, picture = tmp_path / "out.json", tmp_path / "out.png"
    code = run.bench(TINY, [], "float64", NETS[:1], BATCHES, path, picture, [cpu(), gpu(Stopped)])
    assert code == 130
    results = read_results(path)
    assert not results.complete
    assert {m.mini_batch_size for m in results.measurements} == {10, 100}
    said = capsys.readouterr()
    assert "stopped by Ctrl-C: 2 of 3 points measured" in said.err
    assert len([line for line in said.out.splitlines() if "±" in line and "%" in line]) == 4
    assert picture.read_bytes().startswith(b"\x89PNG")
    run.show_saved_results(path, None)
    assert "stopped before its end" in capsys.readouterr().out


def test_ctrl_c_before_the_first_measurement(tmp_path, capsys):
    code = run.bench(TINY, [], "float64", NETS[:1], [1000], tmp_path / "o.json", tmp_path / "o.png", [gpu(Stopped)])
    assert code == 130
    assert "stopped by Ctrl-C: 0 of 1 point measured" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["o.json"]


class Broken(io.StringIO):
    """A standard output that cannot be written to."""

    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def raising(error):
    def call(*arguments):
        raise error

    return call


def files(folder):
    """Run a bench that writes both files to a folder; return the exit code, and the names of the files."""
    code = run.bench(
        TINY, [], "float64", NETS[:1], BATCHES[:1], folder / "out.json", folder / "out.svg", [cpu(), gpu()]
    )
    return code, sorted(os.listdir(folder))


@pytest.fixture
def charts_are_not_drawn(monkeypatch):
    monkeypatch.setattr(run, "save_chart", lambda results, path: path.write_text("charts"))


@pytest.mark.usefixtures("charts_are_not_drawn")
def test_a_closed_standard_output_loses_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Broken())
    assert files(tmp_path) == (141, ["out.json", "out.svg"])
    assert len(read_results(tmp_path / "out.json").measurements) == 2
    assert "fastbp:" not in capsys.readouterr().err
    assert run.show_saved_results(tmp_path / "out.json", None) == 141


def test_nothing_is_measured_for_a_closed_standard_output(nothing_is_measured, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Broken())
    assert run.bench(TINY, [], "float64", NETS, BATCHES, None, None, [cpu()]) == 141


def test_charts_that_cannot_be_drawn_do_not_prevent_other_outputs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "save_chart", raising(ZeroDivisionError("in matplotlib")))
    assert files(tmp_path) == (2, ["out.json"])
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == "fastbp: cannot draw the charts: ZeroDivisionError: in matplotlib"
    assert report(read_results(tmp_path / "out.json")) in said.out


@pytest.mark.usefixtures("charts_are_not_drawn")
def test_results_that_cannot_be_saved_are_printed_and_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "write_results", raising(InputError("cannot write 'out.json': no space")))
    assert files(tmp_path) == (2, ["out.svg"])
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == "fastbp: cannot write 'out.json': no space"
    assert "±0%" in said.out
    assert "results in" not in said.out


def test_ctrl_c_while_charts_are_drawn_finds_the_results_saved_and_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "save_chart", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        files(tmp_path)
    assert report(read_results(tmp_path / "out.json")) in capsys.readouterr().out


@pytest.mark.usefixtures("charts_are_not_drawn")
def test_ctrl_c_while_results_are_saved_saves_them_again(tmp_path, monkeypatch):
    interrupts = [KeyboardInterrupt()]

    def interrupted(path, results):
        if interrupts:
            raise interrupts.pop()
        write_results(path, results)

    monkeypatch.setattr(run, "write_results", interrupted)
    try:
        assert files(tmp_path) == (130, ["out.json", "out.svg"])
    except KeyboardInterrupt:  # which would end pytest
        pytest.fail("the results are lost")
    assert read_results(tmp_path / "out.json").complete


def test_a_path_that_is_not_utf_8_loses_no_results(tmp_path, monkeypatch):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.json")
    try:
        open(path, "x").close()
    except (OSError, UnicodeError):
        pytest.skip("this system does not allow such file names")
    monkeypatch.setattr(sys, "argv", ["fastbp", "bench", "--json", path])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace"))  # as in `main`
    assert run.bench(TINY, [], "float64", NETS[:1], BATCHES[:1], path, None, [cpu()]) == 0
    printable = path.encode(errors="backslashreplace").decode()
    assert read_results(path).command == f"fastbp bench --json '{printable}'"


@pytest.fixture
def nothing_is_measured(monkeypatch):
    monkeypatch.setattr(run, "measure", lambda *arguments: pytest.fail("measured"))


@pytest.mark.usefixtures("nothing_is_measured")
def test_bad_arguments_are_refused_before_anything_is_measured(tmp_path):
    go = lambda **options: run.bench(**{
        "settings": TINY, "names": [], "dtype": "float32", "nets": NETS, "mini_batch_sizes": [10], "json": None,
        "plot": None, "candidates": [cpu()], **options,
    })  # fmt: skip
    refused("cannot write '/nowhere/at/all.json'", go, json="/nowhere/at/all.json")
    refused("cannot write '/nowhere/at/all.png'", go, plot="/nowhere/at/all.png")
    refused("must end with .png or .svg", go, plot=tmp_path / "chart.gif")
    refused("unknown backend 'nunpy'; did you mean 'numpy'?", go, names=["numpy", "nunpy"], candidates=None)
    refused("dtype must be float32 or float64, got 'float16'", go, dtype="float16")
    for sizes in ("784", "784-", "a-b", "784,30", "-3-4", "٣-٤", "1" * 20 + "-2"):
        refused("must be two or more integers joined by '-', like 784-30-10", go, nets=[sizes])
    refused("--sizes 784-0-10: layer 2 must be an integer >= 1, got 0", go, nets=["784-0-10"])
    refused("--mini-batch-size must be an integer >= 1, got 0", go, mini_batch_sizes=[0])
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("nothing_is_measured")
def test_a_grid_that_does_not_fit_is_refused_with_the_estimate():
    big = {"settings": TINY, "names": [], "dtype": "float32", "json": None, "plot": None}
    message = r"8-65536-65536-2 × 10 in float32 needs an estimated 128\.\d GiB of memory \(stand-in\), but 80.0 GiB"
    one = [cpu(), gpu(free=80 * 2**30)]
    refused(message, run.bench, nets=["8-65536-65536-2"], mini_batch_sizes=[10], candidates=one, **big)
    half = "needs an estimated 256.* GiB of memory"  # two at once
    two = [candidate(Modelled(name, 1e-6, 1e9, 1e9), free=80 * 2**30) for name in ("a", "b")]
    refused(half, run.bench, nets=["8-65536-65536-2"], mini_batch_sizes=[10], candidates=two, **big)


def test_files_of_other_kinds_are_refused_in_one_line(results, tmp_path):
    path = tmp_path / "other.json"
    for content in (b"", b"[]", b"{}", b"\x80\x04N.", b'{"kind": "else"}', b"[" * 100_000, b'{"kind": "fastbp-bench"}'):
        path.write_bytes(content)
        refused("cannot load '.*other.json': its? ", read_results, path)
    refused("cannot load", read_results, tmp_path / "missing.json")
    refused("it is a folder", read_results, tmp_path)
    write_results(path, dataclasses.replace(results, measurements=results.measurements[-1:], machines=[]))
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    refused("damaged", read_results, path)


def places(value, *path):
    """Yield the path of each value in a JSON value."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(inner, *path, key)


def test_files_with_any_changed_value_are_refused(results, tmp_path):
    path = tmp_path / "changed.json"
    write_results(path, dataclasses.replace(results, measurements=results.measurements[-1:]))
    whole = path.read_text()
    for place in places(json.loads(whole)):
        content = json.loads(whole)
        *way, last = place
        inner = content
        for key in way:
            inner = inner[key]
        inner[last] = {"what": ["nobody", float("nan")]}
        path.write_text(json.dumps(content))
        refused("cannot load", read_results, path)


@pytest.mark.parametrize("field", ["cores", "memory_bytes", "median", "sizes", "examples", "float32"])
def test_numbers_of_hundreds_of_digits_are_refused(results, tmp_path, field):
    path = tmp_path / "changed.json"
    write_results(path, dataclasses.replace(results, dtype="float32", measurements=results.measurements[-1:]))
    changed = json.loads(path.read_text())
    for inner in (changed, changed["measurements"][0], changed["measurements"][0]["step_seconds"]):
        inner |= {field: [10**400, 3] if field == "sizes" else 10**400} if field in inner else {}
    changed["machines"][0]["gemm_flops_per_second"] |= {field: 10**400} if field == "float32" else {}
    path.write_text(json.dumps(changed))
    refused(r"is damaged: 10+\.\.\.0+$", read_results, path)


def test_a_text_that_cannot_be_printed_is_read_with_its_escapes(results, tmp_path):
    path = tmp_path / "changed.json"
    write_results(path, results)
    changed = json.loads(path.read_text())
    path.write_text(json.dumps({**changed, "no_gpu": "\ud800"}))
    assert report(read_results(path)).encode().count(b"no usable GPU: \\ud800") == 1


# ---- real backends


def test_without_a_gpu_both_numpy_backends_are_measured_and_the_reason_is_given(monkeypatch):
    from fastbp import backends

    monkeypatch.setattr(backends, "available", lambda: {"cupy": "no NVIDIA driver answers", "cupy-plain": "none"})
    found, reason = choose_candidates()
    assert [c.name for c in found] == ["numpy", "numpy-plain"]
    assert {c.floor.name for c in found} == {"numpy"}
    assert reason == "no NVIDIA driver answers"


def test_the_command_from_beginning_to_end(tmp_path):
    arguments = "bench --quick --sizes 20-8-5 --mini-batch-size 10 --json out.json --plot out.png"
    done = subprocess.run([*FASTBP, *arguments.split()], capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1/2  CPU" in done.stderr
    assert "2/2  20-8-5 × 10" in done.stderr
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    results = read_results(tmp_path / "out.json")
    assert results.command == f"fastbp {arguments}"
    assert {"numpy", "numpy-plain"} <= {m.backend for m in results.measurements}
    again = subprocess.run([*FASTBP, "bench", "--from", "out.json"], capture_output=True, text=True, cwd=tmp_path)
    table = done.stdout.splitlines()[1:-2]  # without the first line and the names of the files
    assert again.stdout.splitlines()[1:] == table


@pytest.mark.parametrize("option", [["--quick"], ["--dtype", "float32"], ["--sizes", "2-2"], ["--json", "again.json"]])
def test_from_cannot_be_combined_with_options_that_measure(option):
    with pytest.raises(InputError, match="--from shows saved results"):
        fastbp.main(["bench", "--from", "out.json", *option], standalone_mode=False)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_at_the_command(tmp_path):
    arguments = (
        "bench --quick --backend numpy-plain --sizes 20-8-5 --mini-batch-size 10 --mini-batch-size 20 --json out.json"
    )
    process = subprocess.Popen(
        [*FASTBP, *arguments.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    for line in process.stderr:
        if line.startswith("3/3"):
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopped by Ctrl-C: 1 of 2 points measured" in err
    assert "Traceback" not in err
    assert len(read_results(tmp_path / "out.json").measurements) == 1
