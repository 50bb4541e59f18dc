"""The command `fastbp`, as users run it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import FASTBP
from commands import run_command as run

import fastbp
from fastbp import datasets
from fastbp.backends.cupy.diagnosis import unavailable_reason

_FOLDERS = [os.environ.get("FASTBP_DATA"), Path(__file__).parents[3] / "shared/data/mnist"]
MNIST = next((folder for folder in _FOLDERS if folder and Path(folder, "train-images-idx3-ubyte.gz").exists()), None)


def test_train_without_options_ends_with_accuracy_time_and_next_steps():
    done = subprocess.run([*FASTBP, "train"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "<Network 64-30-10: sigmoid, sigmoid; quadratic cost; float32 on numpy>"
    assert lines[1] == "1,259 training, 179 validation and 359 test examples"
    assert "% on the 359 test examples" in lines[2]
    assert float(lines[2].removeprefix("accuracy ").partition("%")[0]) >= 96
    assert lines[3].startswith("100 epochs in ")
    assert "Try next:  fastbp train" in done.stdout
    assert "epoch 100/100" in done.stderr


def test_the_first_of_the_next_steps_works(tmp_path):
    from fastbp.cli.train import next_steps

    arguments = next_steps().splitlines()[0].partition("fastbp ")[2].split()
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
        "--dropout": "0.1,0.2,0.3",
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


def test_an_environment_variable_selects_the_backend():
    assert "on numpy-plain" in run("train", "--epochs", "1", FASTBP_BACKEND="numpy-plain").stdout


def test_the_seed_determines_the_result():
    outputs = [run("train", "--epochs", "3", "--seed", seed).stderr.splitlines()[-1].split("  ")[1] for seed in "112"]
    assert outputs[0] == outputs[1] != outputs[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
        (["train", "--epoch", "x"], "epoch"),
        (["train", "--epochs", "three"], "'three' is not a valid integer"),
        (["train", "--epochs", "0"], "epochs must be an integer >= 1, got 0"),
        (["train", "--eta", "nan"], "eta must be a positive number, got nan"),
        (
            ["train", "--dropout", "half"],
            "--dropout must be a rate, or rates separated by ',', like 0.2,0.5; got 'half'",
        ),
        (["train", "--dropout", "1"], "dropout must be at least 0 and below 1, got 1.0"),
        (["train", "--mini-batch-size", "2000"], "mini_batch_size must be an integer from 1 to 1259, got 2000"),
        (["train", "--sizes", "64,10"], "--sizes must be integers separated by '-', like 64-30-10, got '64,10'"),
        (["train", "--sizes", "784-30-10"], "--sizes must be 64-…-10, got '784-30-10'; the data have 64 inputs"),
        (["train", "--sizes", "64-30-10", "--hidden", "30"], "--sizes and --hidden cannot be combined"),
        (["train", "--hidden", "x"], "--hidden must be integers separated by '-', like 100 or 100-50, got 'x'"),
        (["train", "--task", "clustering"], "unknown task 'clustering'"),
        (["train", "--scale", "standard"], "--scale is for tables and other files with a label, not for digits"),
        (["train", "--sizes", "64-0-10"], "sizes[1] must be an integer >= 1, got 0"),
        (["train", "--cost", "quadratc"], "unknown cost 'quadratc'; did you mean 'quadratic'?"),
        (["train", "--cost", "cross-entropy", "--activations", "relu"], "'cross-entropy' cannot be used with 'relu'"),
        (["train", "--activations", "relu,sigmiod"], "unknown activation 'sigmiod'; did you mean 'sigmoid'?"),
        (
            ["train", "--backend", "cupy:999"],
            "backend 'cupy' cannot be used: ",
        ),
        (["train", "--dtype", "half"], "dtype must be float32 or float64, got 'float16'"),
        (["train", "--seed", "-1"], "--seed must be an integer >= 0, got -1"),
        (["train", "--plot", "curves.gif"], "must end with .png or .svg, got 'curves.gif'"),
        (["train", "--plot", "/nowhere/at/all/curves.png"], "is not a writable folder"),
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


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("fastbp.plots.canvas.find_spec", lambda name: None)
    done = run("train", "--plot", "c.png")
    assert done.returncode == 2
    assert done.stderr == "fastbp: pictures need matplotlib, which is not installed: pip install 'fastbp[plot]'\n"


def test_help_and_version():
    assert "Usage: fastbp [OPTIONS] COMMAND" in run().stdout
    assert "--mini-batch-size INTEGER" in run("train", "--help").stdout
    assert run("--version").stdout == f"fastbp, version {fastbp.__version__}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_ends_training_and_tests_the_network():
    process = subprocess.Popen(
        [*FASTBP, "train", "--epochs", "1000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if line.startswith("epoch"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "stopped by Ctrl-C in epoch" in err
    assert "% on the 359 test examples" in out
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the path of a network that the command trained and saved, and what the command printed."""
    path = tmp_path_factory.mktemp("saved") / "digits.safetensors"
    done = run("train", "--epochs", "20", "--save", str(path))
    assert done.returncode == 0, done.stderr
    return path, done.stdout


def test_evaluate_prints_the_accuracy_at_the_end_of_training(saved):
    path, trained = saved
    done = run("evaluate", str(path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1] == "359 examples of digits"
    accuracy = re.search(r"([\d.]+)% on the 359 test examples", trained)[1]
    assert lines[2].startswith(f"accuracy {accuracy}%")
    assert sum(int(n) for line in lines[4:] for n in line.replace("·", "0").split()[1:]) == 359


def test_predict_reads_every_format_and_writes_csv(saved, tmp_path):
    (x, _), _ = datasets.digits()
    net, rows = fastbp.load(saved[0]), np.ascontiguousarray(x[:, :7].T)
    np.savetxt(tmp_path / "x.csv", rows, delimiter=",")
    np.savez(tmp_path / "x.npz", x=rows)
    header = b"\0\0\x0d\2" + np.array([7, 64], ">u4").tobytes()
    (tmp_path / "x.idx").write_bytes(header + rows.astype(">f4").tobytes())
    texts = []
    for name in ("x.csv", "x.npz", "x.idx"):
        done = run("predict", str(saved[0]), str(tmp_path / name))
        assert done.returncode == 0, done.stderr
        texts.append(done.stdout)
    assert texts[0] == texts[1] == texts[2]
    lines = [line.split(",") for line in texts[0].splitlines()]
    assert lines[0] == ["class", *[f"output_{j}" for j in range(10)]]
    assert [int(line[0]) for line in lines[1:]] == net.predict(rows.T).tolist()
    np.testing.assert_allclose(np.array([line[1:] for line in lines[1:]], float).T, net.feedforward(rows.T), rtol=1e-6)
    run("predict", str(saved[0]), str(tmp_path / "x.csv"), "--output", str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text() == texts[0]


def test_inputs_of_a_csv_file_are_scaled_and_the_scale_is_saved(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    rows = np.column_stack([1000.0 * (labels == c) + rng.normal(0, 100, 300) for c in range(3)])
    data = tmp_path / "own.csv"
    names = "size,weight,age,kind"
    np.savetxt(data, np.column_stack([rows, labels]), delimiter=",", header=names, comments="")
    model = tmp_path / "own.safetensors"
    done = run("train", "--data", str(data), "--label", "kind", "--epochs", "30", "--save", str(model))
    assert done.returncode == 0, done.stderr
    assert "240 training, 30 validation and 30 test examples" in done.stdout
    features = fastbp.load(model).preparation.features
    assert [feature.name for feature in features] == ["size", "weight", "age"]
    np.testing.assert_allclose([f.offset for f in features], rows.mean(axis=0), rtol=0.05)  # of the training part
    np.testing.assert_allclose([1 / f.factor for f in features], rows.std(axis=0), rtol=0.05)
    evaluated = run("evaluate", str(model), "--data", str(data)).stdout
    assert float(re.search(r"accuracy ([\d.]+)%", evaluated)[1]) > 95


def test_resume_continues_training(tmp_path):
    path = str(tmp_path / "run")
    first = run("train", "--epochs", "5", "--checkpoint", path)
    assert first.returncode == 0, first.stderr
    on = run("train", "--epochs", "10", "--checkpoint", path, "--resume", "--save", str(tmp_path / "a"))
    whole = run("train", "--epochs", "10", "--save", str(tmp_path / "b"))
    assert "epoch 10/10" in on.stderr
    assert whole.returncode == 0, whole.stderr
    for a, b in zip(fastbp.load(tmp_path / "a").weights, fastbp.load(tmp_path / "b").weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_info_prints_versions_backends_and_the_cache():
    out = run("info").stdout
    for word in (
        "NumPy",
        "Numba",
        "BLAS",
        "threads",
        "compiled code",
        "backend numpy",
        f"cupy               {unavailable_reason()}",
    ):
        assert word in out


def test_check_passes_and_exits_with_1_if_a_check_fails(run_python):
    done = run("check", "--backend", "numpy-plain")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "all passed"
    source = """
import sys, fastbp.cli.check.host
fastbp.cli.check.host.checks = lambda backend: [fastbp.cli.check.host.Check("something", float("nan"), 1.0)]
sys.argv = ["fastbp", "check"]
from fastbp.cli import main
main()
"""
    failing = run_python(source)
    assert failing.returncode == 1
    assert re.search(r"^something +nan 1.0e\+00 FAILED$", failing.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "digit"], "did you mean 'digits'?"),
        (["train", "--schedule", "cosin"], "unknown schedule 'cosin'; did you mean 'cosine'?"),
        (["train", "--resume"], "resume needs a checkpoint"),
        (["train", "--save", "/nowhere/at/all.safetensors"], "cannot write '/nowhere/at/all.safetensors'"),
        (["train", "--momentum", "1"], "momentum must be at least 0 and below 1, got 1.0"),
        (["train", "--optimizer", "adm"], "unknown optimizer 'adm'; did you mean 'adam'?"),
        (
            ["train", "--optimizer", "adam", "--momentum", "0.9"],
            "momentum=0.9 cannot be combined with optimizer 'adam'",
        ),
        (["train", "--class-weight", "heavy"], "'heavy' is not 'balanced'"),
        (["evaluate"], "Missing argument 'MODEL'; usage: fastbp evaluate [OPTIONS] MODEL"),
        (["predict", "m", "--data", "x"], "No such option '--data'; usage: fastbp predict [OPTIONS] MODEL FILE"),
        (["evaluate", "missing.safetensors"], "cannot load 'missing.safetensors'"),
        (["predict", "missing.safetensors", "x.csv"], "cannot load 'missing.safetensors'"),
        (["check", "--backend", "cupy:999"], "backend 'cupy' cannot be used"),
    ],
)
def test_errors_of_the_other_commands(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("fastbp: ")
    assert done.stderr.count("\n") == 1


def test_data_that_do_not_fit_the_network_are_refused(saved, tmp_path):
    (tmp_path / "two.csv").write_text("1,2,0\n3,4,1\n")
    done = run("evaluate", str(saved[0]), "--data", str(tmp_path / "two.csv"))
    assert done.returncode == 2
    assert "the network has 64 inputs, but the examples of " in done.stderr


@pytest.mark.skipif(MNIST is None, reason="the MNIST files are not in the folder FASTBP_DATA")
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_mnist_reaches_94_percent_and_evaluate_agrees(seed, tmp_path):
    model = str(tmp_path / "m.safetensors")
    options = ["--sizes", "784-30-10", "--epochs", "10", "--mini-batch-size", "10", "--eta", "3.0"]
    trained = run("train", "--data", str(MNIST), *options, "--seed", str(seed), "--save", model)
    right = re.search(r"([\d.]+)% on the 10,000 test examples", trained.stdout)[1]
    assert float(right) >= 94
    assert f"accuracy {right}%" in run("evaluate", model, "--data", str(MNIST)).stdout


def test_shell_completion():
    environment = {**os.environ, "_FASTBP_COMPLETE": "bash_source"}
    done = subprocess.run(FASTBP, capture_output=True, text=True, env=environment)
    assert "complete -o nosort -F _fastbp_completion fastbp" in done.stdout


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("name", ["", "train", "evaluate", "predict", "export", "info", "check", "bench"])
def test_help_fits_the_terminal_and_breaks_no_word(columns, name):
    arguments = [name, "--help"] if name else ["--help"]
    wide = run(*arguments, COLUMNS="10000").stdout
    narrow = run(*arguments, COLUMNS=str(columns)).stdout
    assert max(map(len, narrow.splitlines())) <= columns
    assert narrow.split() == wide.split()
