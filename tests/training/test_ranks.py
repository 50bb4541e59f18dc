"""Training over MPI, compared with training on one process. The programs are in `tests/mpi_programs.py`."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from mpi_runs import ENVIRONMENT, PROGRAMS, command, mpiexec, needs_mpi, program

import fastbp
from fastbp.optimizers import OPTIMIZERS

pytestmark = needs_mpi
NAMES = [name for name in OPTIMIZERS if name != "lbfgs"]
BOUNDS = dict.fromkeys(("sgd", "momentum", "nesterov"), 1e-12)  # relative to the largest parameter

results = cache(program)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_every_optimizer_trains_as_on_one_process(ranks, name):
    """With L2 regularisation, weights, dropout, validation and a short last mini-batch."""
    found = results(ranks, "optimizers", *NAMES)[name]
    assert found["bits"] == 1
    assert found["again"]
    assert found["difference"] <= BOUNDS.get(name, 1e-8)
    assert found["cost"] <= 1e-8
    assert found["accuracy"]


@pytest.mark.parametrize(
    ("ranks", "backends"),
    [
        (2, ["numpy", "numpy-plain"]),
        pytest.param(3, ["numpy", "numpy-plain", "array_api_strict"], marks=pytest.mark.slow),
    ],
)
def test_a_rank_without_columns_takes_part(ranks, backends):
    for name, (difference, bits) in program(ranks, "no_columns", *backends).items():
        assert difference <= 1e-12, name
        assert bits == 1, name


def test_histories_schedules_early_stopping_and_callbacks():
    found = program(2, "epochs")
    assert found.pop("stopped") == [3, 3]
    for name, case in found.items():
        assert case.pop("difference") <= 1e-12, name
        assert case == {"cost": True, "validation cost": True, "same": True, "ranks": 1}, name


def test_checkpoints_are_resumed_on_as_many_ranks_and_on_one_process(tmp_path):
    found = program(2, "checkpoints", tmp_path)
    assert found["same bits"]
    assert found["one process"] <= 1e-8
    assert found["from one process"] <= 1e-8
    assert found["ranks"] == 1
    assert [name for name in found["files"] if not name.endswith(".lock")] == ["alone", "one", "run"]


@pytest.mark.parametrize("which", ["1", "all"])
def test_ctrl_c_stops_all_ranks_after_the_same_mini_batch(tmp_path, which):
    found = program(2, "ctrl_c", tmp_path, which)
    assert found == {
        "errors": ["KeyboardInterrupt: "] * 2, "stopped": 1, "done": found["done"], "same": True, "cost": True,
        "handler": True,
    }  # fmt: skip
    assert 0 < found["done"] < 1000


def test_what_differs_between_the_ranks_is_refused_on_every_rank():
    found = program(2, "refusals")
    got = "got {} on rank 0 and {} on rank 1"
    expected = {
        "rng": "the network (pass the same rng to Network) must be the same on all ranks; rank 1 differs from rank 0",
        "sizes": "sizes must be the same on all ranks; " + got.format("[12, 9, 3]", "[12, 8, 3]"),
        "lmbda": "lmbda must be the same on all ranks; " + got.format(0.2, 0.1),
        "mini_batch_size": "mini_batch_size must be the same on all ranks; " + got.format(15, 16),
        "optimizer": "optimizer must be the same on all ranks; " + got.format("'SGD'", "'Adam'"),
        "eta": "eta must be the same on all ranks; " + got.format("'Constant(eta=0.2)'", "'Constant(eta=0.1)'"),
        "epochs": "epochs must be the same on all ranks; " + got.format(2, 3),
        "validation": "validation must be the same on all ranks; " + got.format("None", 0.1),
        "sharded": "sharded must be the same on all ranks; " + got.format("False", "True"),
        "x": "x must be the same on all ranks; rank 1 differs from rank 0",
        "too few": "mini_batch_size must be at least the number of ranks, 2, got 1",
        "bad for all": "eta must be a positive number, got -1.0",
        "lbfgs": "optimizer must be the same on all ranks; " + got.format("'another optimizer'", "'lbfgs'"),
        "lbfgs, x": "x must be the same on all ranks; rank 1 differs from rank 0",
        "lbfgs, eta": "eta cannot be combined with optimizer 'lbfgs', got 0.1; leave it out: a line search finds the "
        "length of each step",
        "lbfgs, checkpoint": "checkpoint cannot be combined with optimizer 'lbfgs', got 'run'; leave it out: the state "
        "of L-BFGS is inside SciPy; a callback can call net.save",
        "callback": "rank 1: callback must be a function of an Epoch, got 3",
        "not a communicator": "comm must be a communicator of mpi4py, like MPI.COMM_WORLD, got 'world'",
        "resume without a file": "rank 0: resume needs a checkpoint; for example, pass checkpoint='run.safetensors'",
    }
    for name, message in expected.items():
        assert found.pop(name) == [f"InputError: {message}"] * 2, name
    assert found.pop("the shape of x")[0].startswith("InputError: the shape of x must be the same on all ranks; got")
    assert found.pop("bad data")[0].startswith("InputError: rank 1: y must have")
    assert not found


def test_an_error_on_one_rank_is_raised_on_every_rank(tmp_path):
    found = program(2, "failures", tmp_path)
    assert found["callback"] == ["RankError: rank 1: LookupError: no such epoch", "LookupError: no such epoch"]
    assert len(set(found["diverged"])) == 1
    assert found["diverged"][0].startswith("DivergedError: the cost is no longer finite in epoch 3")
    assert len(set(found["parameters"])) == 1
    assert found["parameters"][0].startswith(
        "RankError: after epoch 3, the parameters of 1 rank (1) differ from those of rank 0"
    )
    assert "eta" in found["schedule"][0]
    assert len(set(found["schedule"])) == 1
    assert len(set(found["checkpoint"])) == 1
    assert found["checkpoint"][0].startswith("CheckpointError: training has finished, but its last checkpoint was not")
    assert found["after that"] == [2, True]


def test_an_error_within_an_epoch_ends_all_ranks_and_names_the_rank(tmp_path):
    start = time.monotonic()
    done = mpiexec(2, PROGRAMS, "abort", tmp_path, timeout=60)
    assert done.returncode != 0
    assert "fastbp: rank 1: MemoryError: nothing left" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - start < 60
    assert [name for name in os.listdir(tmp_path) if not name.endswith(".lock")] == ["run"]  # of the second epoch


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_lbfgs_searches_as_on_one_process(ranks):
    """Twenty iterations with L2 regularisation, weights, and the kinds of inputs and of validation."""
    found = program(ranks, "lbfgs")
    assert found.pop("stopped") == [3] * ranks
    assert found.pop("assigned") <= 1e-12
    assert found.pop("patience")["epochs"] < 40
    assert len(found) == 5
    for name, case in found.items():
        assert case.pop("cost") <= 1e-8, name
        assert case == {"bits": 1, "again": True, "same": True, "epochs": 20}, name


def test_lbfgs_with_examples_of_which_each_rank_sees_only_its_own(tmp_path, rng):
    """Sizes 1:2. The sum does not depend on the order of the examples, so the costs are those of the joint run."""
    x = rng.random((12, 900))
    y = x[:3].argmax(axis=0)
    options = {"optimizer": "lbfgs", "epochs": 20, "lmbda": 0.3, "class_weight": "balanced"}
    shard_files(tmp_path, x, y, [300, 600], options | {"mini_batch_size": None, "eta": None})
    found = program(2, "lbfgs_shards", tmp_path)
    net = fastbp.Network([12, 9, 7, 3], ["tanh", "sigmoid", "softmax"], "log-likelihood", dtype="float64", rng=3)
    history = net.train(x, y, progress=False, **options)
    np.testing.assert_allclose(found.pop("cost"), history.cost, rtol=1e-8)
    assert found == {"bits": 1, "same": True, "examples": [300, 600]}


def test_an_error_on_one_rank_ends_lbfgs_on_every_rank():
    found = program(2, "lbfgs_failures")
    assert found["callback"] == ["RankError: rank 1: LookupError: no such epoch", "LookupError: no such epoch"]
    different = "RankError: after epoch 2, the parameters of 1 rank (1) differ from those of rank 0; "
    assert found["parameters"][0].startswith(different)
    assert found["diverged"][0].startswith("DivergedError: the cost is not finite in epoch 1; scale the inputs to")
    for name in ("parameters", "diverged"):
        assert len(set(found[name])) == 1
    failed = ["RankError: rank 1: MemoryError: nothing left", "MemoryError: nothing left"]
    assert found["evaluation"] == [failed, True]
    for which in ("one", "all"):
        assert found[f"ctrl-c on {which}"] == [["KeyboardInterrupt: "] * 2, True]
    assert found["handler"]


def shard_files(folder, x, y, counts, options):
    """Write the examples of each rank to a folder of its own."""
    starts = np.cumsum([0, *counts])
    for rank, (start, stop) in enumerate(pairwise(starts)):
        own = folder / f"rank{rank}"
        own.mkdir()
        np.savez(own / "data.npz", x=x[:, start:stop], y=y[start:stop])
        (own / "options.json").write_text(json.dumps(options))


def test_each_rank_may_have_its_own_examples(tmp_path, rng):
    """Sizes 1:2. The joint run has another order, so its costs agree within 2 %."""
    x = rng.random((12, 900))
    y = x[:3].argmax(axis=0)
    options = {"epochs": 8, "mini_batch_size": 16, "eta": 0.1, "lmbda": 0.1}
    shard_files(tmp_path, x, y, [300, 600], options)
    found = program(2, "shards", tmp_path)
    net = fastbp.Network([12, 9, 7, 3], ["tanh", "sigmoid", "softmax"], "log-likelihood", dtype="float64", rng=3)
    history = net.train(x, y, progress=False, **options)
    np.testing.assert_allclose(found["cost"], history.cost, rtol=0.02)
    assert (found["bits"], found["same"], found["resumed"]) == (1, True, True)


def test_shards_in_one_mini_batch_take_the_step_of_one_process(tmp_path, rng):
    """With all examples in each mini-batch, their order does not matter."""
    x, y = rng.random((12, 31)), np.r_[np.zeros(20, int), rng.integers(0, 3, 11)]
    options = {"epochs": 4, "mini_batch_size": 31, "eta": 0.1, "lmbda": 0.3, "class_weight": "balanced"}
    shard_files(tmp_path, x, y, [10, 21], options)
    found = program(2, "shards", tmp_path)
    net = fastbp.Network([12, 9, 7, 3], ["tanh", "sigmoid", "softmax"], "log-likelihood", dtype="float64", rng=3)
    history = net.train(x, y, progress=False, **options)
    expected = np.concatenate([np.ravel(array) for array in (*net.weights, *net.biases)])
    np.testing.assert_allclose(found["weights"], expected, atol=1e-12 * abs(expected).max())
    np.testing.assert_allclose(found["cost"], history.cost, rtol=1e-12)


def processes(log):
    """Return the process ids of the ranks, when all of them have started."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = [line.split() for line in log.read_text().splitlines() if line.startswith("pid")]
        if len(lines) == 2:
            return {int(rank): int(number) for _, rank, number in lines}
        time.sleep(0.02)
    raise TimeoutError(log.read_text())


def run_and_disturb(folder, epochs, disturb, seconds, name="long_run", **environment):
    """Start a program that trains, disturb it after some seconds, and return its exit code and its output.

    It must end within ten seconds of the disturbance.
    """
    log = folder / "log"
    with open(log, "w") as file:
        arguments = command(2, PROGRAMS, name, folder / "run", epochs)
        environment = {**os.environ, **ENVIRONMENT, **environment}
        with subprocess.Popen(arguments, stdout=file, stderr=file, env=environment) as job:
            try:
                ranks = processes(log)
                time.sleep(seconds)
                with suppress(ProcessLookupError):  # on a fast machine, the program may have ended
                    disturb(job.pid, ranks)
                job.wait(timeout=10)
            finally:
                job.kill()
    return job.returncode, log.read_text()


def test_a_killed_rank_ends_the_job_and_the_run_is_resumed(tmp_path):
    def kill(job, ranks):
        while not (tmp_path / "run").exists():
            time.sleep(0.02)
        os.kill(ranks[1], signal.SIGKILL)

    code, _ = run_and_disturb(tmp_path, 30, kill, 0)
    assert code != 0
    resumed = program(2, "long_run", tmp_path / "run", 30)
    (tmp_path / "whole").mkdir()
    assert resumed == program(2, "long_run", tmp_path / "whole" / "run", 30)
    assert resumed["digest"] == 1


def test_sigint_to_one_rank_ends_lbfgs_on_every_rank(tmp_path):
    def press(job, ranks):
        os.kill(ranks[1], signal.SIGINT)

    code, text = run_and_disturb(tmp_path, 10**9, press, 0, "endless_search")
    assert code != 0
    assert text.count("in <module>\n") == 2, text  # one traceback for each rank
    assert text.count("KeyboardInterrupt\n") >= 2, text  # more if one of them is raised from another


@pytest.mark.slow
def test_twenty_kills_at_random_moments(tmp_path):
    """SIGKILL of a rank, SIGINT to one rank or to the job, an exception on one rank. Each run is then resumed."""
    rng = np.random.default_rng(int(os.environ.get("FASTBP_KILLS_SEED", "0")))
    (tmp_path / "whole").mkdir()
    whole = program(2, "long_run", tmp_path / "whole" / "run", 150)
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        kind, rank = number % 4, int(rng.integers(2))
        disturb = [
            lambda job, ranks, rank=rank: os.kill(ranks[rank], signal.SIGKILL),
            lambda job, ranks, rank=rank: os.kill(ranks[rank], signal.SIGINT),
            lambda job, ranks: os.kill(job, signal.SIGINT),
            lambda job, ranks: time.sleep(3),
        ][kind]
        fail = {"FAIL": f"{rank},{int(rng.integers(1, 20))}"} if kind == 3 else {}
        code, text = run_and_disturb(folder, 150, disturb, float(rng.uniform(0, 3)), **fail)
        assert code != 0 or "parameters" in text, (number, text)
        assert set(os.listdir(folder)) <= {"log", "run", "run.lock"}, number
        assert program(2, "long_run", folder / "run", 150) == whole, number
