"""The backend "cupy-plain" on a stand-in for a machine with two GPUs: every array is on the network's GPU."""

import pickle
import subprocess
from dataclasses import replace
from pathlib import Path

import gpu_flows
import numpy as np
import pytest
from commands import PYTHON
from gpu_flows import plant
from two_gpus import Array, Device, Machine

import fastbp
from fastbp import backends, gradients
from fastbp.backends.array_api import ArrayAPI
from fastbp.backends.cupy import device as cupy_device
from fastbp.backends.cupy import diagnosis, expressions
from fastbp.bench import candidates, floor, gpu_steps
from fastbp.bench.grid import QUICK
from fastbp.cli import fastbp as command

RNG = np.random.default_rng(0)
X, Y = RNG.random((4, 24)), RNG.integers(0, 3, 24)
QUIET = {"epochs": 2, "mini_batch_size": 5, "progress": False}


@pytest.fixture
def machine(monkeypatch):
    machine = Machine(only=1)
    monkeypatch.setattr(cupy_device, "CuPyDevice", lambda number, *, tf32=False: Device(machine, number, tf32=tf32))
    monkeypatch.setattr(cupy_device, "current_number", lambda: machine.current)
    monkeypatch.setattr(expressions, "_usable", {0, 1})
    expressions._on_device.cache_clear()
    yield machine
    expressions._on_device.cache_clear()


def network(dtype="float32", backend="cupy-plain:1", **options):
    return fastbp.Network(
        [4, 3, 3], ["tanh", "softmax"], "log-likelihood", rng=0, backend=backend, dtype=dtype, **options
    )


def arrays_in(thing):
    if isinstance(thing, (list, tuple)):
        return [array for part in thing for array in arrays_in(part)]
    return [thing] if isinstance(thing, Array) else []


# The public functions. Each of them is called while GPU 0 is the current one, and returns arrays.


def inference(folder):
    net = network()
    net.cost(X, Y), net.predict(X), net.accuracy(X, Y), net.score(X, Y), net.update_mini_batch(X, Y, 0.1)
    fastbp.warmup(net)
    found = [net.feedforward(x) for x in (X, X[:, 0])]
    return [net.weights, net.biases, found, net.backprop(X, Y), list(net.trace(X, Y))]


def arrays_of_the_gpu(folder):
    net, backend = network(), backends.get("cupy-plain:1")
    x, y = backend.upload(X.astype(np.float32)), backend.upload(np.eye(3, dtype=np.float32)[:, Y])
    x_in_rows = backend.upload(np.ascontiguousarray(X.T, np.float32)).T
    for a in (x, x_in_rows):
        net.cost(a, y), net.accuracy(a, y)
    net.train(x, y, validation=0.25, **QUIET)
    with fastbp.use_backend("cupy-plain:1"):
        here = fastbp.backprop(net.weights, net.biases, x, y, activations=["tanh", "softmax"], cost="log-likelihood")
    return [net.feedforward(x), net.backprop(x_in_rows, Y), here]


def training(folder):
    nets = [network() for _ in range(4)]
    for net, options in zip(
        nets, [{"dropout": 0.2}, {"optimizer": "adam", "sample_weight": np.ones(24)}, {"lmbda": 0.1}, {}], strict=True
    ):
        net.train(X, Y, **QUIET, **options)
    nets[3].train(X, Y, epochs=2, optimizer="lbfgs", progress=False)
    early = {"validation": (X, Y), "patience": 1, "checkpoint": folder / "run", "optimizer": "momentum"}
    nets[2].train(X, Y, **QUIET, **early, callback=lambda epoch: nets[2].cost(X, Y))
    nets[2].train(X, Y, **{**QUIET, "epochs": 3}, **early, resume=True)
    of_bytes = network(input_scale=1 / 255)
    of_bytes.train((255 * X).astype(np.uint8), Y, **QUIET)
    return [net.weights for net in (*nets, of_bytes)]


def files_and_moves(folder):
    network().save(folder / "model")
    loaded, moved = fastbp.load(folder / "model", backend="cupy-plain:1"), network(backend="numpy").to("cupy-plain:1")
    loaded.weights[0] = np.ones((3, 4))
    moved.to("numpy"), moved.train(X, Y, **QUIET)
    return [loaded.feedforward(X), loaded.weights, moved.weights, moved.to(dtype="float64").weights]


def checks(folder):
    net = network("float64")
    assert gradients.check_gradients(net, X[:, :3], Y[:3]) < 1e-6
    assert gradients.check_gradients(net, X[:, :3], Y[:3], dropout=0.5, dropout_key=1) < 1e-6
    command.main(["check", "--backend", "cupy-plain:1"], standalone_mode=False)  # exits with 1 if a check fails
    return net.weights


def estimators(folder):
    gpu_flows.estimators(folder, "cupy-plain:1")
    return network().weights


def benchmark(folder):
    backend = backends.get("cupy-plain:1")
    floor.make_floor(backend, (4, 3, 3), "float32", RNG.integers(0, 255, (7, 4), np.uint8), 3)()
    measured = candidates.Candidate("cupy-plain:1", backend, backend, "cupy-plain:1", "a stand-in", lambda: 2**40)
    assert len(gpu_steps.kernel_rates(measured, replace(QUICK, copy_bytes=2**6))) == 5
    return network().weights


def the_cost(folder):
    net = network()
    backend = net._plan.backend
    total = backend.new_cost_total(3, 3, "float32")
    backend.set_cost_total(total, 0.5)
    assert backend.read_cost_total(total) == 0.5
    return [total, *net.weights]


FLOWS = [the_cost, inference, arrays_of_the_gpu, training, files_and_moves, checks, estimators, benchmark]


@pytest.mark.parametrize("flow", FLOWS)
def test_everything_happens_on_the_gpu_of_the_network(machine, flow, tmp_path):
    found = arrays_in(flow(tmp_path))
    assert len(found) > 1
    assert {array.number for array in found} == {1}
    assert machine.faults == []
    assert machine.current == 0


@pytest.mark.parametrize(
    "options", [{"optimizer": "adam", "dropout": 0.3}, {"optimizer": "nesterov", "lmbda": 0.1}, {}]
)
def test_the_bits_are_those_of_the_same_expressions_in_numpy(machine, options):
    on_gpu, on_host = network(), network(backend="numpy-plain")
    for net in (on_gpu, on_host):
        net.train(X, Y, **QUIET, **options)
    for w, expected in zip(on_gpu.to("numpy").weights, on_host.weights, strict=True):
        np.testing.assert_array_equal(w, expected)


FAULTS = {
    "the total cost": (the_cost, expressions.CuPyPlain, "read_cost_total", "self.to_host(total)[0]", "total[0]"),
    "dropout": (training, expressions.CuPyPlain, "_units", "self.xp.arange", "__import__('numpy').arange"),
    "an equation": (benchmark, expressions.CuPyPlain, "run", "self.device_context(), ", ""),
    "a write": (files_and_moves, expressions.CuPyPlain, "assign", "self.device_context(), ", ""),
    "the constructor": (inference, ArrayAPI, "__init__", 'self.assign(self.empty((1,), "float32"), 0.0)',
                        'self.empty((1,), "float32")[...] = 0.0'),
    "a check of gradients": (checks, gradients, "check_gradients", "with net._plan.backend.device_context():",
                             "if True:"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_recorded(name, machine, monkeypatch, tmp_path):
    plant(monkeypatch, *FAULTS[name][1:])
    try:
        FAULTS[name][0](tmp_path)
    except TypeError as error:  # arrays of the host and of a GPU were mixed
        machine.faults.append(str(error))
    assert machine.faults


def test_names_and_pickles(machine):
    second = backends.get("cupy-plain:1")
    assert (second.name, second.kind) == ("cupy-plain:1", "cupy")
    assert backends.get("cupy-plain").name == backends.get("cupy-plain:0").name == "cupy-plain"
    assert backends.get("cupy-plain:1") is second
    assert pickle.loads(pickle.dumps(second)) is second
    assert repr(network()).endswith("float32 on cupy-plain:1>")


@pytest.mark.parametrize("name", ["cupy-plain:", "cupy-plain:x", "cupy-plain+tf32", "cupy-plain:1+tf32"])
def test_other_names_are_unknown(name):
    with pytest.raises(fastbp.InputError, match=rf"unknown backend '{name.replace('+', '.')}'; .*cupy-plain"):
        backends.get(name)


def test_arrays_of_both_gpus_are_refused(machine):
    x = backends.get("cupy-plain:0").upload(X.astype(np.float32))
    with pytest.raises(fastbp.InputError, match="x is on GPU 0 and the network is on GPU 1; move both to one device"):
        network().feedforward(x)


def test_packages_are_inspected_once_per_device(machine, monkeypatch):
    asked = []
    monkeypatch.setattr(expressions, "_usable", set())
    reason = lambda device=None: asked.append(device) or (None if device in (None, 0, 1) else "only two")
    monkeypatch.setattr(diagnosis, "plain_unavailable_reason", reason)
    for _ in range(3):
        backends.get("cupy-plain"), backends.get("cupy-plain:1")
        with pytest.raises(fastbp.InputError, match=r"^backend 'cupy-plain' cannot be used: only two$"):
            network(backend="cupy-plain:7")
    assert asked == [None, 1, 7, 7, 7]


def test_the_gpu_of_a_rank(machine, monkeypatch):
    monkeypatch.setattr(diagnosis, "plain_unavailable_reason", lambda device=None: None)
    monkeypatch.setattr(cupy_device, "_count", lambda: 2)
    monkeypatch.setenv("SLURM_LOCALID", "1")
    assert backends.get("cupy-plain:local").name == "cupy-plain:1"


def test_numba_cuda_is_not_imported():
    """With numba-cuda hidden, the backend can be made; its only needs are CuPy's."""
    source = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "sys.modules.update({'numba_cuda': None, 'numba.cuda': None, 'cuda': None})\n"
        "import numpy as np, two_gpus; from fastbp.backends.cupy import device, expressions; import fastbp\n"
        "device.CuPyDevice = lambda number: two_gpus.Device(two_gpus.Machine(), number)\n"
        "expressions._usable.add(0)\n"
        "net = fastbp.Network([2, 3, 2], backend='cupy-plain:0', rng=0)\n"
        "net.train(np.ones((2, 9)), np.zeros(9, int), epochs=1, progress=False); print(net.backend)"
    )
    done = subprocess.run([*PYTHON, "-c", source], capture_output=True, text=True, timeout=600)
    assert done.stdout == "cupy-plain\n", done.stderr


def test_the_benchmark_compares_it_with_the_compiled_kernels(machine, monkeypatch):
    """On one GPU, both have the same machine and the same floor; without compiled kernels, it has its own."""
    monkeypatch.setattr(backends, "available", lambda: {"cupy": "no numba-cuda", "cupy-plain": None})
    monkeypatch.setattr(backends, "get", get := lambda name: original(name) if name != "cupy:0" else refuse())
    monkeypatch.setattr(Device, "description", lambda self: "a stand-in", raising=False)
    found, reason = candidates.choose_candidates()
    assert ([c.name for c in found], reason) == (["numpy", "numpy-plain", "cupy-plain"], None)
    assert (found[2].where, found[2].floor) == ("cupy-plain", found[2].backend)
    compiled = get("numpy-plain")
    monkeypatch.setattr(backends, "get", lambda name: compiled if name == "cupy:0" else original(name))
    (plain,), _ = candidates.choose_candidates(["cupy-plain"])
    assert (plain.where, plain.floor) == ("numpy-plain", compiled)


original = backends.get


def refuse():
    raise fastbp.InputError("numba-cuda is missing")
