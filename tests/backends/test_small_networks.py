"""Training of small networks by one kernel, on a stand-in for a GPU: when it is used, and what must not change."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")

from gpu_stand_in import StandIn
from sklearn.exceptions import ConvergenceWarning
from training_cases import on_host

import fastbp
from fastbp import equations
from fastbp.backends.cupy import small_networks
from fastbp.backends.cupy.replay import replay_at_most
from fastbp.estimators import MLPClassifier
from fastbp.operations import Examples, WorkspacePool, step_config
from fastbp.optimizers import SGD
from fastbp.parameters import as_parameters, draw_parameters, new_optimizer_state, plan_of
from fastbp.training import loop

pytestmark = pytest.mark.cuda
RNG = np.random.default_rng(0)
N, M = 29, 5  # 5 full mini-batches and one of 4
X, Y, BYTES = RNG.random((6, N)), RNG.integers(0, 3, N), RNG.integers(0, 256, (6, N)).astype(np.uint8)
KERNEL = "train_in_one_block"


def train(
    backend=None, *, sizes=(6, 5, 3), activations="sigmoid", cost="quadratic", dtype="float32", x=X, m=M, **options
):
    backend = backend or StandIn(one_block=True)
    scale = 1 / 255 if x.dtype == np.uint8 else 1.0
    net = fastbp.Network(
        sizes,
        activations,
        cost=cost,
        dtype=dtype,
        backend=backend,
        rng=0,
        input_scale=scale,
        bias=options.pop("bias", True),
    )
    history = net.train(x, Y, **{"epochs": 1, "progress": False, "mini_batch_size": m} | options)
    return net, history, backend


def launches(backend):
    return backend.device.calls.count(KERNEL)


USED = {
    "bytes": {"x": BYTES, "lmbda": 0.1},
    "weights, no biases": {"sample_weight": np.arange(N) / N, "bias": False},
    "tanh, cross-entropy": {"activations": ["tanh", "sigmoid"], "cost": "cross-entropy", "epochs": 2},
    "a schedule": {"eta": lambda epoch, epochs: 0.5 / epoch, "epochs": 2},
    "whole mini-batches": {"m": 29},
}


@pytest.mark.parametrize("case", USED)
def test_small_networks_train_in_one_launch_as_on_the_cpu(case):
    net, history, backend = train(**USED[case])
    on_cpu, expected, _ = train("numpy", **USED[case])
    assert launches(backend) > 0
    for here, there in zip(on_host(net), on_host(on_cpu), strict=True):
        np.testing.assert_allclose(here, there, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(history.cost, expected.cost, rtol=1e-5)


NOT_USED = {
    "float64": {"dtype": "float64"},
    "two hidden layers": {"sizes": (6, 5, 4, 3)},
    "no hidden layer": {"sizes": (6, 3)},
    "softmax": {"activations": ["tanh", "softmax"], "cost": "log-likelihood"},
    "momentum": {"momentum": 0.5},
    "dropout": {"dropout": 0.3},
    "a mini-batch of 29 that does not fit": {"sizes": (6, 30, 3), "m": 29},
}


@pytest.mark.parametrize("case", NOT_USED)
def test_what_the_kernel_cannot_do_is_replayed(case):
    _, _, backend = train(**NOT_USED[case])
    assert launches(backend) == 0


def test_larger_networks_are_replayed():
    def suits(sizes, m):
        plan = plan_of(sizes, "sigmoid", "quadratic", bias=True, dtype="float32", backend=StandIn())
        return small_networks.suits(plan, m, tf32=False)

    assert suits([784, 30, 10], 10)
    assert suits([64, 30, 10], 14)
    assert not suits([784, 30, 10], 100)
    assert not suits([784, 100, 10], 10)
    plan = plan_of([784, 30, 10], "sigmoid", "quadratic", bias=True, dtype="float32", backend=StandIn())
    assert not small_networks.suits(plan, 10, tf32=True)


def test_a_shorter_mini_batch_is_replayed():
    _, _, backend = train()
    calls = backend.device.calls
    last = len(calls) - calls[::-1].index(KERNEL)
    assert "add_cost" in calls[last:]
    assert calls.count("add_cost") == 1


def test_a_cost_with_an_l2_term_is_replayed():
    fitted = {}
    for alpha in (0.0, 0.1):
        fitted[alpha] = StandIn(one_block=True)
        options = {"solver": "sgd", "momentum": 0.0, "alpha": alpha, "max_iter": 1, "batch_size": M}
        with pytest.warns(ConvergenceWarning):
            MLPClassifier(4, activation="logistic", backend=fitted[alpha], **options).fit(X.T.astype(np.float32), Y > 1)
    assert launches(fitted[0.0]) > 0
    assert launches(fitted[0.1]) == 0


def test_the_bits_do_not_depend_on_calls_nor_on_a_resumed_run(tmp_path, monkeypatch):
    options = {"lmbda": 0.1, "x": BYTES}
    whole, _, in_many = train(epochs=2, **options)
    monkeypatch.setattr(loop, "_SECONDS_PER_CALL", 1e6)
    again, _, in_few = train(epochs=2, **options)
    assert launches(in_few) < launches(in_many)
    train(epochs=1, checkpoint=tmp_path / "run.safetensors", **options)
    resumed, _, backend = train(epochs=2, checkpoint=tmp_path / "run.safetensors", resume=True, **options)
    assert launches(backend) > 0
    for other in (again, resumed):
        assert [a.tobytes() for a in on_host(other)] == [a.tobytes() for a in on_host(whole)]


def test_steps_with_other_numbers_are_other_launches():
    """If η and λ/n change within a call, each step takes its own. The equations are interpreted for comparison."""
    backend, n = StandIn(one_block=True), 20
    plan = plan_of([6, 5, 3], "sigmoid", "quadratic", bias=True, dtype="float32", backend=backend)
    examples = Examples(plan.array(RNG.random((n, 6))), plan.array(RNG.random((n, 3))), plan.block(0, n), 1.0)
    order, ops = RNG.permutation(n), plan.operations()
    steps = step_config(SGD(), 0.5, steps=0, count=4, lmbda=0.1, n=n)
    steps = steps._replace(etas=np.array([0.5, 0.5, 0.1, 0.1]), decays=np.array([0.0, 0.0, 0.0, 0.1]))
    found = {}
    for name in ("block", "eager"):
        p = as_parameters(*draw_parameters(plan, np.random.default_rng(0), "scaled"), plan)
        ws, total = WorkspacePool(plan, ops, M).workspace(M), backend.new_cost_total(3, M, "float32")
        backend.set_cost_total(total, 0.5)
        run = backend.training_run(plan, "float32", M, n)
        arguments = ops, p, new_optimizer_state(plan), ws, examples, order, steps, M, total
        if name == "block":
            run(equations.train_mini_batches, *arguments)
            assert run.mode == "block"
        else:
            with replay_at_most("eager"):
                run(equations.train_mini_batches, *arguments)
            assert run.mode == "eager"
        found[name] = [*p.weights, *p.biases, np.array(backend.read_cost_total(total))]
    assert launches(backend) == 3
    for here, there in zip(*found.values(), strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-6)


def test_a_launch_has_the_steps_with_the_same_numbers():
    steps = step_config(SGD(), 0.5, steps=0, count=3, lmbda=0.1, n=1)
    assert list(small_networks._runs(steps)) == [(0, 3)]
    changed = steps._replace(etas=np.array([0.5, 0.5, 0.1]), decays=np.array([0.0, 0.1, 0.1]))
    assert list(small_networks._runs(changed)) == [(0, 1), (1, 1), (2, 1)]
    assert list(small_networks._runs(steps._replace(etas=steps.etas[:0], decays=steps.decays[:0]))) == []
