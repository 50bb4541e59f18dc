"""A network on the second of two GPUs, while the first is the current one.

Every launch, write, copy and allocation must be made while the second GPU is the current one.
"""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")

from gpu_flows import FAULTS, FLOWS, QUIET, X, Y, network, plant, training
from gpu_instruments import StandInInstruments
from two_gpus import Device, Machine

import fastbp
from fastbp import backends
from fastbp.backends.cupy import device as cupy_device
from fastbp.bench import candidates, gpu_steps
from fastbp.bench.grid import QUICK
from fastbp.cli.check import gpu as gpu_check
from fastbp.cli.check import kernel_checks
from fastbp.training import loop

pytestmark = pytest.mark.cuda


@pytest.fixture
def machine(monkeypatch):
    machine = Machine(only=1)
    monkeypatch.setattr(cupy_device, "CuPyDevice", lambda number, *, tf32: Device(machine, number, tf32=tf32))
    monkeypatch.setattr(cupy_device, "_usable", {0, 1})
    monkeypatch.setattr(cupy_device, "current_number", lambda: machine.current)
    monkeypatch.setattr(loop, "_SECONDS_PER_CALL", 1e6)  # so that steps are replayed
    cupy_device._on_device.cache_clear()
    yield machine
    cupy_device._on_device.cache_clear()


def checks(folder):
    backend = backends.get("cupy:1")
    instruments = StandInInstruments(backend)
    for group in (gpu_check.streams, gpu_check.steps):
        assert all(check.passed for check in group(backend, instruments))
    backend.device = backend.device._device
    for cases in (kernel_checks._column_sums(backend, "float32"), kernel_checks._optimizer_steps("float32")):
        for _, formulas, keep_z, case in cases:
            assert kernel_checks._case_error(backend, "float32", "float32", formulas, keep_z, case) < 2e-6


def rates(folder):
    backend = backends.get("cupy:1")
    measured = candidates.Candidate("cupy:1", backend, backend, "cupy:1", "a stand-in", lambda: 2**40)
    assert len(gpu_steps.kernel_rates(measured, replace(QUICK, copy_bytes=2**6))) == 5


@pytest.fixture(autouse=True)
def one_shape(monkeypatch):
    monkeypatch.setattr(kernel_checks, "SHAPES", [(2, 3)])


@pytest.mark.parametrize("flow", [*FLOWS, rates, checks])
def test_everything_happens_on_the_gpu_of_the_network(machine, flow, tmp_path):
    flow(tmp_path)
    assert machine.faults == []
    assert machine.current == 0
    device = backends.get("cupy:1").device
    assert not device.refused
    assert flow != training or "graph" in device.calls


def test_a_network_moves_from_one_gpu_to_the_other(machine):
    machine.only = None
    net = network()
    there = net.to("cupy:0")
    np.testing.assert_array_equal(there.feedforward(X).host, net.feedforward(X).host)
    there.train(X, Y, **QUIET)
    net.train(X, Y, **QUIET)
    assert machine.faults == []
    assert [w.number for w in (net.weights[0], there.weights[0])] == [1, 0]


def test_arrays_of_both_gpus_are_refused(machine):
    here, net = fastbp.Network([4, 3, 3], rng=0, backend="cupy:0"), network()
    x = backends.get("cupy:0").upload(X.astype(np.float32))
    with pytest.raises(fastbp.InputError, match="x is on GPU 0 and the network is on GPU 1; move both to one device"):
        net.feedforward(x)
    with pytest.raises(fastbp.InputError, match=r"weights\[0\] is on GPU 1 and x is on GPU 0; move both to one"):
        fastbp.backprop(net.weights, net.biases, x, Y)
    with pytest.raises(fastbp.InputError, match="on GPU 0 and the network is on GPU 1"):
        net.weights = here.weights


# Planted faults: a write, an expression or an upload that does not enter its device.

FAULTS = FAULTS | {
    "a row of the check": (
        checks, kernel_checks, "put_matrix", "backend.assign(array, np.ascontiguousarray(host, dtype))",
        "array[...] = backend.upload(np.ascontiguousarray(host, dtype))",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_recorded(name, machine, monkeypatch, tmp_path):
    plant(monkeypatch, *FAULTS[name][1:])
    FAULTS[name][0](tmp_path)
    assert machine.faults
