"""Arrays from any library: equal results, no unnecessary copies, no writes to the data, and errors for other arrays."""

import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from refusals import refused

import fastbp
from fastbp import backends
from fastbp.backends.cupy.device import CuPy
from fastbp.backends.numpy.compiled import CompiledNumPy
from fastbp.datasets.foreign_arrays import as_numpy
from fastbp.datasets.inputs import as_columns, example_rows
from fastbp.parameters import plan_of
from fastbp.training import small_batches
from fastbp_kernels.cpu.packed_arguments import PackedCall

RNG = np.random.default_rng(0)
X = RNG.random((3, 8)).astype(np.float32)
Y = RNG.random((2, 8)).astype(np.float32)
LABELS = np.arange(8) % 2
W, B = RNG.random((2, 3)).astype(np.float32), RNG.random((2, 1)).astype(np.float32)


class ByArray:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


class ByInterface:
    def __init__(self, array):
        self.array, self.__array_interface__ = array, array.__array_interface__


class ByDLPack:
    def __init__(self, array):
        self.array, self.__dlpack__, self.__dlpack_device__ = array, array.__dlpack__, array.__dlpack_device__


class OnGPU:
    """An array of another library on a GPU."""

    def __init__(self, number=0):
        self.number, self.ndim, self.dtype, self.shape = number, 2, np.dtype("float32"), (2, 3)

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("copied implicitly from a GPU")

    def __dlpack_device__(self):
        return 2, self.number


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def mapped(array):
    with tempfile.TemporaryFile() as file:  # the mapping outlives the file
        file.write(array.tobytes())
        file.flush()
        return np.memmap(file, array.dtype, "r", shape=array.shape)


def torch_tensor(array):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    return torch.from_numpy(array.copy())


def tensor_with_history(array):
    tensor = torch_tensor(array)
    return tensor.requires_grad_() if tensor.is_floating_point() else tensor


def strict(array):
    return pytest.importorskip("array_api_strict").asarray(array.copy())


def jax_array(array):
    return pytest.importorskip("jax", reason="JAX is not installed").numpy.asarray(array)


def frame(array):
    pandas = pytest.importorskip("pandas")
    return pandas.Series(array) if array.ndim == 1 else pandas.DataFrame(array)


KINDS = {
    "list": lambda a: a.tolist(),
    "tuple": lambda a: tuple(map(tuple, a)) if a.ndim == 2 else tuple(a),
    "Fortran": np.asfortranarray,
    "read-only": read_only,
    "negative strides": lambda a: np.flip(np.flip(a).copy()),
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "memory map": mapped,
    "__array__": ByArray,
    "__array_interface__": ByInterface,
    "__dlpack__": ByDLPack,
    "memoryview": lambda a: memoryview(np.ascontiguousarray(a)),
    "pandas": frame,
    "PyTorch": torch_tensor,
    "PyTorch, requires_grad": tensor_with_history,
    "array_api_strict": strict,
    "JAX": jax_array,
}


@pytest.fixture(params=KINDS, ids=str)
def kind(request):
    return KINDS[request.param]


def all_of(net, x, y, labels, weight):
    """Return the results of all methods of a network on the data, as NumPy arrays."""
    results = [net.feedforward(x), net.feedforward(weight), net.cost(x, y), net.predict(x), net.accuracy(x, labels)]
    results += [net.cost(x, labels), net.accuracy(x, y), *net.backprop(x, y)[1], *net.trace(x, labels).deltas]
    net.update_mini_batch(x, y, 0.5)
    options = {"epochs": 1, "mini_batch_size": 3, "eta": 0.5, "progress": False}
    history = net.train(x, labels, validation=(x, y), sample_weight=labels, **options)
    net.train(x, y, validation=0.25, **options)
    return [*map(backends.get(net.backend).to_host, (*net.weights, *net.biases)), history.cost, *results]


def test_any_kind_of_data_gives_the_results_of_numpy_arrays_on_any_backend(kind, backend):
    vector = np.float32([0.5, 0.25, 0.125])
    results = []
    for make in (np.array, kind):
        net = fastbp.Network([3, 4, 2], backend=backend, rng=0)
        results.append(all_of(net, *map(make, (X, Y, LABELS, vector))))
    for expected, given_ in zip(*results, strict=True):
        assert np.shape(expected) == np.shape(given_)
        np.testing.assert_array_equal(np.asarray(expected), np.asarray(given_))


def test_any_kind_of_parameters_can_be_assigned(kind, backend):
    net = fastbp.Network([3, 2], backend=backend)
    own = net.weights[0]
    net.weights, net.biases = [kind(W)], [kind(B)]
    assert net.weights[0] is own
    np.testing.assert_array_equal(backends.get(backend).to_host(own), W)
    net.biases[0] = kind(2 * B)
    net.feedforward(X)
    np.testing.assert_array_equal(backends.get(backend).to_host(net.biases[0]), 2 * B)


def test_data_are_not_written_to(kind, backend):
    data = [kind(a) for a in (X, Y, LABELS, np.ones(3, np.float32))]
    parameters = [kind(W), kind(B)]
    before = [np.asarray(as_numpy("it", each)).tobytes() for each in (*data, *parameters)]
    all_of(fastbp.Network([3, 4, 2], backend=backend, rng=0), *data)
    net = fastbp.Network([3, 2], backend=backend)
    net.weights, net.biases = parameters[:1], parameters[1:]
    net.train(data[0], data[1], epochs=1, mini_batch_size=2, progress=False)
    fastbp.backprop([W], [parameters[1]], data[0], data[1])
    assert [np.asarray(as_numpy("it", each)).tobytes() for each in (*data, *parameters)] == before


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("list", "tuple")])
def test_arrays_with_memory_are_read_without_a_copy(name):
    given_ = KINDS[name](X)
    where = {
        "PyTorch": lambda: given_.data_ptr(),
        "PyTorch, requires_grad": lambda: given_.data_ptr(),
        "JAX": lambda: given_.unsafe_buffer_pointer(),
        "pandas": lambda: address(given_.to_numpy()),
        "array_api_strict": lambda: address(np.from_dlpack(given_)),
        "memoryview": lambda: address(np.frombuffer(given_, np.float32)),
    }
    host = as_numpy("x", given_)
    np.testing.assert_array_equal(host, X)
    if name.startswith("__"):
        assert address(host) == address(given_.array)
    else:
        assert address(host) == (where[name]() if name in where else address(given_))


@pytest.fixture
def received_by_code(monkeypatch):
    """Record the arrays that compiled code receives."""
    seen = []
    real = CompiledNumPy.run

    def run(self, equation, *arguments):
        seen.extend(arrays_in(arguments))
        real(self, equation, *arguments)

    real_replace = PackedCall.replace

    def replace(self, old, new):
        seen.extend(new)
        real_replace(self, old, new)

    monkeypatch.setattr(CompiledNumPy, "run", run)
    monkeypatch.setattr(PackedCall, "replace", replace)
    monkeypatch.setattr(small_batches, "_MAX_BYTES", 0)  # small batches are copied
    return seen


def arrays_in(value):
    """Return all arrays in nested tuples."""
    if isinstance(value, np.ndarray):
        return [value]
    return [array for part in value for array in arrays_in(part)] if isinstance(value, tuple) else []


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("make", [np.array, read_only, mapped, torch_tensor, strict, jax_array])
def test_training_does_not_copy_rows_of_the_right_dtype(make, dtype, received_by_code):
    rows = (200 * RNG.random((20, 3))).astype(dtype)
    given_ = make(rows)
    if make is jax_array and dtype == "float64":
        pytest.skip("JAX uses float32 by default")
    host = as_numpy("x", given_)
    columns = host.T if make is jax_array else given_.T  # JAX itself copies for .T
    options = {"input_scale": 1 / 255} if dtype == "uint8" else {"dtype": dtype}
    net = fastbp.Network([3, 2], rng=0, **options)
    net.train(columns, LABELS[np.arange(20) % 8], epochs=1, progress=False)
    assert any(np.shares_memory(each, host) for each in received_by_code)
    del received_by_code[:]
    net.feedforward(columns)
    assert any(np.shares_memory(each, host) for each in received_by_code) == (dtype != "uint8")


@pytest.mark.parametrize("make", [np.array, read_only, mapped, torch_tensor, strict, jax_array, frame])
def test_estimators_take_rows_of_any_kind_without_a_copy(make, received_by_code):
    estimators = pytest.importorskip("fastbp.estimators")
    x, targets = np.ascontiguousarray(X.T), np.ascontiguousarray(Y.T)
    net = estimators.MLPClassifier((4,), max_iter=3, random_state=0, batch_size=4)
    net.set_params(n_iter_no_change=1, tol=1.0)  # so that training ends without a warning
    expected = net.fit(x, LABELS, sample_weight=LABELS + 1.0).predict_proba(x)
    del received_by_code[:]
    given_ = make(x)
    host = as_numpy("x", given_)
    columns = [f"pixel {i}" for i in range(3)]
    if make is frame:
        given_.columns = columns
    proba = net.fit(given_, make(LABELS), sample_weight=make(LABELS + 1.0)).predict_proba(given_)
    if make is not frame:  # stored column by column
        assert sum(np.shares_memory(each, host) for each in received_by_code) >= 2
    np.testing.assert_array_equal(proba, expected)
    if make is frame:
        assert net.feature_names_in_.tolist() == columns
    regressor = estimators.MLPRegressor(
        hidden_layer_sizes=(4,), max_iter=3, tol=1.0, n_iter_no_change=1, random_state=0
    )
    np.testing.assert_array_equal(
        regressor.fit(given_, make(targets)).predict(given_),
        regressor.fit(given_, targets).predict(given_),
    )


REAL = st.sampled_from(["?", "b", "B", "h", "H", "i", "I", "l", "L", "e", "f", "d", "g", ">f", "<f", ">d", ">i", ">e"])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_real_dtype_and_strides_give_equal_results(data):
    dtype = np.dtype(data.draw(REAL))
    numbers = st.booleans() if dtype.kind == "b" else st.integers(0, 100)
    array = data.draw(arrays(dtype, (6, data.draw(st.integers(1, 6))), elements=numbers))
    step = data.draw(st.sampled_from([1, -1, 2, -2]))
    array = array[::step][:3] if data.draw(st.booleans()) else array.T[:1, ::step].repeat(3, axis=0)
    net = fastbp.Network([3, 2], "tanh", backend=data.draw(st.sampled_from(["numpy", "numpy-plain"])), rng=0)
    net.weights[0] *= 0.01
    plain = np.array([[float(v) for v in row] for row in array], np.float32)
    np.testing.assert_array_equal(net.feedforward(array), net.feedforward(plain))
    np.testing.assert_array_equal(net.feedforward(plain.tolist()), net.feedforward(plain))


@settings(max_examples=60, deadline=None)
@given(
    arrays(st.sampled_from(["f4", "c8", "U3", "M8[s]", "i4,f4"]), array_shapes(min_dims=0, max_side=3, min_side=0))
    | arrays("O", array_shapes(min_dims=0, max_side=3, min_side=0), elements=st.none() | st.integers() | st.floats())
)
def test_any_array_is_accepted_or_refused_in_one_line(array):
    net = fastbp.Network([3, 2], rng=0, backend="numpy-plain")
    if (
        array.dtype == np.float32
        and array.ndim in (1, 2)
        and array.shape[0] == 3
        and array.size
        and np.isfinite(array).all()
    ):
        assert net.feedforward(array).shape == (2, *array.shape[1:])
    else:
        refused("x ", net.feedforward, array)


def tensor(change):
    return lambda: change(torch_tensor(X))


def sparse_rows(t):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns that these are new
        return t.to_sparse_csr()


UNREADABLE = {
    "complex": (lambda: X + 0j, "NAME must contain real numbers, got dtype complex64"),
    "object": (lambda: X.astype(object), "NAME must contain real numbers, got dtype object"),
    "text": (lambda: X.astype(str), "NAME must contain real numbers, got dtype <U32"),
    "masked": (lambda: np.ma.masked_less(X, 0.5), "NAME must not be a masked array"),
    "iterator": (lambda: iter(X), "NAME must contain real numbers, got dtype object"),
    "None": (lambda: None, "NAME must contain real numbers, got dtype object"),
    "ragged": (
        lambda: [[1.0, 2.0], [3.0]],
        "NAME must be an array that NumPy can read, got list: setting an array element",
    ),
    "GPU": (
        OnGPU,
        "NAME must be on the CPU, got a GPU array of (tests|test_arrays); copy it to the CPU, or use a network on",
    ),
    "sparse tensor": (
        tensor(lambda t: t.to_sparse()),
        "NAME must be an array that NumPy can read, got Tensor: can't convert Sparse layout",
    ),
    "sparse rows": (tensor(sparse_rows), "NAME must be an array that NumPy can read, .*can't convert SparseCsr layout"),
    "meta": (tensor(lambda t: t.to("meta")), "NAME must be an array that NumPy can read, .*can't convert meta device"),
    "float8": (
        tensor(lambda t: t.to(pytest.importorskip("torch").float8_e5m2)),
        "NAME must be an array that NumPy can read, .*Float8",
    ),
    "complex tensor": (tensor(lambda t: t + 0j), "NAME must contain real numbers, got dtype complex64"),
    "negated lazily": (
        tensor(lambda t: (t + 1j).conj().imag),
        "NAME must be an array that NumPy can read, .*negative bit",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_arrays_are_refused_in_one_line(name):
    make, message = UNREADABLE[name]
    given_ = make()
    net = fastbp.Network([3, 2], rng=0)
    of_x = message.replace("NAME", "x")
    refused(of_x, net.feedforward, given_)
    refused(of_x, net.train, given_, LABELS, progress=False)
    refused(message.replace("NAME", "y"), net.train, X, given_, mini_batch_size=2, progress=False)
    refused(message.replace("NAME", r"weights\[0\]"), setattr, net, "weights", [given_])
    if name != "GPU":
        refused(of_x, fastbp.backprop, [W.astype(float)], [], given_, Y)
    if given_ is not None:
        options = {"sample_weight": given_, "mini_batch_size": 2, "progress": False}
        refused(message.replace("NAME", "sample_weight"), net.train, X, LABELS, **options)


@pytest.mark.parametrize("name", ["masked", "GPU", "meta", "sparse tensor", "float8", "complex tensor"])
def test_estimators_refuse_unreadable_arrays_in_one_line(name):
    estimators = pytest.importorskip("fastbp.estimators")
    make, message = UNREADABLE[name]
    given_ = make()
    if name == "GPU":
        given_.__class__ = type("OnGPU", (OnGPU,), {"__dlpack__": None})
    message = message.replace("NAME", "X")
    refused(message, estimators.MLPClassifier().fit, given_, LABELS[:3])
    fitted = estimators.MLPRegressor(hidden_layer_sizes=(2,), max_iter=1, tol=1.0).partial_fit(X, Y[0, :3])
    refused(message, fitted.predict, given_)


@pytest.mark.parametrize("change", ["to_sparse", "to_meta", "to_complex"])
def test_tensors_that_the_pytorch_backend_cannot_use_are_refused(change):
    t = torch_tensor(X)
    given_, message = {
        "to_sparse": (t.to_sparse(), "x must have the layout of the network, torch.strided, got torch.sparse_coo"),
        "to_meta": (t.to("meta"), "x must have the device of the network, cpu, got meta"),
        "to_complex": (t + 0j, "x must contain real numbers, got dtype torch.complex64"),
    }[change]
    refused(message, fastbp.Network([3, 2], backend="torch").feedforward, given_)


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_half_precision_is_accepted_by_the_backends_torch_and_numpy(backend):
    t = torch_tensor(X)
    for given_ in (t.bfloat16(), t.half()):
        net = fastbp.Network([3, 2], backend=backend, rng=0)
        np.testing.assert_array_equal(net.feedforward(given_), net.feedforward(given_.float()))


def test_bfloat16_of_jax_is_accepted():
    x = jax_array(X).astype("bfloat16")
    net = fastbp.Network([3, 2], rng=0)
    np.testing.assert_array_equal(net.feedforward(x), net.feedforward(np.asarray(x, np.float32)))


def test_backprop_accepts_data_of_any_kind(kind):
    expected = fastbp.backprop([W], [B], X, Y)
    for weights in (np.array, torch_tensor, strict, jax_array) if kind is torch_tensor else (np.array,):
        given_ = fastbp.backprop([weights(W)], [kind(B)], kind(X), kind(Y))
        if weights is not jax_array:
            assert type(given_[1][0]) is type(weights(W))
        np.testing.assert_allclose(np.asarray(given_[1][0]), expected[1][0], rtol=1e-5)
        np.testing.assert_allclose(np.asarray(given_[0][0]), expected[0][0], rtol=1e-5)


def test_gradients_for_immutable_arrays_are_numpy_arrays():
    nabla_b, nabla_w = fastbp.backprop([jax_array(W)], [jax_array(B)], jax_array(X), jax_array(Y))
    assert type(nabla_w[0]) is type(nabla_b[0]) is np.ndarray
    for given_, expected in zip((nabla_b, nabla_w), fastbp.backprop([W], [B], X, Y), strict=True):
        np.testing.assert_array_equal(given_[0], expected[0])


def test_arrays_on_cpu_and_gpu_are_refused_with_an_error_that_names_both():
    class CuPyArray(OnGPU):
        device = type("Device", (), {"id": 0})

    CuPyArray.__module__ = "cupy"
    refused(
        r"weights\[0\] \(numpy\) is on the CPU and x \(cupy\) is on a GPU; move both to one device",
        fastbp.backprop,
        [W],
        [],
        CuPyArray(),
        Y,
    )
    refused(
        r"weights\[0\] \(cupy\) is on a GPU and x \(numpy\) is on the CPU", fastbp.backprop, [CuPyArray()], [], X, Y
    )
    refused(
        r"weights\[0\] \(cupy\) is on a GPU and biases\[0\] \(numpy\) is on the CPU",
        fastbp.backprop,
        [CuPyArray()],
        [B],
        CuPyArray(),
        CuPyArray(),
    )
    refused(r"weights\[0\] is on GPU 1 and x is on GPU 0", fastbp.backprop, [OnGPU(1)], [], OnGPU(), OnGPU())
    refused(
        "x must be on the CPU, got a GPU array of cupy; copy it to the CPU",
        fastbp.Network([3, 2]).feedforward,
        CuPyArray(),
    )


def test_host_arrays_are_uploaded_once_to_a_gpu(kind):
    uploads = []

    class GPU(CuPy):
        def __init__(self):
            self.name, self.xp = "cupy", np

        def upload(self, host):
            uploads.append(host)
            return host

    plan = plan_of([3, 2], "sigmoid", "quadratic", bias=True, dtype="float32", backend=GPU())
    rows, dtype = example_rows(as_columns("x", kind(X), 3, plan), plan)
    assert len(uploads) == 1
    assert dtype == "float32"
    np.testing.assert_array_equal(rows, X.T)


def test_gradient_checks_accept_data_of_any_kind(kind):
    net = fastbp.Network([3, 2, 2], "tanh", rng=0)
    assert fastbp.check_gradients(net, kind(X), kind(LABELS)) < 1e-6
    assert fastbp.check_gradients(net, kind(X[:, 0].copy()), kind(LABELS[:1])) < 1e-6
