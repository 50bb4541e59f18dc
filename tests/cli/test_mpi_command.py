"""The command on several ranks: one display, one set of files, and one message for an error."""

import os
import signal
import subprocess
import time

import numpy as np
from click.testing import CliRunner
from mpi_runs import ENVIRONMENT, command, mpiexec, needs_mpi

import fastbp
from fastbp import cli

pytestmark = needs_mpi
TRAIN = ("-m", "fastbp", "train", "--mpi", "--hidden", "12")


def test_training_prints_once_and_writes_the_network_of_one_process(tmp_path):
    options = ("--epochs", 4, "--dtype", "float64", "--optimizer", "momentum", "--patience", 3)
    files = ("--save", tmp_path / "net.safetensors", "--checkpoint", tmp_path / "run", "--plot", tmp_path / "c.svg")
    done = mpiexec(2, *TRAIN, *options, *files)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(set(lines))
    assert "2 ranks with 1 thread each" in lines
    assert sum(line.startswith("epoch 4/4") for line in done.stderr.splitlines()) == 1
    assert set(os.listdir(tmp_path)) - {"run.lock"} == {"net.safetensors", "run", "c.svg"}
    alone = mpiexec(1, *TRAIN[:3], *TRAIN[4:], *options, "--save", tmp_path / "alone.safetensors")
    assert alone.returncode == 0, alone.stderr
    nets = [fastbp.load(tmp_path / f"{name}.safetensors") for name in ("net", "alone")]
    for here, there in zip(nets[0].weights, nets[1].weights, strict=True):
        np.testing.assert_allclose(here, there, atol=1e-12)
    resumed = mpiexec(2, *TRAIN, *options[2:], "--epochs", 6, "--checkpoint", tmp_path / "run", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr.count("continuing with epoch") == 1


def test_lbfgs_finds_the_network_of_one_process(tmp_path):
    options = ("--epochs", 10, "--dtype", "float64", "--optimizer", "lbfgs", "--lmbda", 0.1)
    done = mpiexec(2, *TRAIN, *options, "--save", tmp_path / "net.safetensors")
    assert done.returncode == 0, done.stderr
    assert sum(line.startswith("10 epochs in ") for line in done.stdout.splitlines()) == 1
    assert sum(line.startswith("epoch 10/10") for line in done.stderr.splitlines()) == 1
    arguments = ("train", *TRAIN[4:], *options, "--save", tmp_path / "alone.safetensors")
    alone = CliRunner().invoke(cli.fastbp, [*map(str, arguments)])
    assert alone.exit_code == 0, alone.output
    nets = [fastbp.load(tmp_path / f"{name}.safetensors") for name in ("net", "alone")]
    for here, there in zip(nets[0].weights, nets[1].weights, strict=True):
        np.testing.assert_allclose(here, there, atol=1e-8)


def test_an_error_is_printed_once(tmp_path):
    for arguments, message in (
        (("--eta", -1), "eta must be a positive number, got -1.0"),
        (("--mini-batch-size", 1), "mini_batch_size must be at least the number of ranks, 2, got 1"),
        (("--data", tmp_path / "missing.csv"), "missing.csv"),
        (("--data", "-"), "--mpi cannot read standard input"),
    ):
        done = mpiexec(2, *TRAIN, *arguments)
        assert done.returncode == 2, done.stderr
        found = [line for line in done.stderr.splitlines() if line.startswith("fastbp: ")]
        assert len(found) == 1
        assert message in found[0]


def test_a_file_that_cannot_be_saved_fails_after_training(tmp_path):
    done = mpiexec(2, *TRAIN, "--epochs", 1, "--plot", tmp_path / "missing" / "curves.svg")
    assert done.returncode == 2
    assert done.stderr.count("fastbp: ") == 1


def test_ctrl_c_stops_the_job_and_saves_the_network(tmp_path):
    log = tmp_path / "log"
    with open(log, "w") as file:
        arguments = command(2, *TRAIN, "--epochs", 10**6, "--save", tmp_path / "net.safetensors")
        with subprocess.Popen(arguments, stdout=file, stderr=file, env={**os.environ, **ENVIRONMENT}) as job:
            try:
                deadline = time.monotonic() + 60
                while "epoch" not in log.read_text() and time.monotonic() < deadline:
                    time.sleep(0.02)
                job.send_signal(signal.SIGINT)
                job.wait(timeout=20)
            finally:
                job.kill()
    assert job.returncode == 130, log.read_text()
    assert log.read_text().count("stopped by Ctrl-C in epoch") == 1
    assert fastbp.load(tmp_path / "net.safetensors").sizes == (64, 12, 10)


def test_the_self_test_checks_training_on_several_ranks():
    done = mpiexec(2, "-m", "fastbp", "check")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if "ranks" in line]
    assert [row.split()[-1] for row in rows] == ["ok"] * 6
    assert rows[0].startswith("one epoch on 2 ranks with sgd, float64, vs one process")
