"""Outputs that fail: closed and full standard streams, files that cannot be written, Ctrl-C while files are written."""

import errno
import io
import os
import struct
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
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # as for users
FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")


class Failing(io.StringIO):
    """A stream whose writes fail with an error number, after the first `after` writes."""

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
    """Return a function that runs the command in this process on given streams, and returns exit code and output."""

    def run(*arguments, **streams):
        done = run_command(*arguments, **streams)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def all_outputs(tmp_path, monkeypatch):
    """Return options that save every output, and a function that asserts that they were saved; curves are not drawn."""
    monkeypatch.setattr("fastbp.cli.train.save_curves", lambda history, path, title: path.write_text("curves"))
    net, picture, state = (tmp_path / name for name in ("net.safetensors", "curves.svg", "run.safetensors"))

    def check(*, saved=True, drawn=True):
        assert net.exists() == saved
        assert not saved or fastbp.load(net).sizes == (64, 30, 10)
        assert picture.exists() == drawn
        assert state.exists()

    return ["--save", net, "--plot", picture, "--checkpoint", state], check


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the path of a network for the digits, and of a file with inputs for it."""
    folder = tmp_path_factory.mktemp("saved")
    Network([64, 10], rng=0, backend="numpy-plain").save(folder / "net.safetensors")
    np.savez(folder / "x.npz", x=np.zeros((3, 64)))
    return folder / "net.safetensors", folder / "x.npz"


# ---- standard output


@pytest.mark.parametrize("after", [0, 2, 4])  # a line and its line end are two writes
@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 2), (errno.EPIPE, 141)])
def test_training_saves_everything_when_standard_output_fails(number, code, after, command, all_outputs):
    options, check = all_outputs
    left, _, err = command(*TRAIN, *options, stdout=Failing(number, after))
    assert left == code
    check()
    said = [line for line in err.splitlines() if line.startswith("fastbp: ")]
    full = "fastbp: cannot write to standard output: No space left on device"
    assert said == ([full] if number == errno.ENOSPC else [])


@pytest.mark.parametrize("stdout", [None, Failing(errno.EPIPE)])
def test_training_without_any_working_output_is_not_started(stdout, command, monkeypatch):
    monkeypatch.setattr(Network, "train", lambda *arguments, **options: pytest.fail("trained"))
    code, _, err = command(*TRAIN, stdout=stdout)
    assert (code, err) == ((141, "") if stdout else (2, "fastbp: cannot write to standard output: it is closed\n"))


@pytest.mark.parametrize("name", ["evaluate", "predict", "info", "check", "no command"])
def test_other_commands_stop_when_standard_output_fails(name, saved, command):
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


def test_a_closed_pipe_ends_the_process_quietly(tmp_path):
    net = tmp_path / "net.safetensors"
    command = [*FASTBP, *TRAIN, "--save", net]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED)
    process.stdout.close()
    process.stdout = None  # which `communicate` would read
    _, err = process.communicate(timeout=60)
    assert process.returncode == 141, err
    assert [line.split()[0] for line in err.decode().splitlines()] == ["epoch"] * err.count(b"\n")  # only progress
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
        pytest.skip("this system does not allow such a file name")
    stdout = io.TextIOWrapper(io.BytesIO(), "utf-8")
    code, _, err = command(*TRAIN, "--save", path, stdout=stdout)
    assert code == 0, err
    assert rb"/\udcff.safetensors" in stdout.buffer.getvalue()


# ---- progress


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EBADF])
def test_training_continues_when_progress_cannot_be_written(number, terminal, monkeypatch):
    stream = Failing(number, 1, terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    net = Network([2, 3, 2], backend="numpy-plain", rng=0)
    history = net.train([[0.0, 1.0], [1.0, 0.0]], [0, 1], epochs=3, mini_batch_size=1)
    assert len(history.cost) == 3
    assert stream.failures <= 1  # the last line is always written, but nothing after a failure


def test_a_closed_standard_error_does_not_end_training(monkeypatch):
    closed = io.StringIO()
    closed.close()
    later = io.StringIO()
    net = Network([2, 3, 2], backend="numpy-plain", rng=0)
    for stream, callback in ((None, None), (closed, None), (later, lambda epoch: later.close())):
        monkeypatch.setattr(sys, "stderr", stream)
        history = net.train([[0.0, 1.0], [1.0, 0.0]], [0, 1], epochs=2, mini_batch_size=1, callback=callback)
        assert len(history.cost) == 2


def test_the_backend_is_selected_when_its_message_cannot_be_written(monkeypatch):
    from fastbp import backends

    monkeypatch.setattr(sys, "stderr", Failing(errno.ENOSPC))
    assert backends._automatic.__wrapped__().name in ("numpy", "cupy")


@pytest.mark.parametrize("terminal", [False, True])
def test_the_command_succeeds_when_standard_error_fails(terminal, command, all_outputs):
    options, check = all_outputs
    code, out, _ = command(*TRAIN, *options, stderr=Failing(errno.ENOSPC, terminal=terminal))
    assert code == 0
    assert "% on the 359 test examples" in out
    check()


@FULL
def test_the_process_succeeds_when_standard_error_is_full():
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
    assert said[1].endswith("200 examples/s  30 s left")  # three epochs of 10 s, of which training takes 2
    assert said[2].endswith("167 examples/s  24 s left")


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (24, 0), (24, 60)])
def test_the_bar_is_shown_on_a_terminal_that_knows_its_size_or_not(rows, columns, tmp_path, monkeypatch):
    termios, fcntl = pytest.importorskip("termios"), pytest.importorskip("fcntl")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    monkeypatch.setattr(progress, "_LARGE", 100)
    (tmp_path / "table.csv").write_bytes(bytes(1000))
    with open(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with progress.reading(tmp_path / "table.csv") as advance:
            advance(1000)
        monkeypatch.undo()
    os.set_blocking(ours, False)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "reading:   0%|" in shown
    assert "1.00k [00:00<" in shown


def test_the_bar_shows_the_rate_and_the_time_left_of_the_lines(monkeypatch):
    now, stream = [0.0], SimpleNamespace(text="", isatty=lambda: True, closed=False, flush=lambda: None)
    stream.write = lambda text: setattr(stream, "text", stream.text + text)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    bar = progress.Bar(5000)
    bar.advanced(1000)
    now[0] = 10.0
    bar.finished(fastbp.Epoch(1, 5, 0.5, None, None, 2.0, 500.0))  # 1000 examples in 10 s, with validation
    shown = bar._bar.format_dict
    assert (shown["speed"], shown["left"]) == ("100", "40")
    bar.advanced(1000)
    now[0] = 20.0
    bar.finished(fastbp.Epoch(2, 5, 0.5, None, None, 2.0, 500.0))
    assert "100 examples/s  30 s left" in stream.text  # the line
    assert bar._bar.format_dict["left"] == "30"
    bar.close()


# ---- files


def raise_instead(error):
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
def test_everything_else_is_done_when_curves_cannot_be_drawn(error, message, command, all_outputs, monkeypatch):
    options, check = all_outputs
    monkeypatch.setattr("fastbp.cli.train.save_curves", raise_instead(error))
    code, out, err = command(*TRAIN, *options)
    assert code == 2
    check(drawn=False)
    assert err.splitlines()[-1].startswith(f"fastbp: {message}")
    assert "% on the 359 test examples" in out
    assert "network saved to " in out


def test_everything_else_is_done_when_the_network_cannot_be_saved(command, all_outputs, monkeypatch):
    options, check = all_outputs
    monkeypatch.setattr(Network, "save", raise_instead(InputError("cannot write 'net'")))
    code, out, err = command(*TRAIN, *options)
    assert code == 2
    check(saved=False)
    assert err.splitlines()[-1] == "fastbp: cannot write 'net'"
    assert "network in" not in out


def test_everything_else_is_done_when_the_last_checkpoint_fails(command, all_outputs, monkeypatch):
    options, check = all_outputs
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


@pytest.mark.parametrize("target", ["fastbp.cli.train.save_curves", "fastbp.Network.accuracy"])
def test_ctrl_c_after_training_comes_after_the_network_is_saved(target, command, all_outputs, monkeypatch):
    options, check = all_outputs
    monkeypatch.setattr(target, raise_instead(KeyboardInterrupt()))
    code, _, err = command(*TRAIN, *options)
    assert code == 130
    check(drawn=False)
    assert "Traceback" not in err


def test_ctrl_c_while_the_network_is_saved_saves_it_again(command, all_outputs, monkeypatch):
    options, check = all_outputs
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
def test_ctrl_c_after_resuming_reports_the_epoch_and_counts_all_epochs(epochs, command, all_outputs, monkeypatch):
    options, check = all_outputs
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
    assert f"{2 + epochs} epochs, the last {epochs} in" in out
    check()


# ---- other


def test_info_reports_that_there_is_no_cache_folder(monkeypatch):
    from fastbp.backends.environment import information
    from fastbp_kernels.cpu import jit_cache

    monkeypatch.setattr(jit_cache, "cache_folder", lambda: None)
    assert information()["compiled code"] == "not cached: no writable folder; set NUMBA_CACHE_DIR to one"


def test_help_without_docstrings():
    help = [sys.executable, "-OO", "-W", "error", "-m", "fastbp"]
    whole = subprocess.run([*help, "--help"], capture_output=True, text=True).stdout
    assert whole.splitlines()[0] == "Usage: fastbp [OPTIONS] COMMAND [ARGS]..."
    assert "Train fully connected networks fast" in whole
    commands = [line.split(maxsplit=1) for line in whole.partition("Commands:\n")[2].splitlines() if line[2:3] != " "]
    assert {words[0] for words in commands} == set(cli.fastbp.commands)
    assert all(len(words) == 2 for words in commands), whole
    train = subprocess.run([*help, "train", "--help"], capture_output=True, text=True).stdout
    assert "Train a network on handwritten digits" in train


def test_the_exit_code_of_an_error_takes_precedence_over_ctrl_c():
    from fastbp.files import outputs

    made = outputs.Outputs()
    made.failed(outputs.OutputError("closed", outputs.CLOSED))
    assert made.code == 141
    made.stopped()
    assert made.code == 130
    made.failed(InputError("full"))
    made.stopped()
    assert made.code == 2
