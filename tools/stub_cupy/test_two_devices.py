"""The CUDA backend with CuPy's real code, on the second of two GPUs of stub functions, while the first is current."""

import cupy
import numpy as np
import pytest
from gpu_flows import FAULTS, FLOWS, QUIET, X, Y, network, plant, training
from stub_checks import finish
from stub_machine import MACHINE, NOWHERE

import fastbp
from fastbp import backends
from fastbp.backends.cupy.replay import MODES, replay_at_most
from fastbp.errors import InputError
from fastbp.estimators import MLPClassifier, MLPRegressor
from fastbp.optimizers import OPTIMIZERS
from fastbp.training import loop
from fastbp_kernels.cuda.compilation import Kernel, _loaded

cupy.cuda.set_allocator(None)  # each array has memory of its own, so a use of memory that has been freed is an error
BOUNDS = {"float32": 2e-5, "float64": 1e-12}


@pytest.fixture(autouse=True)
def replayed(monkeypatch):
    """Make calls so long that steps are replayed, although the interpreter is slow."""
    monkeypatch.setattr(loop, "_SECONDS_PER_CALL", 1e6)


def on_host(net):
    host = net.to("numpy")
    return [*host.weights, *host.biases]


def assert_close(some, others, bound):
    for a, b in zip(some, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=bound, atol=bound)


@pytest.mark.parametrize("flow", FLOWS)
def test_every_call_happens_on_the_device_of_the_network(flow, tmp_path):
    flow(tmp_path)
    finish(1)
    log = MACHINE.log()
    assert MACHINE.faults() == []
    assert log
    assert {(device, current) for _, device, current in log} == {(1, 1)}
    assert cupy.cuda.Device().id == 0
    assert flow != training or "cudaGraphLaunch" in {name for name, *_ in log}


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_optimizer_trains_as_on_the_cpu_in_each_mode(optimizer, dtype):
    how = {**QUIET, "optimizer": optimizer, "lmbda": 0.1}
    if optimizer == "lbfgs":
        how |= {"mini_batch_size": None}
    expected = fastbp.Network([4, 3, 3], rng=0, dtype=dtype)
    expected.train(X, Y, **how)
    found = {}
    for mode in MODES:
        net = network(dtype)
        with replay_at_most(mode):
            net.train(X, Y, **how)
        found[mode] = on_host(net)
        assert_close(found[mode], on_host(expected), BOUNDS[dtype])
    assert all(a.tobytes() == b.tobytes() for mode in MODES for a, b in zip(found[mode], found["eager"], strict=True))
    assert not backends.get("cupy:1").device.refused


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_estimators_fit_as_on_the_cpu(kind):
    y = Y if kind is MLPClassifier else X[0]
    options = {"hidden_layer_sizes": 3, "max_iter": 3, "batch_size": 5, "random_state": 0}
    here, there = (kind(**options, backend=backend).fit(X.T, y) for backend in ("numpy", "cupy:1"))
    assert_close([cupy.asnumpy(w) for w in there.coefs_], here.coefs_, 2e-5)
    assert_close([there.predict(X.T)], [here.predict(X.T)], 2e-5)


def test_a_network_moves_from_one_device_to_the_other():
    net = network()
    there = net.to("cupy:0")
    for n in (net, there):
        n.train(X, Y, **QUIET)
    assert MACHINE.faults() == []
    assert [w.device.id for w in (net.weights[0], there.weights[0])] == [1, 0]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(on_host(net), on_host(there), strict=True))
    with pytest.raises(InputError, match="x is on GPU 0 and the network is on GPU 1"):
        net.feedforward(cupy.zeros((4, 2), "float32"))


def test_the_driver_compiles_a_kernel_that_cannot_be_linked(monkeypatch):
    def fails(self, architecture):
        raise RuntimeError("not linked")

    expected = on_host(network())
    monkeypatch.setattr(Kernel, "linked", fails)
    _loaded.cache_clear()
    net = network()
    net.train(X, Y, **QUIET)
    assert not any(a.tobytes() == b.tobytes() for a, b in zip(on_host(net)[:2], expected[:2], strict=True))
    _loaded.cache_clear()


class WithDLPack:
    """An array of another library, with the DLPack protocol alone."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class WithInterface:
    """An array of another library, with `__cuda_array_interface__` alone."""

    def __init__(self, array):
        self.array, self.__cuda_array_interface__ = array, array.__cuda_array_interface__


@pytest.mark.parametrize("kind", [WithDLPack, WithInterface])
def test_arrays_of_other_libraries_are_used_without_a_copy(kind):
    backend, net = backends.get("cupy:1"), network()
    x = backend.upload(X.astype(np.float32))
    assert backend.from_foreign("x", kind(x)).data.ptr == x.data.ptr
    assert_close([cupy.asnumpy(net.feedforward(kind(x)))], [net.to("numpy").feedforward(X)], 1e-6)


def test_large_arrays_are_uploaded_in_pieces():
    backend, host = backends.get("cupy:1"), np.arange(20_000_000, dtype=np.float32)  # 76 MiB
    there = backend.upload(host)
    assert there.device.id == 1
    assert [name for name, *_ in MACHINE.log()].count("cudaMemcpyAsync") == 2 * 3  # to the device, and into its place
    np.testing.assert_array_equal(backend.to_host(there), host)


def test_the_device_of_a_rank(monkeypatch):
    monkeypatch.setenv("MPI_LOCALRANKID", "1")
    backend = backends.get("cupy:local")
    assert backend.name == "cupy:1"
    assert backend.device.bus_id() != backends.get("cupy:0").device.bus_id()
    assert backend.device.description() == "a stand-in, CUDA 13.0, CuPy " + cupy.__version__


# Faults that the machine must notice.


@pytest.mark.parametrize("name", sorted(FAULTS.keys() - {"an optimizer's state"}))  # CuPy enters the device for zeros
def test_planted_faults_are_noticed(name, monkeypatch, tmp_path):
    """Each is a use of device 0, or of device 1 while device 0 is current. Or it ends in an error.

    CuPy does not launch a kernel with arrays on different devices, and a copy that comes too late leaves NaN.
    """
    flow, *fault = FAULTS[name]
    plant(monkeypatch, *fault)
    refused = False
    try:
        flow(tmp_path)
    except ValueError:
        refused = True
    finish(1)
    assert refused or MACHINE.faults() or {device for _, device, _ in MACHINE.log()} != {1}
    finish(0)
    MACHINE.forget()


def test_memory_that_has_been_freed_is_on_no_device():
    with cupy.cuda.Device(1):
        array = cupy.zeros(3, "float32")
        address = array.data.ptr
        assert MACHINE.block(address) == (address, 12, 1)
        del array
        assert MACHINE.block(address)[2] == NOWHERE


def test_work_on_a_stream_waits_until_something_waits_for_it():
    with cupy.cuda.Device(1):
        stream = cupy.cuda.Stream(non_blocking=True)
        array = cupy.zeros(3, "float32")
        cupy.cuda.Stream.null.synchronize()
        with stream:
            array[...] = 1.0
        assert cupy.asnumpy(array).tolist() == [0.0, 0.0, 0.0]
        stream.synchronize()
        assert cupy.asnumpy(array).tolist() == [1.0, 1.0, 1.0]
