"""Training steps that are recorded once and replayed, on a stand-in for a GPU whose stream can be captured."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")

from cuda_against_cpu import THREE_STATES
from gpu_stand_in import StandIn
from sklearn.exceptions import ConvergenceWarning
from training_cases import on_host

import fastbp
from fastbp.backends.cupy import replay
from fastbp.backends.cupy.replay import MODES, Replay, replay_at_most
from fastbp.estimators import MLPClassifier
from fastbp.optimizers import OPTIMIZERS
from fastbp.training import loop

pytestmark = pytest.mark.cuda
RNG = np.random.default_rng(0)
N, M = 59, 5  # 11 mini-batches, in calls of 1, 4 and 6, and a short one of 4
X, Y, BYTES = RNG.random((6, N)), RNG.integers(0, 3, N), RNG.integers(0, 256, (6, N)).astype(np.uint8)


@pytest.fixture(autouse=True)
def calls_grow(monkeypatch):
    """The interpreter is slow, so training would otherwise take one step per call, which is never replayed."""
    monkeypatch.setattr(loop, "_SECONDS_PER_CALL", 1e6)


def train(mode, *, backend=None, x=X, epochs=1, scale=1.0, dtype="float32", **options):
    """Return the parameters and costs of a training in a mode, as bytes, and the backend."""
    backend = backend or StandIn()
    with replay_at_most(mode):
        net = fastbp.Network([6, 5, 3], ["tanh", "sigmoid"], rng=0, backend=backend, dtype=dtype, input_scale=scale)
        history = net.train(x, Y, **{"epochs": epochs, "mini_batch_size": M, "progress": False} | options)
    return [*(array.tobytes() for array in on_host(net)), *history.cost], backend


def in_graphs(backend):
    return backend.device.calls.count("graph")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_replayed_steps_have_the_bits_of_interpreted_steps(optimizer, dtype):
    options = {"optimizer": optimizer, "dtype": dtype, "lmbda": 0.1}
    eager, without = train("eager", **options)
    graphs, backend = train("graph", **options)
    assert graphs == eager
    assert in_graphs(without) == 0
    assert in_graphs(backend) == 9  # of 10 steps: the first one of a recording loads modules


CASES = {
    "bytes": {"x": BYTES, "scale": 1 / 255},
    "weights": {"sample_weight": np.arange(N) / N},
    "dropout, epochs": {"dropout": 0.3, "epochs": 2, "optimizer": "adam"},
    "a schedule": {"eta": lambda epoch, epochs: 0.5 / epoch, "epochs": 2},
    "no lmbda, no last batch": {"x": X[:, : N - N % M], "epochs": 2},
}


@pytest.mark.parametrize("case", CASES)
def test_kinds_of_training_have_the_same_bits_in_all_modes(case, monkeypatch):
    options = CASES[case]
    monkeypatch.setitem(globals(), "Y", Y[: options.get("x", X).shape[1]])
    eager, _ = train("eager", **options)
    for mode in ("ready", "graph"):
        found, backend = train(mode, **options)
        assert found == eager
        assert (in_graphs(backend) > 0) == (mode == "graph")


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_steps_with_an_l2_cost_have_the_same_bits_in_all_modes(solver):
    """In estimators, the cost of a mini-batch has an L2 term, whose factor differs in the short last one."""
    options = {"alpha": 0.1, "solver": solver, "max_iter": 1, "batch_size": M, "random_state": 0}
    fitted = {}
    for mode in MODES:
        backend = StandIn()
        with replay_at_most(mode), pytest.warns(ConvergenceWarning):
            found = MLPClassifier(4, backend=backend, **options).fit(X.T, Y)
        fitted[mode] = [*(array.tobytes() for array in found.coefs_), *found.loss_curve_]
        assert (in_graphs(backend) > 0) == (mode == "graph")
        assert "add_squares" in backend.device.calls
    assert fitted["eager"] == fitted["ready"] == fitted["graph"]
    with pytest.warns(ConvergenceWarning):
        on_cpu = MLPClassifier(4, **options).fit(X.T, Y)
    np.testing.assert_allclose(fitted["graph"][-1:], on_cpu.loss_curve_, rtol=1e-5)


def test_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted(tmp_path):
    options = {"optimizer": "adam", "checkpoint": tmp_path / "run.safetensors"}
    whole, _ = train("eager", epochs=3, optimizer="adam")
    train("graph", epochs=1, **options)
    resumed, _ = train("graph", epochs=3, resume=True, **options)
    assert resumed[:-3] == whole[:-3]


FAILING = {"optimizer": "momentum", "x": X[:, :25]}  # in calls of 1 and 4
CALLS = 19  # of a step with momentum


@pytest.mark.parametrize("fails", range(20))
def test_after_a_failed_capture_the_calls_are_made_one_by_one(fails, caplog, monkeypatch):
    monkeypatch.setitem(globals(), "Y", Y[:25])
    eager, _ = train("eager", **FAILING)
    backend = StandIn()
    backend.device.fail_at = fails
    found, _ = train("graph", backend=backend, **FAILING)
    assert found == eager
    assert in_graphs(backend) == (0 if fails < CALLS else 3)
    assert backend.device.captured is None
    assert list(backend.device.refused) == ["graph"] or fails >= CALLS
    assert len(caplog.messages) == len(backend.device.refused)  # logged once
    if fails < CALLS:
        assert "cannot be replayed as a CUDA graph (RuntimeError: " in caplog.text


def test_a_step_that_cannot_be_recorded_is_interpreted(monkeypatch, caplog):
    eager, _ = train("eager")
    backend = StandIn()

    def missing(*arguments):
        raise OSError("libcublas.so: cannot open shared object file\nmore")

    monkeypatch.setattr(backend.device, "ready_gemm", missing)
    assert train("graph", backend=backend)[0] == eager
    assert list(backend.device.refused) == ["ready"]
    (message,) = caplog.messages
    assert "the equations are interpreted" in message
    assert "\n" not in message


def test_graphs_of_several_steps(monkeypatch):
    monkeypatch.setattr(replay, "_STEPS_PER_GRAPH", 3)
    monkeypatch.setattr(replay, "_STEPS_BEFORE_LARGE_GRAPH", 5)
    eager, _ = train("eager", epochs=2, optimizer="adam")
    found, backend = train("graph", epochs=2, optimizer="adam")
    assert found == eager
    # steps 1 to 3 of the second call; six of the third call if it is in graphs of one; then 11 = 3 + 3 + 3 + 1 + 1
    assert in_graphs(backend) == 3 + 6 + 5


@pytest.mark.parametrize(("m", "graphs"), [(N, 4), (25, 2 + 2 * 4)])
def test_epochs_of_few_steps_are_replayed_from_the_second_one_on(m, graphs):
    """The first call is not worth a recording. The first replayed step is made of calls, and the others are graphs."""
    with_m = {"mini_batch_size": m, "epochs": 6}
    eager, _ = train("eager", **with_m)
    found, backend = train("graph", **with_m)
    assert found == eager
    assert in_graphs(backend) == graphs


def test_a_capture_does_nothing_but_keep_calls():
    """Between the start and the end of a capture, nothing is allocated, copied or waited for."""
    _, backend = train("graph", optimizer="adam", dropout=0.2)
    assert in_graphs(backend) > 0
    assert not backend.device.refused


# Planted faults.


def with_fault(monkeypatch, old, new):
    import inspect

    source = inspect.getsource(Replay)
    assert old in source
    scope = dict(vars(replay))
    exec(compile(source.replace(old, new, 1), "replay_with_a_fault.py", "exec"), scope)
    monkeypatch.setattr("fastbp.backends.cupy.device.Replay", scope["Replay"])


FAULTS = {
    "one recording for every η": ("float(steps.etas[0]) if steps.plain_sgd else None", "None"),
    "one recording for every dropout key": ("*(part.keys.tobytes() for part in dropout)", ""),
    "the position is not set back": ("assign(self._position, 0)", "self._steps or assign(self._position, 0)"),
    "the order of the first call": ("device.assign(self._order", "self._steps or device.assign(self._order"),
    "t counts from 0": ("np.arange(steps.t, steps.t + count", "np.arange(steps.t - 1, steps.t - 1 + count"),
    "one step too many": ("_make(self._calls, taken)", "_make(self._calls, taken + 1)"),
    "the first step is not counted": ("self._launch_graphs(count - taken)", "self._launch_graphs(count)"),
}
REVEALING = {"optimizer": "adam", "dropout": 0.3, "epochs": 2}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_change_the_bits(name, monkeypatch):
    options = REVEALING
    if "η" in name:
        options = CASES["a schedule"]
    if name.startswith("t "):
        options = {"optimizer": THREE_STATES}
    with_fault(monkeypatch, *FAULTS[name])
    try:
        found, _ = train("graph", **options)
    except Exception as error:  # reading beyond the order
        found = error
    monkeypatch.undo()
    monkeypatch.setattr(loop, "_SECONDS_PER_CALL", 1e6)
    assert found != train("eager", **options)[0]
