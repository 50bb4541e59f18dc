"""Sparse inputs give the same results as dense ones. The judge is the same network with `x.toarray()`."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from scipy import sparse

import fastbp
from fastbp_kernels.cpu import sparse_products
from fastbp_kernels.cpu.packed_arguments import PackedCall
from fastbp_kernels.sparse_rows import SparseRows

FORMATS = ["csr_array", "csc_array", "coo_array", "lil_array", "dok_array", "csr_matrix", "csc_matrix", "bsr_matrix"]
TOLERANCE = {"float32": {"rtol": 3e-4, "atol": 3e-5}, "float64": {"rtol": 1e-11, "atol": 1e-12}}


def random_columns(rng, inputs, examples, density, format="csc_array", dtype=float):
    dense = np.where(rng.random((inputs, examples)) < density, rng.standard_normal((inputs, examples)), 0.0)
    return getattr(sparse, format)(dense.astype(dtype))


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_every_call_agrees_with_dense_inputs(data):
    draw = data.draw
    rng, m = np.random.default_rng(draw(st.integers(0, 999))), draw(st.integers(1, 60))
    inputs, dtype = draw(st.integers(1, 40)), draw(st.sampled_from(["float32", "float64"]))
    kind = draw(st.sampled_from([float, "float32", "int64", bool]))
    x = random_columns(rng, inputs, m, draw(st.sampled_from([0.0, 0.1, 1.0])), draw(st.sampled_from(FORMATS)), kind)
    dense, y = x.toarray(), rng.integers(0, 3, m)
    hidden = draw(st.lists(st.integers(1, 9), max_size=2))
    options = {"dtype": dtype, "bias": draw(st.booleans()), "input_scale": draw(st.sampled_from([1.0, 0.5]))}
    net = fastbp.Network([inputs, *hidden, 3], ["tanh"] * len(hidden) + ["softmax"], "log-likelihood", rng=0, **options)

    def agree(ours, theirs):
        np.testing.assert_allclose(ours, theirs, **TOLERANCE[dtype])

    agree(net.feedforward(x), net.feedforward(dense))
    agree(net.cost(x, y), net.cost(dense, y))
    assert net.accuracy(x, net.predict(x)) == 1.0
    for ours, theirs in zip(net.backprop(x, y), net.backprop(dense, y), strict=True):
        for nabla, expected in zip(ours, theirs, strict=True):
            agree(nabla, expected)
    for ours, theirs in zip(net.trace(x, y).deltas, net.trace(dense, y).deltas, strict=True):
        agree(ours, theirs)
    other = net.to()
    net.update_mini_batch(x, y, 0.5)
    other.update_mini_batch(dense, y, 0.5)
    training = {
        "epochs": 2,
        "mini_batch_size": draw(st.integers(1, m)),
        "eta": 0.1,
        "lmbda": draw(st.sampled_from([0.0, 0.5])),
        "optimizer": draw(st.sampled_from(["sgd", "nesterov"])),
        "sample_weight": draw(st.sampled_from([None, rng.random(m)])),
        "progress": False,
    }
    history, expected = net.train(x, y, **training), other.train(dense, y, **training)
    agree(history.cost, expected.cost)
    for ours, theirs in zip((*net.weights, *net.biases), (*other.weights, *other.biases), strict=True):
        agree(ours, theirs)


def test_held_out_columns_and_validation_pairs_may_be_sparse():
    rng = np.random.default_rng(0)
    x, y = random_columns(rng, 30, 50, 0.2), rng.integers(0, 3, 50)
    for validation in (0.2, (x[:, :7], y[:7])):
        net, other = (fastbp.Network([30, 3], rng=0, dtype="float64") for _ in range(2))
        options = {"epochs": 2, "patience": 2, "progress": False}
        history = net.train(x, y, validation=validation, **options)
        pair = validation if isinstance(validation, float) else (x[:, :7].toarray(), y[:7])
        expected = other.train(x.toarray(), y, validation=pair, **options)
        np.testing.assert_allclose(history.validation_cost, expected.validation_cost, rtol=1e-12)
        assert history.validation_accuracy == expected.validation_accuracy


def test_a_checkpoint_knows_sparse_data_and_continues_with_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)
    x, y = random_columns(rng, 30, 50, 0.2), rng.integers(0, 3, 50)
    options = {"mini_batch_size": 8, "validation": (x, y), "progress": False, "checkpoint": tmp_path / "run"}
    whole = fastbp.Network([30, 5, 3], rng=0)
    whole.train(x, y, **{**options, "checkpoint": None}, epochs=4)
    part = fastbp.Network([30, 5, 3], rng=0)
    part.train(x, y, **options, epochs=4, callback=lambda epoch: epoch.number == 2)
    resumed = fastbp.Network([30, 5, 3], rng=0)
    changed = x.copy()
    changed.data[3] += 1
    refused(
        "x must be the same as in the checkpoint's run", resumed.train, changed, y, **options, epochs=4, resume=True
    )
    resumed.train(x, y, **options, epochs=4, resume=True)
    for ours, theirs in zip(resumed.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_number_of_threads_does_not_change_the_outputs():
    rng = np.random.default_rng(0)
    x = random_columns(rng, 300, 5000, 0.05)
    net = fastbp.Network([300, 70, 10], rng=0)
    found = []
    for threads in (1, 2, 5):
        with fastbp.use_threads(threads):
            found.append(net.feedforward(x))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    few = np.concatenate([net.feedforward(x[:, [i]]) for i in range(9)], axis=1)  # from W in place, not from a copy
    np.testing.assert_allclose(few, found[0][:, :9], rtol=1e-5)


def test_inputs_are_neither_copied_when_they_fit_nor_changed_nor_made_dense(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = random_columns(rng, 30, 50, 0.2), rng.integers(0, 3, 50)
    before = x.copy()
    for format in ("csc_array", "csr_array"):
        monkeypatch.setattr(getattr(sparse, format), "toarray", None)
        monkeypatch.setattr(getattr(sparse, format), "todense", None)
    net = fastbp.Network([30, 4, 3], rng=0, dtype="float64")
    net.train(x, y, epochs=1, validation=0.2, progress=False)
    net.predict(x)
    net.backprop(x, y)
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(x, name), getattr(before, name))
    from fastbp.datasets.sparse_columns import as_sparse_columns

    assert np.shares_memory(as_sparse_columns("x", x, 30, net._plan).rows.values, x.data)


def damaged(change):
    x = sparse.csc_array(np.eye(3))
    change(x)
    return x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sparse.csr_array(np.ones((5, 3))), r"x must have 3 rows \(one per input\), got a csr_array of shape"),
        (lambda: sparse.csr_array(np.ones((5, 3))), "pass x.T if rows are examples"),
        (lambda: sparse.csr_array((3, 0)), "x must have at least one column"),
        (lambda: sparse.csr_array(1j * np.ones((3, 2))), "x must contain real numbers, got dtype complex128"),
        (lambda: sparse.csr_array([[1, 2], [0, 0], [0, np.nan]]), r"x must contain finite .* nan \(row 2, column 1\)"),
        (lambda: sparse.csr_array([[0, 2], [0, 1e99], [0, 0]]), r"float32, got 1e\+99 \(row 1, column 1\)"),
        (
            lambda: sparse.coo_array(np.ones(3)),
            r"x must have 3 rows .*, got a coo_array of shape \(3,\)",
        ),
        (lambda: damaged(lambda x: x.indices.__setitem__(0, 7)), "x must be a valid csc_array"),
        (lambda: damaged(lambda x: x.indices.__setitem__(1, -1)), "x must be a valid csc_array"),
        (lambda: damaged(lambda x: x.indptr.__setitem__(1, 3)), "x must be a valid csc_array"),
        (lambda: damaged(lambda x: x.indptr.__setitem__(3, 30)), "x must be a valid csc_array"),
    ],
)
def test_sparse_inputs_that_do_not_fit_are_refused_in_one_line(make, message):
    net = fastbp.Network([3, 2], rng=0)
    for call in (net.feedforward, net.predict):
        refused(message, call, make())
    refused(message, net.train, make(), [0], progress=False)


def test_only_inputs_may_be_sparse_and_only_on_numpy():
    net, x, sparse_y = fastbp.Network([3, 2], rng=0), sparse.csr_array(np.eye(3)), sparse.csr_array(np.eye(2, 3))
    refused("y must be a dense array, got a sparse csr_array; pass y.toarray()", net.cost, np.eye(3), sparse_y)
    refused(r"weights\[0\] must be a dense array", setattr, net, "weights", [sparse_y])
    other = net.to("numpy-plain")
    refused("x can be sparse only with the backend 'numpy', got a csr_array for 'numpy-plain'", other.feedforward, x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 3, 4, 9])
def test_products(dtype, n):
    rng = np.random.default_rng(n)
    x = random_columns(rng, 13, 11, 0.3, dtype=dtype)
    rows = SparseRows(x.indptr.astype(np.int64), x.indices.astype(np.int32), x.data)
    w, delta = rng.standard_normal((n, 13)).astype(dtype), rng.standard_normal((7, n)).astype(dtype)
    numbers = rng.integers(0, 11, 7)
    block, z = np.empty((7, rows.width), dtype), np.full((7, n), np.nan, dtype)
    dense = 0.5 * x.toarray()[:, numbers]
    run(gather, sparse_products.gather(dtype), rows, numbers, 0.5, block)
    run(product, sparse_products.matmul(dtype), w, block, z)
    np.testing.assert_allclose(z, (w @ dense).T, **TOLERANCE[dtype])
    z[...] = np.nan
    run(product_of_rows, sparse_products.matmul_of_rows(dtype), np.ascontiguousarray(w.T), rows, 3, z)
    np.testing.assert_allclose(z, (w @ x.toarray()[:, 3:10]).T, **TOLERANCE[dtype])
    for beta in (0.0, 0.5, 1.0):
        start = np.full_like(w, np.nan) if beta == 0.0 else w
        found = start.copy()
        run(add_outer, sparse_products.add_outer(dtype), -2.0, delta, block, beta, found)
        expected = -2.0 * delta.T @ dense.T + (beta * start if beta else 0.0)
        np.testing.assert_allclose(found, expected, **TOLERANCE[dtype])


def run(call, kernel, *arguments):
    from numba.extending import register_jitable

    from fastbp_kernels.numba_private import INLINED_OPTIONS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Numba's: a function among the arguments is experimental
        PackedCall(register_jitable(**INLINED_OPTIONS)(call), (kernel,), *arguments)()


def gather(kernels, x, indices, scale, out):
    kernels[0](x, indices, scale, out)


def product(kernels, w, x, z):
    kernels[0](w, x, z)


def product_of_rows(kernels, w_t, x, start, z):
    kernels[0](w_t, x, start, z)


def add_outer(kernels, alpha, delta, x, beta, w):
    kernels[0](alpha, delta, x, beta, w)
