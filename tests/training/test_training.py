"""Training: history, validation, callbacks, progress, divergence, Ctrl-C, forks and threads."""

import dataclasses

import numpy as np
import pytest

import fastbp
from fastbp.training import loop as training


def make_data(n, seed=0):
    """Return synthetic columns and labels."""
    rng = np.random.default_rng(seed)
    return rng.random((8, n), dtype=np.float32), rng.integers(0, 3, n)


@pytest.fixture
def net():
    return fastbp.Network([8, 6, 3], rng=0)


def test_history_holds_costs_accuracy_and_seconds_of_each_epoch(net):
    x, y = make_data(50)
    history = net.train(x, y, epochs=4, mini_batch_size=7, validation=make_data(20, 1), progress=False)
    for figures in (history.cost, history.validation_cost, history.validation_accuracy, history.seconds):
        assert len(figures) == 4
    assert history.cost[-1] < history.cost[0]
    assert history.validation_accuracy[-1] == net.accuracy(*make_data(20, 1))
    assert history.validation_cost[-1] == pytest.approx(net.cost(*make_data(20, 1)))
    without = net.train(x, y, epochs=1, progress=False)
    assert without.validation_cost == without.validation_accuracy == []


def test_the_cost_of_an_epoch_is_the_average_before_each_update(backend):
    x, y = make_data(10)
    net = fastbp.Network([8, 6, 3], rng=0, dtype="float64", backend=backend)
    steps = net.to("numpy")
    cost = net.train(x, y, epochs=1, mini_batch_size=4, eta=0.5, progress=False).cost[0]
    total = 0.0
    order = steps._rng.permutation(10)
    for batch in (order[:4], order[4:8], order[8:]):
        total += steps.cost(x[:, batch], y[batch]) * len(batch)
        steps.update_mini_batch(x[:, batch], y[batch], eta=0.5)
    assert cost == pytest.approx(total / 10, rel=1e-12)


def test_validation_without_classes_has_a_cost_and_no_accuracy():
    net = fastbp.Network([8, 2], "identity", rng=0)
    x, _ = make_data(12)
    history = net.train(x, x[:2], epochs=2, eta=0.01, validation=(x, x[:2]), progress=False)
    assert len(history.validation_cost) == 2
    assert history.validation_accuracy == []


def test_training_is_bit_identical_for_the_same_seed(backend):
    results = []
    for _ in range(2):
        net = fastbp.Network([8, 6, 3], rng=11, backend=backend)
        history = net.train(*make_data(33), epochs=3, mini_batch_size=5, lmbda=0.1, progress=False)
        results.append([*net.to("numpy").weights, *net.to("numpy").biases, np.array(history.cost)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_validation_and_callbacks_do_not_change_training(net):
    other = fastbp.Network([8, 6, 3], rng=0)
    seen = []
    net.train(*make_data(33), epochs=3, validation=make_data(9), callback=seen.append, progress=False)
    other.train(*make_data(33), epochs=3, progress=False)
    for a, b in zip(net.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_callback_gets_each_epoch_and_may_end_training(net):
    seen = []

    def callback(epoch):
        seen.append(epoch)
        return epoch.number == 3

    history = net.train(*make_data(30), epochs=10, callback=callback, progress=False)
    assert [epoch.number for epoch in seen] == [1, 2, 3]
    assert [epoch.cost for epoch in seen] == history.cost
    assert seen[0].epochs == 10
    assert seen[0].validation_accuracy is None
    assert seen[0].examples_per_second > 0


@pytest.mark.parametrize("names", ["identity", ["relu", "identity"]])
def test_a_cost_that_is_no_longer_finite_stops_training_with_advice(names, backend):
    net = fastbp.Network([8, 6, 3] if isinstance(names, list) else [8, 3], names, rng=0, backend=backend)
    with pytest.raises(fastbp.DivergedError, match=r"no longer finite in epoch \d+; .* smaller eta \(now 1e\+06\)"):
        net.train(*make_data(40), epochs=50, eta=1e6, progress=False)


def test_l2_shrinks_the_weights_and_not_the_biases():
    net = fastbp.Network([3, 2], "identity", rng=0, dtype="float64")
    net.biases = [[[0.0], [0.0]]]
    before = net.weights[0].copy()
    net.train(np.zeros((3, 4)), np.zeros((2, 4)), epochs=1, mini_batch_size=4, eta=0.5, lmbda=0.8, progress=False)
    np.testing.assert_allclose(net.weights[0], (1 - 0.5 * 0.8 / 4) * before, rtol=1e-15)
    assert not net.biases[0].any()


def test_progress_is_plain_lines_without_a_terminal(net, capsys):
    net.train(*make_data(30), epochs=2, validation=make_data(10))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("epoch 1/2  cost 0.")
    assert "validation" in lines[0]
    assert "examples/s" in lines[-1]
    assert lines[-1].startswith("epoch 2/2")
    net.train(*make_data(30), epochs=2, progress=False)
    assert capsys.readouterr().err == ""


ON_A_TERMINAL = """
import io, sys
import numpy as np
import fastbp

class Terminal(io.StringIO):
    def isatty(self):
        return True

sys.stderr = Terminal()
net = fastbp.Network([8, 6, 3], rng=0)
net.train(np.ones((8, 40)), np.arange(40) % 3, epochs=3)
shown = sys.stderr.getvalue()
assert "120/120" in shown or "120 examples" in shown or "120.0" in shown or "100%" in shown, shown
assert "epoch 3/3  cost" in shown, shown
"""


def test_progress_is_a_bar_on_a_terminal(run_python):
    done = run_python(ON_A_TERMINAL)
    assert done.returncode == 0, done.stderr


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np
import fastbp

backend, hidden = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
x, y = rng.random((20, 30_000), np.float32), rng.integers(0, 3, 30_000)
net = fastbp.Network([20, hidden, 3], rng=0, backend=backend)
net.update_mini_batch(x[:, :10], y[:10], eta=0.5)  # compiles
net.train(x[:, :20], y[:20], epochs=1, mini_batch_size=10, eta=0.5, progress=False)
replay = net.to(backend)

def press():
    while (net.weights[0] == replay.weights[0]).all():  # training has not started
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press).start()
try:
    net.train(x, y, epochs=100_000, mini_batch_size=10, eta=0.5, progress=False)
    sys.exit("was not interrupted")
except KeyboardInterrupt:
    pass
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

batches = 0
while True:  # repeat the same mini-batches until the parameters are equal
    order = replay._rng.permutation(30_000)
    for start in range(0, 30_000, 10):
        if all((a == b).all() for a, b in zip(net.weights + net.biases, replay.weights + replay.biases)):
            print("after", batches, "mini-batches")
            sys.exit(0)
        batch = order[start : start + 10]
        replay.update_mini_batch(x[:, batch], y[batch], eta=0.5)
        batches += 1
        assert batches < 60_000, "the parameters are not those after a whole mini-batch"
"""


@pytest.mark.parametrize(("backend", "hidden"), [("numpy", 1500), ("numpy-plain", 6)])
def test_ctrl_c_leaves_the_parameters_of_the_last_whole_mini_batch(run_python, backend, hidden):
    done = run_python(INTERRUPTED, backend, str(hidden))
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.startswith("after")


def test_ctrl_c_is_checked_every_tenth_of_a_second(monkeypatch):
    counts = []

    def take_a_millisecond_each(loop, run, order, eta):
        counts.append(run.batches)
        loop.state.done += run.batches
        return 0.001 * run.batches

    monkeypatch.setattr(training.MiniBatches, "_run", take_a_millisecond_each)
    fastbp.Network([8, 3], rng=0).train(*make_data(400), epochs=2, mini_batch_size=1, progress=False)
    assert counts == [1, 4, 16, 64, 100, 100, 100, 15, 100, 100, 100, 100]


def test_a_signal_handler_of_the_user_is_not_replaced():
    import signal

    from fastbp.backends.interrupts import uninterrupted

    calls = []
    before = signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            assert calls == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_repeated_ctrl_c_is_deferred():
    import signal

    from fastbp.backends.interrupts import uninterrupted

    reached = []

    def press_twice():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
            reached.append(1)

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert reached == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


FORKED = """
import os, sys
import numpy as np
import fastbp

def train():
    x = np.random.default_rng(0).random((300, 600), np.float32)
    net = fastbp.Network([300, 400, 3], rng=0)
    net.train(x, np.arange(600) % 3, epochs=2, mini_batch_size=200)
    return net.weights[0].sum()

here = train()
child = os.fork()
if child == 0:
    os._exit(0 if train() == here else 3)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""

THREADED = """
import threading
import numpy as np
import fastbp

results = {}

def train(name):
    x = np.random.default_rng(0).random((300, 600), np.float32)
    net = fastbp.Network([300, 400, 3], rng=0)
    net.train(x, np.arange(600) % 3, epochs=10, mini_batch_size=50, progress=False)
    results[name] = net.weights[0]

threads = [threading.Thread(target=train, args=(name,)) for name in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
train("alone")
assert np.array_equal(results[0], results[1])
assert np.array_equal(results[0], results["alone"])
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system cannot fork")
def test_training_in_a_forked_child_after_training_in_the_parent(run_python):
    script = (
        "import warnings\nwarnings.filterwarnings('ignore', category=DeprecationWarning)\n"  # from Python 3.12, of fork
    )
    done = run_python(script + FORKED, timeout=60)
    assert done.returncode == 0, done.stderr


def test_training_in_two_threads_at_once(run_python):
    done = run_python(THREADED, timeout=60)
    assert done.returncode == 0, done.stderr


def test_str_of_an_epoch():
    epoch = fastbp.Epoch(3, 30, 0.5, None, None, 2.0, 1e6)
    assert str(epoch) == "epoch  3/30  cost 0.5000  1,000,000 examples/s  54 s left"
    assert "left" not in str(epoch._replace(number=1)) + str(epoch._replace(number=30))
    assert "validation  97.50%" in str(epoch._replace(validation_cost=1.0, validation_accuracy=0.975))
    assert "validation cost 1.0000" in str(epoch._replace(validation_cost=1.0))


def test_allocations_do_not_depend_on_the_number_of_mini_batches():
    """Numba counts the arrays that are passed in: as many for 2 mini-batches as for 200."""
    from numba.core.runtime import _nrt_python, rtsys

    from fastbp import equations
    from fastbp.operations import Examples, WorkspacePool, step_config
    from fastbp.optimizers import Adam
    from fastbp.parameters import as_parameters, new_optimizer_state

    _nrt_python.memsys_enable_stats()
    net = fastbp.Network([8, 6, 3], ["softplus", "softmax"], "log-likelihood", rng=0)
    plan, m = net._plan, 10
    rule = Adam().rule
    plan = dataclasses.replace(plan, formulas=dataclasses.replace(plan.formulas, rule=rule))
    operations, moments = plan.operations(), new_optimizer_state(plan, rule)
    p = as_parameters(net.weights, net.biases, plan)
    ws = WorkspacePool(plan, operations, m).workspace(m)
    data = [plan.backend.upload(np.ones((2000, n), np.float32)) for n in (8, 3, 0)]
    examples = Examples(*data, 1.0)
    total = np.zeros(1)
    counts = []
    for n in (20, 20, 2000):
        order = plan.backend.upload(np.arange(n))
        step = step_config(Adam(), 0.001, steps=0, count=n // m, lmbda=0.1, n=n)
        before = rtsys.get_allocation_stats().alloc
        plan.backend.run(equations.train_mini_batches, operations, p, moments, ws, examples, order, step, m, total)
        counts.append(rtsys.get_allocation_stats().alloc - before)
    assert counts[1] == counts[2]


def test_divergence_in_the_last_update_is_detected():
    net = fastbp.Network([8, 3], "identity", rng=0)
    with pytest.raises(fastbp.DivergedError, match="no longer finite in epoch 1"):
        net.train(*make_data(40), epochs=1, mini_batch_size=40, eta=1e300, progress=False)
