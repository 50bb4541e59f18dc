"""The command, as a person runs it."""

import os
import signal
import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-W", "error", "-c", "from fastbp.cli import main; main()"]


def run(*arguments, **environment):
    merged = {**os.environ, **environment}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120, env=merged)


def test_train_alone_ends_with_accuracy_time_and_what_to_try_next():
    done = run("train")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "<Network 64-30-10: sigmoid, sigmoid; quadratic cost; float32 on numpy>"
    assert lines[1] == "1,259 examples to train on, 179 to validate, 359 to test"
    assert "% of the 359 test examples right" in lines[2]
    assert float(lines[2].partition("%")[0]) >= 96
    assert lines[3].startswith("100 epochs in ")
    assert "Try next:  fastbp train" in done.stdout
    assert "epoch 100/100" in done.stderr


def test_what_it_says_to_try_next_works(tmp_path):
    from fastbp.cli import _NEXT

    arguments = _NEXT.splitlines()[0].partition("fastbp ")[2].split()
    done = run(*[str(tmp_path / word) if word == "curves.png" else word for word in arguments])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_every_option(tmp_path):
    picture = tmp_path / "curves.svg"
    options = {
        "--sizes": "64-20-15-10",
        "--epochs": "2",
        "--mini-batch-size": "20",
        "--eta": "0.1",
        "--lmbda": "0.1",
        "--cost": "log-likelihood",
        "--activations": "tanh,relu,softmax",
        "--backend": "numpy-plain",
        "--dtype": "float64",
        "--seed": "3",
        "--plot": str(picture),
    }
    done = run("train", *[word for pair in options.items() for word in pair])
    assert done.returncode == 0, done.stderr
    assert "tanh, relu, softmax; log-likelihood cost; float64 on numpy-plain" in done.stdout
    assert "<svg" in picture.read_text()
    assert os.listdir(tmp_path) == ["curves.svg"]


def test_the_environment_chooses_the_backend():
    assert "on numpy-plain" in run("train", "--epochs", "1", FASTBP_BACKEND="numpy-plain").stdout


def test_the_seed_decides_the_result():
    outputs = [run("train", "--epochs", "3", "--seed", seed).stderr.splitlines()[-1].split("  ")[1] for seed in "112"]
    assert outputs[0] == outputs[1] != outputs[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
        (["train", "--epoch", "x"], "epoch"),
        (["train", "--epochs", "three"], "'three' is not a valid integer"),
        (["train", "--epochs", "0"], "epochs is 0; wanted is a whole number of at least 1"),
        (["train", "--eta", "nan"], "eta is nan; wanted is a finite number, positive"),
        (["train", "--mini-batch-size", "2000"], "mini_batch_size is 2000; wanted is a whole number from 1 to 1259"),
        (["train", "--sizes", "64,10"], "--sizes is '64,10'; wanted are whole numbers with '-' between"),
        (["train", "--sizes", "784-30-10"], "the data have 64 inputs and 10 classes: wanted is 64-…-10"),
        (["train", "--sizes", "64-0-10"], "sizes[1] is 0"),
        (["train", "--cost", "quadratc"], "unknown cost 'quadratc'; did you mean 'quadratic'?"),
        (["train", "--cost", "cross-entropy", "--activations", "relu"], "'cross-entropy' does not go with 'relu'"),
        (["train", "--activations", "relu,sigmiod"], "unknown activation 'sigmiod'; did you mean 'sigmoid'?"),
        (
            ["train", "--backend", "cupy"],
            "backend 'cupy' cannot be used: this version of fastbp has no CUDA",
        ),
        (["train", "--dtype", "half"], "dtype is 'float16'; valid: float32, float64"),
        (["train", "--seed", "-1"], "rng is -1"),
        (["train", "--plot", "curves.gif"], "valid endings: .png, .svg"),
        (["train", "--plot", "/nowhere/at/all/curves.png"], "is no folder that can be written to"),
        (["train", "--activations", "identity", "--cost", "quadratic", "--eta", "1e9"], "the cost is no longer finite"),
        (["train", "extra"], "extra"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1 or "epoch" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("fastbp: ")
    assert "Traceback" not in done.stderr


def test_without_matplotlib_the_extra_is_named(run_python):
    source = "import sys, fastbp.plots\nfastbp.plots.find_spec = lambda name: None\n"
    source += "sys.argv = ['fastbp', 'train', '--plot', 'c.png']\nfrom fastbp.cli import main\nmain()"
    done = run_python(source)
    assert done.returncode == 2
    assert done.stderr == "fastbp: pictures need matplotlib, which is not installed: pip install 'fastbp[plot]'\n"


def test_help_and_version():
    assert "Usage: fastbp [OPTIONS] COMMAND" in run().stdout
    assert "--mini-batch-size INTEGER" in run("train", "--help").stdout
    assert run("--version").stdout == "fastbp, version 0.1.0\n"


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_ends_with_what_was_reached():
    process = subprocess.Popen(
        [*COMMAND, "train", "--epochs", "1000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if line.startswith("epoch"):
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped by Ctrl-C in epoch" in err
    assert "% of the 359 test examples right" in out
    assert "Traceback" not in err
