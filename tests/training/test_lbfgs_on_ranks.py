"""L-BFGS on several ranks against one process. The ranks are threads; `test_ranks.py` has the tests under mpiexec."""

import numpy as np
import pytest
import scipy.sparse
from thread_ranks import on_threads

import fastbp
from fastbp.training import RankError, full_batch, lbfgs

SIZES = [6, 5, 3]


def data(n, seed=5):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (6, n)) / 2
    return x, (x[:3] + 0.3 * rng.random((3, n))).argmax(axis=0)


def trained(comm, x, y, **options):
    """Return the history and the parameters of a network that L-BFGS has trained."""
    made = {name: options.pop(name) for name in ("backend", "input_scale") if name in options}
    net = fastbp.Network(SIZES, "tanh", dtype="float64", rng=1, **made)
    history = net.train(x, y, optimizer="lbfgs", comm=comm, progress=False, **({"epochs": 20} | options))
    host = net.to("numpy")
    return history, np.concatenate([np.ravel(array) for array in (*host.weights, *host.biases)])


def assert_same(found, expected):
    """Assert that the ranks have the same bits, and the costs of one process up to rounding errors."""
    history, parameters = expected
    for other, theirs in found:
        np.testing.assert_array_equal(theirs, found[0][1])
        assert other.cost == found[0][0].cost
        np.testing.assert_allclose(other.cost, history.cost, rtol=1e-8)
        np.testing.assert_allclose(other.validation_cost, history.validation_cost, rtol=1e-8)
    np.testing.assert_allclose(found[0][1], parameters, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_take_the_steps_of_one_process(backend, ranks):
    x, y = data(23)
    options = {"lmbda": 0.2, "sample_weight": np.linspace(0.5, 2.0, 23), "validation": 0.2, "backend": backend}
    found = on_threads(ranks, lambda comm: trained(comm, x, y, **options))
    assert_same(found, trained(None, x, y, **options))


@pytest.mark.parametrize("kind", ["rows", "columns", "bytes", "sparse", "some"])
def test_the_part_of_a_rank_in_several_groups_and_blocks(kind, monkeypatch):
    monkeypatch.setattr(full_batch, "_MIN_SPLIT", 0)
    monkeypatch.setattr(full_batch, "_CACHE_BYTES", 0)
    x, y = data(2500)
    options = {"epochs": 3, "lmbda": 0.2} | ({"validation": 0.2} if kind == "some" else {})
    if kind == "bytes":
        x, options["input_scale"] = np.array(2 * x, np.uint8), 0.5
    x = scipy.sparse.csc_array(x) if kind == "sparse" else np.array(x, order="C" if kind == "columns" else "F")
    found = on_threads(2, lambda comm: trained(comm, x, y, **options))
    assert_same(found, trained(None, x, y, **options))


def test_a_rank_without_examples_takes_part():
    x, y = data(2)
    found = on_threads(3, lambda comm: trained(comm, x, y, lmbda=0.2))
    assert_same(found, trained(None, x, y, lmbda=0.2))


def test_each_rank_may_have_its_own_examples():
    x, y = data(30)
    parts = [slice(0, 10), slice(10, 30)]
    options = {"lmbda": 0.2, "class_weight": "balanced"}

    def work(comm):
        own = parts[comm.index]
        return trained(comm, x[:, own].copy(), y[own].copy(), sharded=True, **options)

    assert_same(on_threads(2, work), trained(None, x, y, **options))


def test_a_line_search_that_finds_no_lower_cost_is_reported_once(monkeypatch, caplog):
    x, y = data(23)
    call = full_batch.FullBatch.__call__
    monkeypatch.setattr(
        full_batch.FullBatch, "__call__", lambda batch, theta: (lambda c, g: (c, -g))(*call(batch, theta))
    )
    found = on_threads(2, lambda comm: trained(comm, x, y))
    assert [history.cost for history, _ in found] == [[], []]
    assert len(caplog.records) == 1
    assert "the line search of L-BFGS found no lower cost" in caplog.text


@pytest.mark.parametrize("kind", [LookupError, StopIteration])
@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_a_callback_is_raised_on_every_rank(kind, failing):
    """Also StopIteration, by which SciPy would end the search on the first rank only."""
    x, y = data(23)

    def work(comm):
        def fail(epoch):
            if comm.index == failing and epoch.number == 2:
                raise kind("no such epoch")

        with pytest.raises(kind if comm.index == failing else RankError) as raised:
            trained(comm, x, y, callback=fail)
        return str(raised.value)

    other = f"rank {failing}: {kind.__name__}: no such epoch"
    assert on_threads(2, work) == (["no such epoch", other] if failing == 0 else [other, "no such epoch"])


def test_an_error_of_scipy_on_the_first_rank_ends_all_ranks(monkeypatch, capfd):
    x, y = data(23)

    def fails(objective, theta, **options):
        objective(theta)
        raise LookupError("no such step")

    monkeypatch.setattr(lbfgs, "minimize", fails)
    with pytest.raises(RuntimeError, match="aborted"):
        on_threads(2, lambda comm: trained(comm, x, y))
    assert "fastbp: rank 0: LookupError: no such step" in capfd.readouterr().err
