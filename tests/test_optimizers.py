"""Optimizers, against loops over examples, steps calculated by hand, scikit-learn and PyTorch."""

import copy
import dataclasses
import json
import math
import pickle
from itertools import count
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

import fastbp
import reference
from fastbp.files.tensors import read_tensors, write_tensors
from fastbp.math import sqrt, where
from fastbp.operations import Examples
from fastbp.optimizers import OPTIMIZERS, SGD, Adagrad, Adam, AdamW, Optimizer, OptimizerName, RMSprop
from fastbp.parameters import as_parameters, new_optimizer_state
from fastbp.training import loop as training
from fastbp_kernels import words

NAMES = ["tanh", "sigmoid"]
CHOICES = {
    "momentum": SGD(0.8),
    "nesterov": SGD(0.8, nesterov=True),
    "adam": Adam(0.8, 0.95, 1e-4),
    "adam, betas 0": Adam(0, 0, 0.1),
    "adamw": AdamW(0.8, 0.95, 1e-4),
    "rmsprop": RMSprop(0.9, 1e-3),
    "adagrad": Adagrad(1e-3),
}


class Theta:
    """One parameter array and its optimizer state, updated by the definitions of the optimizers."""

    def __init__(self, theta):
        self.theta, self.v, self.m, self.t = theta, 0 * theta, 0 * theta, 0

    def step(self, optimizer, eta, g, decay):
        self.t += 1
        if isinstance(optimizer, AdamW):
            self.theta = self.theta * (1 - eta * decay)
            self.m = optimizer.beta_1 * self.m + (1 - optimizer.beta_1) * g
            self.v = optimizer.beta_2 * self.v + (1 - optimizer.beta_2) * g**2
            m, v = self.m / (1 - optimizer.beta_1**self.t), self.v / (1 - optimizer.beta_2**self.t)
            self.theta = self.theta - eta * m / (np.sqrt(v) + optimizer.epsilon)
            return
        g = g + decay * self.theta
        if isinstance(optimizer, RMSprop):
            self.v = optimizer.beta * self.v + (1 - optimizer.beta) * g**2
            self.theta = self.theta - eta * g / (np.sqrt(self.v) + optimizer.epsilon)
        elif isinstance(optimizer, Adagrad):
            self.v = self.v + g**2
            self.theta = self.theta - eta * g / (np.sqrt(self.v) + optimizer.epsilon)
        elif isinstance(optimizer, Adam):
            self.m = optimizer.beta_1 * self.m + (1 - optimizer.beta_1) * g
            self.v = optimizer.beta_2 * self.v + (1 - optimizer.beta_2) * g**2
            eta_t = eta * math.sqrt(1 - optimizer.beta_2**self.t) / (1 - optimizer.beta_1**self.t)
            self.theta = self.theta - eta_t * self.m / (np.sqrt(self.v) + optimizer.epsilon)
        else:
            self.v = optimizer.momentum * self.v - eta * g
            self.theta = self.theta + (optimizer.momentum * self.v - eta * g if optimizer.nesterov else self.v)


def loop(net, x, y, optimizer, epochs, m, eta, lmbda, *, over_batch=False):
    """Train a copy of the network example by example, in the orders that it draws; return weights and biases."""
    weights, biases = [Theta(w.copy()) for w in net.weights], [Theta(b.copy()) for b in net.biases]
    rng, n = net.to("numpy")._rng, x.shape[1]
    targets = np.eye(net.sizes[-1])[y].T
    for _ in range(epochs):
        order = rng.permutation(n)
        for start in range(0, n, m):
            batch = order[start : start + m]
            w, b = [p.theta for p in weights], [p.theta for p in biases]
            nabla_b, nabla_w = reference.gradient_sum(w, b, x[:, batch], targets[:, batch], NAMES, "quadratic")
            decay = lmbda / (len(batch) if over_batch else n)
            for p, nabla in zip(weights, nabla_w, strict=True):
                p.step(optimizer, eta, nabla / len(batch), decay)
            for p, nabla in zip(biases, nabla_b, strict=True):
                p.step(optimizer, eta, nabla / len(batch), 0.0)
    return [p.theta for p in [*weights, *biases]]


def problem(n=11, sizes=(3, 4, 2), dtype="float64", backend="numpy", seed=1, bias=True):
    rng = np.random.default_rng(seed)
    net = fastbp.Network(sizes, NAMES, dtype=dtype, backend=backend, rng=seed, bias=bias)
    return net, rng.random((sizes[0], n)), rng.integers(0, sizes[-1], n)


def assert_near(net, expected, tolerance):
    for ours, theirs in zip([*net.to("numpy").weights, *net.to("numpy").biases], expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


fractions = st.just(0.0) | st.floats(0.01, 0.99)
optimizers = st.one_of(
    st.builds(SGD, fractions, st.booleans()),
    # With β₂ < β₁² the steps are unbounded, and so are their rounding errors.
    st.builds(Adam, st.just(0.0) | st.floats(0.01, 0.9), st.floats(0.9, 0.999), st.floats(1e-5, 0.1)),
)


@settings(max_examples=60, deadline=None)
@given(
    optimizer=optimizers,
    n=st.integers(1, 9),
    m=st.integers(1, 9),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(2, 3)),
    lmbda=st.sampled_from([0.0, 0.3]),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_compiled_training_equals_the_loop_over_examples(optimizer, n, m, sizes, lmbda, bias, seed):
    net, x, y = problem(n, sizes, seed=seed, bias=bias)
    m = min(m, n)
    expected = loop(net, x, y, optimizer, 2, m, 0.05, lmbda)
    options = {"epochs": 2, "mini_batch_size": m, "eta": 0.05, "lmbda": lmbda, "optimizer": optimizer}
    net.train(x, y, progress=False, **options)
    assert_near(net, expected, 1e-12)


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
def test_every_backend_equals_the_loop_over_examples(name, dtype, tolerance, backend):
    expected = loop(*problem(), CHOICES[name], 3, 4, 0.05, 0.3)
    net, x, y = problem(dtype=dtype, backend=backend)
    net.train(x, y, epochs=3, mini_batch_size=4, eta=0.05, lmbda=0.3, optimizer=CHOICES[name], progress=False)
    assert_near(net, expected, tolerance)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("sgd", [1.5, 1.125]),  # w ← w − w/4
        ("momentum", [1.5, 0.875]),  # v = −1/2, then v = −1/4 − 3/8
        ("nesterov", [1.25, 0.65625]),  # w = 2 − 1/4 − 1/2; then v = −1/4 − 5/16, w = 5/4 − 9/32 − 5/16
        ("adam", [1.75, 1.5003]),  # the first step is η up to ε for any gradient, and the second nearly so
    ],
)
def test_two_steps_calculated_by_hand(optimizer, expected, backend):
    """C = w²/2, with the gradient w, from w = 2 with η = 1/4 and μ = 1/2."""
    momentum = 0.5 if optimizer in ("momentum", "nesterov") else None
    for steps, w in enumerate(expected, 1):
        net = fastbp.Network([1, 1], "identity", bias=False, dtype="float64", backend=backend)
        net.weights = [[[2.0]]]
        options = {"epochs": steps, "mini_batch_size": 1, "eta": 0.25, "optimizer": optimizer, "momentum": momentum}
        net.train([[1.0]], [[0.0]], progress=False, **options)
        assert float(net.weights[0][0, 0]) == pytest.approx(w, abs=2e-3 if (optimizer, steps) == ("adam", 2) else 1e-7)


@pytest.mark.parametrize("name", CHOICES)
def test_l2_over_the_mini_batch(name):
    net, x, y = problem()
    expected = loop(net, x, y, CHOICES[name], 1, 4, 0.05, 0.3, over_batch=True)
    order = net.to("numpy")._rng.permutation(11)
    upload, plan = net._plan.backend.upload, net._plan
    examples = Examples(upload(x.T), upload(np.eye(2)[y]), plan.block(0, 11), 1.0)
    state = training.State(new_optimizer_state(plan, CHOICES[name].rule))
    p = as_parameters(net.weights, net.biases, plan)
    mini_batches = training.MiniBatches(plan, p, examples, "float64", 4, 11, state, CHOICES[name])
    mini_batches.decays = 0.3 / np.array([4.0, 4.0, 3.0])
    mini_batches.epoch(order, 0.05, training.Watcher())
    assert_near(net, expected, 1e-12)
    assert state.steps == 3


def test_step_sizes_of_adam_can_be_computed_in_parts():
    whole = Adam().constants_of_steps(0.1, 0, 3000)
    split = [Adam().constants_of_steps(0.1, start, 7) for start in range(0, 2996, 7)]
    np.testing.assert_array_equal(np.concatenate(split), whole[: 7 * len(split)])
    assert Adam().constants_of_steps(0.1, 10**9, 1)[0, 0] == 0.1


def test_an_optimizer_keeps_only_the_state_that_it_needs():
    plan = problem()[0]._plan
    sizes = {}
    for name, optimizer in OPTIMIZERS.items():
        moments = new_optimizer_state(plan, optimizer.rule)
        sizes[name] = [sum(a.size for part in kind for a in part) for kind in moments]
    whole = 3 * 4 + 4 + 4 * 2 + 2
    assert sizes == {
        "sgd": [0, 0, 0, 0],
        "momentum": [whole, whole, 0, 0],
        "nesterov": [whole, whole, 0, 0],
        "adam": [whole, whole, whole, 0],
        "adamw": [whole, whole, whole, 0],
        "rmsprop": [whole, whole, 0, 0],
        "adagrad": [whole, whole, 0, 0],
    }


def test_names_and_defaults():
    assert {"sgd": SGD(), "momentum": SGD(0.9), "nesterov": SGD(0.9, True), "adam": Adam(), "adamw": AdamW(),
            "rmsprop": RMSprop(), "adagrad": Adagrad()} == OPTIMIZERS  # fmt: skip
    assert all(isinstance(optimizer, Optimizer) for optimizer in OPTIMIZERS.values())
    assert list(OPTIMIZERS) == list(get_args(OptimizerName))
    for name, eta, other in (("sgd", 3.0, {}), ("sgd", 1.5, {"momentum": 0.5}), ("adam", 0.001, {})):
        (net, x, y), (same, *_) = problem(), problem()
        net.train(x, y, epochs=2, optimizer=name, progress=False, **other)
        same.train(x, y, epochs=2, optimizer=name, eta=eta, progress=False, **other)
        np.testing.assert_array_equal(net.weights[0], same.weights[0])


@pytest.mark.parametrize("name", ["momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad"])
def test_each_named_optimizer_learns_the_digits(name):
    (x, labels), test = fastbp.datasets.digits()
    net = fastbp.Network([64, 30, 10], ["tanh", "softmax"], "log-likelihood", rng=0)
    eta = {"momentum": 0.03, "nesterov": 0.03, "adagrad": 0.05}.get(name)
    net.train(x, labels, epochs=20, optimizer=name, eta=eta, progress=False)
    assert net.accuracy(*test) >= 0.95


@pytest.mark.parametrize("name", ["nesterov", "adam"])
def test_training_interrupted_within_an_epoch_resumes(name, backend, tmp_path, monkeypatch):
    path = tmp_path / "run"
    options = {"epochs": 5, "mini_batch_size": 2, "eta": 0.05, "optimizer": CHOICES[name], "progress": False}
    whole, x, y = problem(n=41, backend=backend)
    history = whole.train(x, y, **options)
    mini_batches = count(1)

    def interrupting(self, examples):
        if examples and next(mini_batches) == 30:
            raise KeyboardInterrupt

    net = problem(backend=backend)[0]
    with monkeypatch.context() as patch:
        patch.setattr(training, "_SECONDS_PER_CALL", 0.0)  # one mini-batch at a time
        patch.setattr(training.Watcher, "advanced", interrupting)
        with pytest.raises(KeyboardInterrupt):
            net.train(x, y, checkpoint=path, **options)
    _, description = read_tensors(path, "checkpoint", 1)
    assert [description[name] for name in ("epoch", "done", "steps")] == [2, 9, 30]
    net = problem(backend=backend)[0]
    assert net.train(x, y, checkpoint=path, resume=True, **options).cost == history.cost
    assert_near(net, [*whole.to("numpy").weights, *whole.to("numpy").biases], 0.0)


def train_with_checkpoint(path, optimizer, **options):
    net, x, y = problem()
    net.train(x, y, mini_batch_size=4, eta=0.05, optimizer=optimizer, checkpoint=path, progress=False, **options)
    return net


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ("sgd", "adam", "optimizer must be 'SGD', as in the checkpoint, got 'Adam'; pass the same value"),
        ("adam", "momentum", "optimizer must be 'Adam', as in the checkpoint, got 'SGD'"),
        ("momentum", "nesterov", "nesterov must be False, as in the checkpoint, got True"),
        ("adam", Adam(beta_2=0.99), "beta_2 must be 0.999, as in the checkpoint, got 0.99"),
    ],
)
def test_a_checkpoint_of_another_optimizer_is_refused(one, other, message, tmp_path):
    train_with_checkpoint(tmp_path / "run", one, epochs=1)
    refused(message, train_with_checkpoint, tmp_path / "run", other, epochs=2, resume=True)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t, d: d.update(steps=-1), "steps must be an integer from 0 to .*, got -1"),
        (lambda t, d: d.update(steps=10**400), "steps must be an integer from 0 to .*, got 1000"),
        (lambda t, d: t.pop("second.weights.1"), "'second.weights.1' is missing"),
        (lambda t, d: t.update({"second.biases.0": np.zeros((1, 5))}), "second.biases.0 must be float64 of shape"),
        (lambda t, d: t["velocity.weights.0"].fill(np.nan), "velocity.weights.0 must be finite"),
    ],
)
def test_an_edited_checkpoint_of_adam_is_refused(edit, message, tmp_path):
    path = tmp_path / "run"
    train_with_checkpoint(path, "adam", epochs=1)
    tensors, description = read_tensors(path, "checkpoint", 1)
    tensors = {name: array.copy() for name, array in tensors.items()}
    edit(tensors, description)
    write_tensors(path, tensors, json.loads(json.dumps(description)))
    refused(message, train_with_checkpoint, path, "adam", epochs=2, resume=True)


@pytest.mark.parametrize("name", ["sgd", "momentum"])
def test_a_checkpoint_older_than_adam_can_be_resumed(name, tmp_path):
    path = tmp_path / "run"
    train_with_checkpoint(path, name, epochs=2)
    tensors, description = read_tensors(path, "checkpoint", 1)
    del description["steps"], description["run"]["optimizer"], description["run"]["nesterov"]
    write_tensors(path, tensors, description)
    net = train_with_checkpoint(path, name, epochs=4, resume=True)
    np.testing.assert_array_equal(net.weights[0], train_with_checkpoint(tmp_path / "other", name, epochs=4).weights[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(1.0), "momentum must be at least 0 and below 1, got 1.0"),
        (lambda: SGD(0.9, nesterov=1), "nesterov must be True or False, got 1"),
        (lambda: Adam(beta_1=1.0), "beta_1 must be at least 0 and below 1, got 1.0"),
        (lambda: Adam(beta_2=-0.1), "beta_2 must be at least 0 and below 1, got -0.1"),
        (lambda: Adam(epsilon=0.0), "epsilon must be a positive number, got 0.0"),
        (lambda: Adam(beta_1="high"), "beta_1 must be at least 0 and below 1, got 'high'"),
    ],
)
def test_invalid_optimizers(make, message):
    refused(message, make)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adm"}, "unknown optimizer 'adm'; did you mean 'adam'\\? valid: sgd, momentum, nesterov, adam"),
        ({"optimizer": Adam}, "unknown optimizer <class .*Adam.*valid: sgd"),
        ({"optimizer": None}, "unknown optimizer None; valid: sgd"),
        (
            {"optimizer": "adam", "momentum": 0.9},
            "momentum=0.9 cannot be combined with optimizer 'adam'; optimizers that take momentum",
        ),
        (
            {"optimizer": SGD(0.5), "momentum": 0.9},
            r"momentum=0.9 cannot be combined with optimizer SGD\(momentum=0.5.*: sgd, momentum",
        ),
        ({"optimizer": "nesterov", "momentum": 1.5}, "momentum must be at least 0 and below 1, got 1.5"),
    ],
)
def test_bad_options_change_nothing(options, message):
    net, x, y = problem()
    kept = net.weights[0].copy()
    refused(message, net.train, x, y, progress=False, **options)
    np.testing.assert_array_equal(net.weights[0], kept)


def test_steps_equal_those_of_scikit_learn():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from sklearn.neural_network import _stochastic_optimizers as theirs

    rng = np.random.default_rng(3)
    gradients = rng.standard_normal((20, 3, 4))
    for ours, make in (
        (SGD(0.9), lambda w: theirs.SGDOptimizer([w], 0.05, momentum=0.9, nesterov=False)),
        (SGD(0.9, nesterov=True), lambda w: theirs.SGDOptimizer([w], 0.05, momentum=0.9)),
        (Adam(), lambda w: theirs.AdamOptimizer([w], 0.05)),
    ):
        start = rng.standard_normal((3, 4))
        w, state, other = start, [0 * start for _ in ours.state], start.copy()
        their = make(other)
        for t, (constants, g) in enumerate(zip(ours.constants_of_steps(0.05, 0, 20), gradients, strict=True), 1):
            w, *state = ours.formula(w, g, *state, 0.05, 0.0, t, *constants[: len(ours.constants)])
            their.update_params([other], [g])
        np.testing.assert_allclose(w, other, rtol=1e-12, err_msg=repr(ours))


def test_optimizers_hold_plain_python_values():
    assert dataclasses.asdict(SGD(np.float32(0.5))) == {"momentum": 0.5, "nesterov": False}
    assert type(SGD(np.float32(0.5)).momentum) is float


# ---- An optimizer of one's own


def lion(w, g, m, eta, decay, t, rho_1, rho_2):
    """Lion (Chen et al. 2023): the sign of an average, with decoupled weight decay."""
    step = (1.0 - rho_1) * m + rho_1 * g
    sign = where(step > 0.0, 1.0, where(step < 0.0, -1.0, 0.0))
    return w - eta * (sign + decay * w), (1.0 - rho_2) * m + rho_2 * g


def drift(w, g, a, b, c, eta, decay, t, k, l):
    """An optimizer that uses everything: three numbers of state, the step, and a constant for each step."""
    a = 0.5 * a + g
    b = b + l * g * g
    c = c + a * t
    return w - eta * (a + decay * w) / (sqrt(b) + k) - 0.001 * c, a, b, c


def bare(w, g, eta, decay, t):
    return w - eta * (g + decay * w) / t


def of_step(eta, t):
    return 1.0 + eta / t


LION = Optimizer("lion", lion, state=["m"], constants={"rho_1": 0.1, "rho_2": 0.01}, default_eta=0.01)
DRIFT = Optimizer("drift", drift, state=("a", "b", "c"), constants={"k": 0.1, "l": of_step})
OWN = {"lion": LION, "drift": DRIFT, "bare": Optimizer("bare", bare, default_eta=0.5)}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
def test_own_optimizers_give_the_same_on_every_backend(name, dtype, tolerance, backend):
    """The judge is the formula itself, called with arrays of float64."""
    optimizer = OWN[name]
    reference_net, x, y = problem()
    thetas = [*reference_net.weights, *reference_net.biases]
    states, rng, t = [[0 * theta for _ in optimizer.state] for theta in thetas], reference_net._rng, 0
    targets = np.eye(2)[y].T
    for _ in range(2):
        order = rng.permutation(11)
        for start in range(0, 11, 4):
            t, batch = t + 1, order[start : start + 4]
            w, b = thetas[:2], thetas[2:]
            nabla_b, nabla_w = reference.gradient_sum(w, b, x[:, batch], targets[:, batch], NAMES, "quadratic")
            constants = [c(0.05, t) if callable(c) else c for c in optimizer.constants.values()]
            for i, nabla in enumerate([*nabla_w, *nabla_b]):
                decay = 0.3 / 11 if i < 2 else 0.0
                found = optimizer.formula(thetas[i], nabla / len(batch), *states[i], 0.05, decay, t, *constants)
                thetas[i], *states[i] = found if optimizer.state else (found,)
    net, x, y = problem(dtype=dtype, backend=backend)
    net.train(x, y, epochs=2, mini_batch_size=4, eta=0.05, lmbda=0.3, optimizer=optimizer, progress=False)
    assert_near(net, thetas, tolerance)


def test_an_own_optimizer_is_resumed_and_recognised_by_its_formula(tmp_path):
    whole = train_with_checkpoint(tmp_path / "whole", DRIFT, epochs=4)
    train_with_checkpoint(tmp_path / "run", DRIFT, epochs=4, callback=lambda epoch: epoch.number == 2)

    def edited(w, g, a, b, c, eta, decay, t, k, l):
        return w - eta * g, a, b, c

    other = Optimizer("drift", edited, state=DRIFT.state, constants=DRIFT.constants)
    message = "optimizer 'drift' must be the same as in the checkpoint's run"
    refused(message, train_with_checkpoint, tmp_path / "run", other, epochs=4, resume=True)
    message = "optimizer must be 'drift', as in the checkpoint, got 'Adam'"
    refused(message, train_with_checkpoint, tmp_path / "run", "adam", epochs=4, resume=True)
    net = train_with_checkpoint(tmp_path / "run", DRIFT, epochs=4, resume=True)
    for ours, theirs in zip([*net.weights, *net.biases], [*whole.weights, *whole.biases], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_optimizers_are_values():
    for optimizer in (*OPTIMIZERS.values(), LION, DRIFT, Adam(0.5)):
        for same in (copy.copy(optimizer), copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
            assert same == optimizer
            assert hash(same) == hash(optimizer)
            assert same.rule == optimizer.rule
    assert len({*OPTIMIZERS.values(), LION, DRIFT}) == len(OPTIMIZERS) + 2
    changed = Optimizer("lion", lion, state=["m"], constants={"rho_1": 0.2, "rho_2": 0.01}, default_eta=0.01)
    assert changed != LION
    with pytest.raises(AttributeError):
        LION.name = "tiger"
    constants = "constants={'rho_1': 0.1, 'rho_2': 0.01}"
    assert repr(LION) == f"Optimizer('lion', lion, state=['m'], {constants}, default_eta=0.01)"


def wide_constant(w, g, eta, decay, t):
    return w - eta * g * (3 / 7 * 10**40)


def reads_a_module(w, g, eta, decay, t):
    return w - words.sqrt(eta) * g


def recursive(w, g, eta, decay, t):
    return w if t > 0.5 else recursive(w, g, eta, decay, t)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Optimizer("", bare), "the name of an optimizer must be a text, got ''"),
        (lambda: Optimizer("x", math.sqrt), "optimizer 'x': formula must be a plain Python function, got"),
        (lambda: Optimizer("x", bare, state="m"), r"optimizer 'x': state must be a list of names, .* got 'm'"),
        (lambda: Optimizer("x", bare, state=["a", "b"] * 2), "state must have at most 3 names, got 4"),
        (lambda: Optimizer("x", bare, constants=dict.fromkeys("abcdefg", 1)), "constants must have at most 6 names"),
        (lambda: Optimizer("x", lambda w, g, eta, decay, t: frobnicate(w)),  # noqa: F821
         "optimizer 'x': formula fails on numbers: NameError: name 'frobnicate' is not defined"),
        (lambda: Optimizer("x", bare, constants={"k": math.nan}), "constant k must be a finite number or a function"),
        (lambda: Optimizer("x", bare, constants={"k": "1"}), r"constant k must be .* \(eta, t\), got '1'"),
        (lambda: Optimizer("x", bare, default_eta=0), "default_eta must be a positive number, got 0"),
        (lambda: Optimizer("x", bare, state=["m"]), r"formula must take \(w, g, m, eta, decay, t\), got \(w"),
        (lambda: Optimizer("x", lambda w, g, m, eta, decay, t: w, state=["m"]), r"must return \(new w, new m\), got"),
        (lambda: Optimizer("x", lambda w, g, eta, decay, t: w + "1"), "formula fails on numbers: TypeError: unsupp"),
        (lambda: Optimizer("x", lambda w, g, eta, decay, t, k: w, constants={"k": lambda eta, t: math.inf}),
         "optimizer 'x': constant k must be finite in every step"),
    ],
)  # fmt: skip
def test_bad_optimizers_are_refused_in_one_line(make, message):
    refused(message, make)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (wide_constant, r"optimizer 'x': wide_constant \(.*\) must compute in float32, got float64"),
        (reads_a_module, "optimizer 'x': reads_a_module reads fastbp_kernels.words.…; import the names: from fastbp_k"),
        (recursive, "optimizer 'x': recursive calls itself; a formula must not be recursive"),
    ],
)
def test_formulas_that_cannot_be_compiled_are_refused_in_one_line(formula, message):
    net, x, y = problem(dtype="float32")
    refused(message, net.train, x, y, optimizer=Optimizer("x", formula), progress=False)


@pytest.mark.cuda
def test_an_optimizer_that_compiles_only_for_the_cpu_is_refused_on_cuda():
    pytest.importorskip("numba_cuda")
    from fastbp.backends import kernels_of_formulas as fused
    from fastbp_kernels.cuda import kernels as cuda

    def formula(w, g, eta, decay, t):
        return w if len(str(1)) == 1 else g  # CUDA has no strings

    message = "optimizer 'x': optimizer_step cannot be compiled for CUDA"
    refused(message, fused.optimizer_step, cuda, Optimizer("x", formula).rule, "float32")


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adamw", "rmsprop", "adagrad"])
def test_200_steps_equal_those_of_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    make = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
        "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
        "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.05),
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.05),
        "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
    }[name]
    net, x, y = problem(n=10)
    layers = [torch.nn.Linear(k, n, dtype=torch.float64) for k, n in ((3, 4), (4, 2))]
    with torch.no_grad():
        for layer, w, b in zip(layers, net.weights, net.biases, strict=True):
            layer.weight.copy_(torch.from_numpy(w))
            layer.bias.copy_(torch.from_numpy(b[:, 0]))
    model = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1], torch.nn.Sigmoid())
    lmbda = 0.3 if name != "sgd" else 0.0
    decayed = {"params": [layer.weight for layer in layers], "weight_decay": lmbda / 10}
    optimizer = make([decayed, {"params": [layer.bias for layer in layers], "weight_decay": 0.0}])
    rng, columns, targets = net.to()._rng, torch.from_numpy(x.T.copy()), torch.from_numpy(np.eye(2)[y])
    for _ in range(100):
        order = rng.permutation(10)
        for batch in (order[:5], order[5:]):
            optimizer.zero_grad()
            loss = 0.5 * ((model(columns[batch]) - targets[batch]) ** 2).sum() / 5
            loss.backward()
            optimizer.step()
    net.train(x, y, epochs=100, mini_batch_size=5, eta=0.05, lmbda=lmbda, optimizer=name, progress=False)
    expected = [*(l.weight.detach().numpy() for l in layers), *(l.bias.detach().numpy()[:, None] for l in layers)]
    assert_near(net, expected, 1e-12)
