"""docs/migrating.md: run each program before and after the change, and compare the results."""

import gzip
import pickle
import re
import sys
import types
from pathlib import Path

import network2_loop
import numpy as np
import pytest
from test_book_network2 import LOADER, check_lines

PAGE = (Path(__file__).parent.parent / "docs/migrating.md").read_text(encoding="utf-8")
SECTIONS = {
    section.partition("\n")[0]: re.findall(r"^(Given|Before|After|Then):\n\n```python\n(.*?)```", section, re.M | re.S)
    for section in PAGE.split("\n## ")[1:]
}


def run(section, capsys):
    """Run a section's programs, each after the "Given" code; return variables and printed lines, "Before" first."""
    programs = SECTIONS[section]
    given = [code for label, code in programs if label == "Given"]
    (before,) = (code for label, code in programs if label == "Before")
    afters = [code for label, code in programs if label == "After"]
    then = [code for label, code in programs if label == "Then"]
    results = []
    for code in (before, *afters):
        variables = {}
        for program in (*given, code, *(then if code is afters[-1] else ())):
            if program in then:
                results.append((dict(variables), capsys.readouterr().out))
            exec(compile(program, section, "exec"), variables)
        results.append((variables, capsys.readouterr().out))
    return results


def close(actual, expected, **tolerance):
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, **{"rtol": 1e-9, "atol": 1e-12, **tolerance})


def test_every_program_of_the_page_is_in_a_tested_section():
    assert sum(len(programs) for programs in SECTIONS.values()) == PAGE.count("```python")
    tested = {"From the book", "From scikit-learn", "From a NumPy loop", "From PyTorch"}
    assert set(SECTIONS) == tested


def test_from_the_book(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    parts = [
        (rng.random((n, 784), np.float32) * (rng.random((n, 784)) < 0.2), rng.integers(0, 10, n)) for n in (80, 30, 20)
    ]
    for folder in ("src", "data"):
        (tmp_path / folder).mkdir()
    (tmp_path / "data" / "mnist.pkl.gz").write_bytes(gzip.compress(pickle.dumps(tuple(parts), protocol=2)))
    monkeypatch.chdir(tmp_path / "src")
    loader = types.ModuleType("mnist_loader")
    exec(LOADER, vars(loader))
    monkeypatch.setitem(sys.modules, "mnist_loader", loader)
    monkeypatch.setitem(sys.modules, "network2", network2_loop)
    (before, lines), (after, same_lines), (then, accuracy) = run("From the book", capsys)
    assert lines.startswith("Epoch 0 training complete\n")
    check_lines(same_lines, lines)
    close(after["net"].weights, before["net"].weights)
    close(after["net"].biases, before["net"].biases)
    trained = network2_loop.load("trained.json")
    for j in range(20):
        column = parts[2][0][j].reshape(784, 1).astype(float)
        close([then["net"].feedforward(column)], [trained.feedforward(column)])
    correct = sum(
        trained.feedforward(row.reshape(784, 1)).argmax() == label for row, label in zip(*parts[2], strict=True)
    )
    assert float(accuracy) == correct / 20


def test_from_scikit_learn(capsys):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    (before, lines), (after, same_lines), (then, score) = run("From scikit-learn", capsys)
    assert type(before["model"]).__module__.startswith("sklearn.")
    assert lines == same_lines
    close(after["model"].coefs_, before["model"].coefs_, rtol=1e-6, atol=1e-8)
    close(after["model"].loss_curve_, before["model"].loss_curve_, rtol=1e-3)  # the L2 term differs: see MLPClassifier
    assert after["model"].n_iter_ == before["model"].n_iter_ < 200
    assert float(score) > 0.9
    assert then["net"].accuracy(then["X_test"].T / 16, then["y_test"]) == float(score)


def test_from_a_numpy_loop(capsys):
    (before, _), (with_backprop, _), (with_network, _) = run("From a NumPy loop", capsys)
    for after in (with_backprop, with_network):
        close(after["weights"], before["weights"])
        close(after["biases"], before["biases"])
    assert with_network["net"].accuracy(before["x"], before["y"]) > 0.8


def test_from_pytorch(capsys):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    (before, _), (after, _) = run("From PyTorch", capsys)
    close(
        [w.numpy() for w in after["model"].state_dict().values()],
        [w.numpy() for w in before["model"].state_dict().values()],
        rtol=1e-4,
        atol=1e-5,
    )
    assert all(isinstance(w, torch.Tensor) for w in after["model"].parameters())
