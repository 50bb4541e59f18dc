"""Tests on a GPU: `pytest -m gpu`. Without a GPU, some of them run on a stand-in."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from fastbp.backends.cupy.diagnosis import unavailable_reason

pytest.importorskip("cupy", reason=f"{unavailable_reason()}")
pytest.importorskip("numba_cuda", reason=f"{unavailable_reason()}")

from cuda_against_cpu import PAIRS, SHAPES, compare, few_threads
from gpu_instruments import StandInInstruments
from gpu_stand_in import StandIn
from one_block_cases import EDGES, make
from one_block_cases import compare as compare_with_loops
from one_block_cases import drawn as drawn_for_one_block
from training_cases import CASES, assert_trained_alike, case_data, on_host, trained

import fastbp
from fastbp import backends
from fastbp.backends.cupy.instruments import Instruments
from fastbp.backends.cupy.memory import DeviceMemoryError
from fastbp.cli.check import gpu as gpu_check
from fastbp.datasets.inputs import example_rows
from fastbp_kernels.cuda import kernels as cuda

DTYPES = ["float32", "float64"]
on_gpu = pytest.mark.gpu


@pytest.fixture
def gpu():
    """CuPy's current device."""
    reason = unavailable_reason()
    if reason:
        pytest.skip(reason)
    return backends.get("cupy")


@pytest.fixture(params=[pytest.param("cupy", marks=on_gpu), pytest.param("stand-in", marks=pytest.mark.cuda)])
def either(request):
    """A GPU, or a stand-in for one."""
    return StandIn() if request.param == "stand-in" else request.getfixturevalue("gpu")


def is_real(backend):
    return not isinstance(backend, StandIn)


def instruments_of(backend):
    return Instruments() if is_real(backend) else StandInInstruments(backend)


def launched_on(backend):
    """Return a function that launches a kernel on device copies of host arrays, and copies the results back."""

    def launch(kernel, *arguments, geometry=None):
        if geometry is not None:
            kernel = replace(kernel, geometry=lambda m, n: geometry)
        there = {id(a): backend.upload(a) for a in arguments if isinstance(a, np.ndarray)}
        with backend.device.device_context():
            backend.device.launch(kernel, *(there.get(id(a), a) for a in arguments))
        for a in arguments:
            if isinstance(a, np.ndarray) and a.flags.writeable:
                a[...] = backend.to_host(there[id(a)])

    return launch


# Kernels: those of `test_cuda_kernels.py`, with the same bounds, which include `.approx` and flushed denormals.


@on_gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_a_kernel_computes_what_the_cpu_kernel_does(gpu, name, dtype, rng):
    assert_kernel_alike(gpu, name, dtype, rng)


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["activate relu bias=True keep_z=False", "gather uint8", "add_column_sums"])
def test_a_kernel_computes_what_the_cpu_kernel_does_on_a_stand_in(name, rng):
    assert_kernel_alike(StandIn(), name, "float32", rng)


def assert_kernel_alike(backend, name, dtype, rng):
    pair, by = PAIRS[name], launched_on(backend)
    for m, n in SHAPES:
        compare(cuda, pair, dtype, pair.arguments(rng, m, n, dtype), by=by)
    few = few_threads(pair.make(cuda, dtype), 33, 40)
    compare(cuda, pair, dtype, pair.arguments(rng, 33, 40, dtype), few, by=by)


@on_gpu
@pytest.mark.parametrize("sizes_and_m", [*EDGES, ((784, 30, 10), 10)], ids=str)
def test_small_networks_train_as_by_loops_over_examples(gpu, sizes_and_m):
    compare_with_loops(
        make(weighted=True), drawn_for_one_block(*sizes_and_m, steps=5), weighted=True, by=launched_on(gpu)
    )


@pytest.mark.cuda
def test_a_small_network_trains_as_by_loops_over_examples_on_a_stand_in():
    compare_with_loops(make(), drawn_for_one_block((33, 6, 5), 5, steps=2), by=launched_on(StandIn()))


@pytest.mark.parametrize("name", ["activate relu bias=True keep_z=False", "gather same dtype"])
def test_more_examples_than_blocks_along_y(either, name, rng):
    m = 8 * 65_535 + 100 if is_real(either) else 50
    pair = PAIRS[name]
    compare(cuda, pair, "float32", pair.arguments(rng, m, 3, "float32"), by=launched_on(either))


def test_element_indices_beyond_31_bits(either):
    """A block of 2³¹ + 2¹⁶ elements and data of as many bytes; some rows are checked."""
    m, n = (2**15 + 1, 2**16) if is_real(either) else (33, 64)
    if is_real(either):
        _skip_below(20)
    data, order = either.empty((m, n), "uint8"), np.arange(m)[::-1].copy()
    data[...] = 1
    data[m - 1, :] = 7  # the last row of data goes to the first row of the block, the first to the last
    data[0, :] = 5
    a, delta = either.empty((m, n), "float32"), either.empty((m, n), "float32")
    gather = cuda.gather("uint8", "float32")
    delta[...] = 2
    with either.device.device_context():
        either.device.launch(gather, data, either.upload(order), 1.0, a, m, n)
    rows = [0, 1, m // 2, m - 2, m - 1]
    assert [set(either.to_host(a[i, :])) for i in rows] == [{7.0}, {1.0}, {1.0}, {1.0}, {5.0}]
    sums = either.empty((cuda.n_partial_sums(m), n), "float32")
    sigmoid_prime = fastbp.activations.sigmoid.prime
    with either.device.device_context():
        kernel = cuda.hadamard(sigmoid_prime, "float32", bias=True)
        either.device.launch(kernel, a, a, delta, sums, m, n)
    assert [set(either.to_host(delta[i, :])) for i in rows] == [{-84.0}, {0.0}, {0.0}, {0.0}, {-40.0}]  # 2a (1 − a)
    total = either.to_host(sums).sum(axis=0)
    assert set(total) == {-124.0}


def _skip_below(gigabytes):
    import cupy

    free = cupy.cuda.runtime.memGetInfo()[0] / 1e9
    if free < gigabytes:
        pytest.skip(f"{free:.0f} GB of GPU memory are free; the test needs {gigabytes} GB")


# Training.


@on_gpu
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 2e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("case", CASES)
def test_networks_of_every_kind_train_as_on_the_cpu(gpu, case, dtype, bound, rng):
    sizes, options, training = CASES[case]
    x, y = case_data(rng, sizes)
    for m in (20, 1):
        how = {"epochs": 2, "mini_batch_size": m, "eta": 0.3, **training}
        assert_trained_alike(gpu, x, y, sizes, options, dtype, bound, **how)


def test_a_hundred_runs_give_the_same_bits(either, rng):
    sizes, options, training = CASES["Adam"]
    x, y = case_data(rng, sizes)
    run = lambda: on_host(trained(either, x, y, sizes, options, "float32", mini_batch_size=7, **training)[0])
    first = [array.tobytes() for array in run()]
    for _ in range(100 if is_real(either) else 1):
        assert [array.tobytes() for array in run()] == first


def test_threads_train_at_once_on_separate_streams(either, rng):
    sizes, options, _ = CASES["three activations"]
    x, y = case_data(rng, sizes)
    instruments = instruments_of(either)

    def run(_=None):
        with either.device.device_context(), instruments.stream():
            return [array.tobytes() for array in on_host(trained(either, x, y, sizes, options, "float32", epochs=3)[0])]

    alone = run()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, range(2))) == [alone, alone]


@on_gpu
@pytest.mark.parametrize("group", ["kernels", "epochs", "streams", "steps", "replays", "products"])
def test_all_checks_of_fastbp_check_pass(gpu, group):
    arguments = (gpu,) if group in ("kernels", "replays") else (gpu, Instruments())
    assert [check for check in getattr(gpu_check, group)(*arguments) if not check.passed] == []


@on_gpu
def test_the_command_prints_its_table(gpu):
    command = [sys.executable, "-c", "from fastbp.cli import main; main()", "check", "--backend", "cupy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "compute capability" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_ctrl_c_takes_effect_between_mini_batches(either, monkeypatch, rng):
    sizes, options, _ = CASES["softmax"]
    x, y = case_data(rng, sizes)
    net, _ = trained(either, x, y, sizes, options, "float32")
    launch, launches = either.device.launch, []

    def interrupted(*arguments):
        launches.append(arguments[0].name)
        if len(launches) == 12:  # in the second mini-batch
            signal.raise_signal(signal.SIGINT)
        launch(*arguments)

    monkeypatch.setattr(either.device, "launch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        net.train(x, y, epochs=1, mini_batch_size=5, progress=False)
    assert launches.count("add_cost") + launches.count("add_log_likelihood") >= 1
    assert launches[-1] in ("add_cost", "add_log_likelihood")  # a mini-batch's last
    assert all(np.isfinite(array).all() for array in on_host(net))
    monkeypatch.undo()
    assert len(net.train(x, y, epochs=1, progress=False).cost) == 1


# Moving between GPU and CPU.


def test_a_network_saved_on_the_gpu_continues_on_the_cpu(either, tmp_path, rng):
    sizes, options, _ = CASES["three activations"]
    x, y = case_data(rng, sizes)
    net, _ = trained(either, x, y, sizes, options, "float64")
    net.save(tmp_path / "net.safetensors")
    here = fastbp.load(tmp_path / "net.safetensors", backend="numpy")
    assert [a.tobytes() for a in on_host(here)] == [a.tobytes() for a in on_host(net)]
    for network in (net, here):
        network.train(x, y, epochs=1, progress=False)
    for a, b in zip(on_host(net), on_host(here), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cpu_first", [True, False])
def test_a_checkpoint_moves_between_devices(either, cpu_first, tmp_path, rng):
    sizes, options, training = CASES["Adam"]
    x, y = case_data(rng, sizes)
    whole, _ = trained("numpy", x, y, sizes, options, "float64", epochs=3, **training)
    order = ("numpy", either) if cpu_first else (either, "numpy")
    for backend, epochs in zip(order, (1, 3), strict=True):
        crossing = {"checkpoint": tmp_path / "run.safetensors", "resume": True, **training}
        net, _ = trained(backend, x, y, sizes, options, "float64", epochs=epochs, **crossing)
    for a, b in zip(on_host(net), on_host(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_uint8_data_stay_uint8_on_the_gpu(either):
    net = fastbp.Network([50, 3], backend=either, rng=0)
    rows, dtype = example_rows(np.full((50, 20), 255, np.uint8), net._plan, keep_bytes=True)
    assert (str(rows.dtype), dtype, rows.nbytes) == ("uint8", "uint8", 1000)


@on_gpu
def test_cupy_arrays_are_used_without_a_copy_and_returned(gpu, rng):
    import cupy

    net = fastbp.Network([5, 4, 3], backend=gpu, rng=0)
    x, w = cupy.asarray(rng.random((20, 5), dtype="float32")), net.weights[0]
    rows, _ = example_rows(x.T, net._plan)
    assert rows.data.ptr == x.data.ptr
    w[...] = 1
    net.train(x.T, cupy.zeros(20, "int64"), epochs=1, progress=False)
    assert net.weights[0] is w
    assert not bool((w == 1).all())  # trained in place
    assert isinstance(net.feedforward(x.T), cupy.ndarray)


@on_gpu
def test_pytorch_tensors_are_used_without_a_copy(gpu):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    x = torch.rand(20, 5, device="cuda:0")
    assert gpu.from_foreign("x", x).data.ptr == x.data_ptr()
    net = fastbp.Network([5, 4, 3], backend=gpu, rng=0)
    net.train(x.T, torch.zeros(20, dtype=torch.int64, device="cuda:0"), epochs=1, progress=False)
    out = net.feedforward(x.T)
    assert torch.from_dlpack(out).data_ptr() == out.data.ptr


# Errors.


@on_gpu
def test_data_that_do_not_fit_are_refused_with_figures(gpu, tmp_path):
    import cupy

    total = cupy.cuda.runtime.memGetInfo()[1]
    hollow = np.memmap(tmp_path / "hollow", np.uint8, "w+", shape=(total, 2))  # a sparse file, which takes no space
    with pytest.raises(DeviceMemoryError, match=r"needs .* GiB on the GPU, but only .* are free; use fewer examples"):
        gpu.upload(hollow)
    with pytest.raises(DeviceMemoryError, match=r"Out of memory allocating .* free on the GPU; reduce mini_batch_size"):
        gpu.empty((total, 2), "float32")


@on_gpu
def test_a_device_that_does_not_exist(gpu):
    with pytest.raises(fastbp.InputError, match=r"device cupy:99 does not exist; valid: cupy:0"):
        backends.get("cupy:99")


@on_gpu
def test_a_second_device(gpu, rng):
    import cupy

    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip(f"there is one GPU; CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES')!r}")
    second = backends.get("cupy:1")
    sizes, options, _ = CASES["softmax"]
    x, y = case_data(rng, sizes)
    assert_trained_alike(second, x, y, sizes, options, "float64", 1e-12)
    net = fastbp.Network(sizes, backend=second, rng=0, **options)
    assert fastbp.check_gradients(net, x, y) < 1e-6
    with cupy.cuda.Device(0), pytest.raises(fastbp.InputError, match="x is on GPU 0 and the network is on GPU 1"):
        net.feedforward(cupy.ones((6, 2), "float32"))
