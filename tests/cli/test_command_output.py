"""Outputs that fail: closed and full standard streams, files that cannot be written, Ctrl-C while they are."""

import errno
import io
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from commands import FASTBP, run_command

import fastbp
from fastbp import InputError, Network, cli
from fastbp.training import progress

TRAIN = ["train", "--backend", "numpy-plain", "--epochs", "2", "--mini-batch-size", "100"]
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # as users have it
FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")


class Failing(io.StringIO):
    """A stream that fails with an error number after some writes."""

    def __init__(self, number, after=0, terminal=False):
        super().__init__()
        self.number, self.after, self.terminal, self.failures = number, after, terminal, 0

    def isatty(self):
        return self.terminal

    def write(self, text):
        if self.after == 0:
            self.failures += 1
            raise OSError(self.number, os.strerror(self.number))
        self.after -= 1
        return super().write(text)


@pytest.fixture
def command():
    """Run the command in this process, on other streams; return the exit code and what was printed."""

    def run(*arguments, **streams):
        done = run_command(*arguments, **streams)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Return options that keep everything, and a function that asserts that it was kept; curves are not drawn."""
    monkeypatch.setattr(cli, "save_curves", lambda history, path, title: path.write_text("curves"))
    net, picture, state = (tmp_path / name for name in ("net.safetensors", "curves.svg", "run.safetensors"))

    def check(*, saved=True, drawn=True):
        assert net.exists() == saved
        assert not saved or fastbp.load(net).sizes == (64, 30, 10)
        assert picture.exists() == drawn
        assert state.exists()

    return ["--save", net, "--plot", picture, "--checkpoint", state], check


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the files of a network of the digits, and of inputs to it."""
    folder = tmp_path_factory.mktemp("saved")
    Network([64, 10], rng=0, backend="numpy-plain").save(folder / "net.safetensors")
    np.savez(folder / "x.npz", x=np.zeros((3, 64)))
    return folder / "net.safetensors", folder / "x.npz"


# ---- standard output


@pytest.mark.parametrize("after", [0, 2, 4])  # writes: a line and its end are two
@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 2), (errno.EPIPE, 141)])
def test_training_keeps_everything_when_standard_output_fails(number, code, after, command, kept):
    options, check = kept
    left, _, err = command(*TRAIN, *options, stdout=Failing(number, after))
    assert left == code
    check()
    said = [line for line in err.splitlines() if line.startswith("fastbp: ")]
    full = "fastbp: cannot write to standard output: No space left on device"
    assert said == ([full] if number == errno.ENOSPC else [])


@pytest.mark.parametrize("stdout", [None, Failing(errno.EPIPE)])
def test_training_that_would_leave_nothing_is_not_begun(stdout, command, monkeypatch):
    monkeypatch.setattr(Network, "train", lambda *arguments, **options: pytest.fail("trained"))
    code, _, err = command(*TRAIN, stdout=stdout)
    assert (code, err) == ((141, "") if stdout else (2, "fastbp: cannot write to standard output: it is closed\n"))


@pytest.mark.parametrize("name", ["evaluate", "predict", "info", "check", "no command"])
def test_commands_that_print_end_when_standard_output_fails(name, saved, command):
    arguments = {
        "evaluate": [name, saved[0], "--backend", "numpy-plain"],
        "predict": [name, *saved, "--backend", "numpy-plain"],
        "info": [name],
        "check": [name, "--backend", "numpy-plain"],
    }.get(name, [])
    assert command(*arguments, stdout=Failing(errno.EPIPE)) == (141, "", "")
    full = "fastbp: cannot write to standard output: No space left on device\n"
    assert command(*arguments, stdout=Failing(errno.ENOSPC)) == (2, "", full)
    assert command(*arguments, stdout=None) == (2, "", "fastbp: cannot write to standard output: it is closed\n")


def test_a_pipe_that_nothing_reads_ends_the_process_quietly(tmp_path):
    net = tmp_path / "net.safetensors"
    command = [*FASTBP, *TRAIN, "--save", net]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED)
    process.stdout.close()
    process.stdout = None  # which `communicate` would read
    _, err = process.communicate(timeout=60)
    assert process.returncode == 141, err
    assert [line.split()[0] for line in err.decode().splitlines()] == ["epoch"] * err.count(b"\n")  # progress alone
    assert net.exists()


@FULL
def test_a_full_standard_output_is_reported_once_by_the_process(tmp_path):
    net = tmp_path / "net.safetensors"
    with open("/dev/full", "w") as full:
        command = [*FASTBP, *TRAIN, "--save", net]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=BUFFERED)
    assert done.returncode == 2
    first, *others = done.stderr.splitlines()
    assert first == "fastbp: cannot write to standard output: No space left on device"
    assert all(line.startswith("epoch") for line in others), done.stderr
    assert net.exists()


def test_paths_that_are_not_utf_8_are_printed_with_escapes(tmp_path, command):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.safetensors")
    try:
        open(path, "x").close()
    except (OSError, UnicodeError):
        pytest.skip("this system has no such names of files")
    stdout = io.TextIOWrapper(io.BytesIO(), "utf-8")
    code, _, err = command(*TRAIN, "--save", path, stdout=stdout)
    assert code == 0, err
    assert rb"/\udcff.safetensors" in stdout.buffer.getvalue()


# ---- progress


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EBADF])
def test_progress_that_cannot_be_written_is_given_up_and_training_goes_on(number, terminal, monkeypatch):
    stream = Failing(number, 1, terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    net = Network([2, 3, 2], backend="numpy-plain", rng=0)
    history = net.train([[0.0, 1.0], [1.0, 0.0]], [0, 1], epochs=3, mini_batch_size=1)
    assert len(history.cost) == 3
    assert stream.failures <= 1  # the last line is always due, and after a failure nothing is


def test_a_closed_standard_error_does_not_end_training(monkeypatch):
    closed = io.StringIO()
    closed.close()
    later = io.StringIO()
    net = Network([2, 3, 2], backend="numpy-plain", rng=0)
    for stream, callback in ((None, None), (closed, None), (later, lambda epoch: later.close())):
        monkeypatch.setattr(sys, "stderr", stream)
        history = net.train([[0.0, 1.0], [1.0, 0.0]], [0, 1], epochs=2, mini_batch_size=1, callback=callback)
        assert len(history.cost) == 2


def test_the_message_about_an_automatic_backend_may_be_lost(monkeypatch):
    from fastbp import backends

    monkeypatch.setattr(sys, "stderr", Failing(errno.ENOSPC))
    assert backends._automatic.__wrapped__().name in ("numpy", "cupy")


@pytest.mark.parametrize("terminal", [False, True])
def test_the_command_ends_well_when_standard_error_fails(terminal, command, kept):
    options, check = kept
    code, out, _ = command(*TRAIN, *options, stderr=Failing(errno.ENOSPC, terminal=terminal))
    assert code == 0
    assert "% on the 359 test examples" in out
    check()


@FULL
def test_the_process_ends_well_when_standard_error_is_full():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*FASTBP, *TRAIN], stdout=subprocess.PIPE, stderr=full, text=True, env=BUFFERED)
    assert done.returncode == 0
    assert "% on the 359 test examples" in done.stdout


def test_the_time_left_includes_validation_and_checkpoints(monkeypatch, capsys):
    now = iter([0.0, 7.0, 17.0, 29.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    lines = progress.Lines()
    for number in (1, 2, 3):
        lines.finished(fastbp.Epoch(number, 5, 0.5, None, None, 2.0, 1000.0))
    said = capsys.readouterr().err.splitlines()
    assert ["left" in line for line in said] == [False, True, True]
    assert said[1].endswith("1,000 examples/s  30 s left")  # three epochs of 10 s, of which training takes 2
    assert said[2].endswith("1,000 examples/s  24 s left")


# ---- files


def raising(error):
    def call(*arguments, **options):
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("cannot write 'c.svg': No space left on device; nothing was changed"), "cannot write 'c.svg': No"),
        (OSError(errno.ENOSPC, "No space left on device"), "cannot draw the learning curves: No space left on device"),
        (ZeroDivisionError("in\nmatplotlib"), "cannot draw the learning curves: ZeroDivisionError: in matplotlib"),
    ],
)
def test_curves_that_cannot_be_drawn_cost_nothing_else(error, message, command, kept, monkeypatch):
    options, check = kept
    monkeypatch.setattr(cli, "save_curves", raising(error))
    code, out, err = command(*TRAIN, *options)
    assert code == 2
    check(drawn=False)
    assert err.splitlines()[-1].startswith(f"fastbp: {message}")
    assert "% on the 359 test examples" in out
    assert "network saved to " in out


def test_a_network_that_cannot_be_saved_costs_nothing_else(command, kept, monkeypatch):
    options, check = kept
    monkeypatch.setattr(Network, "save", raising(InputError("cannot write 'net'")))
    code, out, err = command(*TRAIN, *options)
    assert code == 2
    check(saved=False)
    assert err.splitlines()[-1] == "fastbp: cannot write 'net'"
    assert "network in" not in out


def test_a_checkpoint_that_fails_in_the_end_costs_nothing_else(command, kept, monkeypatch):
    options, check = kept
    train = Network.train

    def failing(net, *arguments, **options):
        train(net, *arguments, **options)
        raise InputError("cannot write 'run'")

    monkeypatch.setattr(Network, "train", failing)
    code, out, err = command(*TRAIN, *options)
    assert code == 2
    check()
    assert err.splitlines()[-1] == "fastbp: cannot write 'run'"
    assert "2 epochs in" in out


# ---- Ctrl-C


@pytest.mark.parametrize(("where", "name"), [(cli, "save_curves"), (Network, "accuracy")])
def test_ctrl_c_after_training_finds_the_network_saved(where, name, command, kept, monkeypatch):
    options, check = kept
    monkeypatch.setattr(where, name, raising(KeyboardInterrupt()))
    code, _, err = command(*TRAIN, *options)
    assert code == 130
    check(drawn=False)
    assert "Traceback" not in err


def test_ctrl_c_while_the_network_is_saved_saves_it_again(command, kept, monkeypatch):
    options, check = kept
    save, interrupts = Network.save, [KeyboardInterrupt()]

    def interrupted(net, path):
        if interrupts:
            raise interrupts.pop()
        save(net, path)

    monkeypatch.setattr(Network, "save", interrupted)
    code, _, err = command(*TRAIN, *options)
    assert code == 130
    check()
    assert err.splitlines()[-1] == "stopped by Ctrl-C after training"


@pytest.mark.parametrize("epochs", [0, 1])
def test_ctrl_c_after_resuming_names_the_epoch_and_counts_all(epochs, command, kept, monkeypatch):
    options, check = kept
    assert command(*TRAIN, *options)[0] == 0
    train = Network.train

    def interrupted(net, x, y, callback, **options):
        def interrupting(epoch):
            callback(epoch)
            raise KeyboardInterrupt

        if epochs == 0:
            raise KeyboardInterrupt
        train(net, x, y, callback=interrupting, **options)

    monkeypatch.setattr(Network, "train", interrupted)
    code, out, err = command(*TRAIN, "--epochs", 5, *options, "--resume")
    assert code == 130
    assert err.splitlines()[-1] == f"stopped by Ctrl-C in epoch {3 + epochs}"
    assert f"{2 + epochs} epochs in" in out
    check()


# ---- the rest


def test_the_folder_of_compiled_code_is_said_to_be_missing(monkeypatch):
    from fastbp.backends.environment import information
    from fastbp_kernels.cpu import loops as cpu

    kernel = SimpleNamespace(_cache=SimpleNamespace(cache_path=None))
    monkeypatch.setattr(cpu, "matmul", lambda dtype: kernel)
    assert information()["compiled code"] == "not cached: no writable folder; set NUMBA_CACHE_DIR to one"


def test_help_without_docstrings():
    help = [sys.executable, "-OO", "-W", "error", "-m", "fastbp"]
    whole = subprocess.run([*help, "--help"], capture_output=True, text=True).stdout
    assert whole.splitlines()[0] == "Usage: fastbp [OPTIONS] COMMAND [ARGS]..."
    assert "Backpropagation for fully connected networks" in whole
    commands = [line.split(maxsplit=1) for line in whole.partition("Commands:\n")[2].splitlines() if line[2:3] != " "]
    assert {words[0] for words in commands} == set(cli.fastbp.commands)
    assert all(len(words) == 2 for words in commands), whole
    train = subprocess.run([*help, "train", "--help"], capture_output=True, text=True).stdout
    assert "Train a network on handwritten digits" in train


def test_a_failure_takes_precedence_among_exit_codes():
    from fastbp.files import outputs

    made = outputs.Outputs()
    made.failed(outputs.OutputError("closed", outputs.CLOSED))
    assert made.code == 141
    made.stopped()
    assert made.code == 130
    made.failed(InputError("full"))
    made.stopped()
    assert made.code == 2
