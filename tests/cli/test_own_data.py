"""`fastbp train`, `evaluate`, `predict` and `info` with a table of one's own."""

import csv
import os

import numpy as np
import pandas as pd
import pytest
from commands import run_command as run
from refusals import refused
from sklearn.datasets import load_diabetes, load_iris

import fastbp


@pytest.fixture
def people(tmp_path, monkeypatch):
    """Write a table of numbers, text and booleans into the current folder; return it as a DataFrame."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "age": rng.integers(18, 80, 200),
        "city": rng.choice(["Oslo", "Rome", "Lima"], 200),
        "member": rng.random(200) < 0.5,
        "income": rng.normal(3000, 800, 200).round(2),
    })  # fmt: skip
    frame["buys"] = np.where((frame.age > 45) ^ (frame.city == "Rome"), "yes", "no")
    frame.to_csv("people.csv", index=False)
    return frame


@pytest.fixture
def trained(people):
    """Train on the table of people and save the network as net.safetensors; return what the command printed."""
    done = run("train", "--data", "people.csv", "--save", "net.safetensors", "--backend", "numpy-plain")
    assert done.returncode == 0, done.stderr
    return done.stdout


def predictions(*arguments):
    done = run("predict", "net.safetensors", *arguments)
    assert done.returncode == 0, done.stderr
    return list(csv.reader(done.stdout.splitlines())), done.stderr


def test_what_decides_the_result_is_printed_before_training(trained):
    label, inputs, texts, booleans, network, counts, accuracy, *_ = trained.splitlines()
    assert label.startswith("label: column 'buys' (the last column; text), 2 classes: no ")
    assert inputs.startswith("inputs: 6 from 4 columns; numbers scaled to mean 0")
    assert texts == "text as categories: column 'city' (3)"
    assert booleans == "true or false: column 'member'"
    assert network == "<Network 6-30-2: sigmoid, softmax; log-likelihood cost; float32 on numpy-plain>"
    assert counts.endswith("validation and 20 test examples")
    assert float(accuracy.split()[1].rstrip("%")) > 85


def test_columns_are_found_by_name(trained, people):
    same, _ = predictions("people.csv")
    assert same[0] == ["buys"]
    assert np.mean([row[0] for row in same[1:]] == people.buys) > 0.9
    other = people[people.columns[::-1]].drop(columns="buys").assign(shoe_size=40)
    other.to_csv("other.csv", index=False, sep=";", decimal=",")
    rows, said = predictions("other.csv")
    assert rows == same
    assert "columns that are not used: shoe_size" in said
    net = fastbp.load("net.safetensors")
    assert net.predict(other).tolist() == [row[0] for row in same[1:]]
    assert net.score(people) == pytest.approx(np.mean(net.predict(other) == people.buys))


def test_a_missing_column_is_named_and_nothing_is_written(trained, people):
    people.drop(columns="age").to_csv("other.csv", index=False)
    done = run("predict", "net.safetensors", "other.csv", "--output", "out.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fastbp: other.csv has no column 'age', which the network needs as input\n"
    assert not os.path.exists("out.csv")


def test_probabilities_have_one_column_per_class(trained, people):
    rows, _ = predictions("people.csv", "--probabilities")
    assert rows[0] == ["buys", "no", "yes"]
    values = np.array([row[1:] for row in rows[1:]], float)
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-5)
    assert [rows[0][1 + j] for j in values.argmax(axis=1)] == [row[0] for row in rows[1:]]


def test_evaluate_uses_the_names_of_the_classes(trained, people):
    done = run("evaluate", "net.safetensors", "--data", "people.csv")
    assert done.returncode == 0, done.stderr
    assert "label: column 'buys'" in done.stdout
    assert float(done.stdout.partition("accuracy ")[2].partition("%")[0]) > 90
    people.assign(buys="maybe").to_csv("other.csv", index=False)
    done = run("evaluate", "net.safetensors", "--data", "other.csv")
    assert done.stderr == "fastbp: other.csv: line 2, column 'buys' is 'maybe'; expected one of the classes no, yes\n"


def test_info_shows_columns_classes_and_scaling(trained):
    out = run("info", "net.safetensors").stdout
    assert "label  buys: classification, classes no, yes" in out
    assert "input  age: number, (value - " in out
    assert "input  city: one of Lima, Oslo, Rome" in out
    assert "input  member: boolean" in out


def test_a_category_that_training_did_not_have_is_reported(trained, people, caplog):
    people.head(3).assign(city=["Oslo", "Bern", "Bern"]).to_csv("other.csv", index=False)
    rows, _ = predictions("other.csv")
    assert len(rows) == 4
    assert "other.csv: line 3, column 'city' is 'Bern' (and 1 more), not in the training examples" in caplog.text


def test_bad_values_are_named_when_predicting(trained, people):
    people.astype({"age": object}).head(3).assign(age=[20, "old", 30]).to_csv("other.csv", index=False)
    done = run("predict", "net.safetensors", "other.csv")
    assert done.stderr == "fastbp: other.csv: line 3, column 'age' is 'old'; expected a number\n"
    people.head(3).assign(income=[1.0, None, 2.0]).to_csv("other.csv", index=False)
    done = run("predict", "net.safetensors", "other.csv")
    assert "line 3, column 'income' is empty; expected a value, because the network was trained without" in done.stderr


def test_regression_prints_errors_and_predicts_in_the_unit_of_the_label(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = load_diabetes(as_frame=True).frame
    frame.to_csv("d.csv", index=False)
    done = run("train", "--data", "d.csv", "--save", "net.safetensors", "--epochs", "30", "--backend", "numpy-plain")
    assert done.returncode == 0, done.stderr
    assert "numbers from 25 to 346: regression" in done.stdout
    assert " on the 44 validation examples" in done.stdout
    assert " on the 44 test examples" in done.stdout
    rows, _ = predictions("d.csv")
    values = np.array([row[0] for row in rows[1:]], float)
    r2 = 1 - ((values - frame.target) ** 2).sum() / ((frame.target - frame.target.mean()) ** 2).sum()
    assert r2 > 0.4
    evaluated = run("evaluate", "net.safetensors", "--data", "d.csv").stdout
    rmse = np.sqrt(np.mean((values - frame.target) ** 2))
    assert f"RMSE {rmse:.4g}, MAE {np.abs(values - frame.target).mean():.4g}, R² {r2:.4f}" in evaluated
    assert "predicts numbers" in run("predict", "net.safetensors", "d.csv", "--probabilities").stderr


def test_a_table_without_column_names_is_matched_by_position(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = load_iris(as_frame=True).frame
    frame["target"] = np.array(["setosa", "versicolor", "virginica"])[frame.target]
    frame = frame[["target", *frame.columns[:-1]]]  # the label comes first
    frame.to_csv("i.csv", index=False, header=False)
    options = ["--label", "0", "--epochs", "50", "--save", "net.safetensors", "--backend", "numpy-plain"]
    assert run("train", "--data", "i.csv", *options).returncode == 0
    rows, _ = predictions("i.csv")
    frame.drop(columns="target").to_csv("x.csv", index=False, header=False)
    assert predictions("x.csv")[0] == rows
    np.save("x.npy", frame.drop(columns="target").to_numpy())
    assert predictions("x.npy")[0] == rows
    done = run("predict", "net.safetensors", "x.csv", "--label", "3")
    assert "--label is not needed" in done.stderr


def test_a_run_at_chance_level_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pd.DataFrame({"a": rng.normal(size=300), "y": rng.choice(["u", "v", "v", "v"], 300)}).to_csv("t.csv", index=False)
    out = run("train", "--data", "t.csv", "--epochs", "3", "--backend", "numpy-plain").stdout
    assert "This is not better on the test examples than always answering the most frequent class, v (" in out


@pytest.mark.parametrize(
    "activation", ["sigmoid", "tanh", "relu", "leaky-relu", "softplus", "identity", "softmax", "ReLU"]
)
@pytest.mark.parametrize("data", ["digits", "people.csv"])
def test_every_activation_trains_at_the_default_learning_rate(activation, data, people):
    out = run("train", "--data", data, "--activations", activation, "--epochs", "30").stdout
    least = 93 if data == "digits" else 65
    assert float(out.partition("accuracy ")[2].partition("%")[0]) >= least


def test_options_are_checked_before_data_are_read(people):
    for options, message in [
        (["--activations", "rlu"], "unknown activation 'rlu'"),
        (["--cost", "quad"], "unknown cost 'quad'"),
        (["--dtype", "half"], "dtype must be float32 or float64"),
        (["--epochs", "0"], "epochs must be an integer >= 1"),
        (["--eta", "-1"], "eta must be a positive number"),
        (["--scale", "z"], "unknown scale 'z'"),
        (["--save", "/nowhere/net"], "cannot write '/nowhere/net'"),
    ]:
        done = run("train", "--data", "not-there.csv", *options)
        assert message in done.stderr, options


def test_names_of_other_programs_are_understood(people):
    options = ["--lr", "0.1", "--hidden", "20,10", "--activations", "ReLU", "--epochs", "1", "--backend", "numpy-plain"]
    out = run("train", "--data", "people.csv", *options).stdout
    assert "<Network 6-20-10-2: relu, relu, softmax;" in out
    assert run("train", "--data", "Digits", "--learning-rate", "1", "--epochs", "1").returncode == 0


def test_a_resumed_and_a_finished_run_say_so(people):
    options = ["train", "--data", "people.csv", "--checkpoint", "run", "--backend", "numpy-plain"]
    run(*options, "--epochs", "2")
    done = run(*options, "--epochs", "4", "--resume")
    assert done.stderr.startswith("continuing with epoch 3 of 4\n")
    assert "4 epochs, the last 2 in " in done.stdout
    done = run(*options, "--epochs", "4", "--resume")
    assert done.stderr == "this run was finished: it has 4 epochs; to continue it, ask for more epochs\n"
    assert "4 epochs, the last 0 in " in done.stdout
    done = run(*options, "--epochs", "6", "--resume", "--eta", "7")
    assert done.returncode == 2
    assert "continuing" not in done.stdout + done.stderr
    early = run("train", "--data", "people.csv", "--patience", "2", "--backend", "numpy-plain").stdout
    assert "stopped early: no improvement in 2 epochs; the parameters are those of the best epoch, " in early
    options += ["--patience", "2", "--overwrite"]
    run(*options)
    done = run(*options[:-1], "--resume")
    assert done.stderr.startswith("this run was finished: it stopped early after ")


def test_only_predict_and_score_take_tables_and_rows_are_refused(trained, people):
    net = fastbp.load("net.safetensors")
    for call in (net.feedforward, lambda x: net.accuracy(x, [0] * 200), lambda x: net.cost(x, [0] * 200)):
        refused(r"use net.predict\(x\) or net.score\(x\), or pass net.preparation.transform\(x\)", call, people)
    assert net.feedforward(net.preparation.transform(people)).shape == (2, 200)
    for call in (net.predict, net.feedforward):
        refused(r"got one row of a table; pass x.to_frame\(\).T", call, people.iloc[0])


def test_export_says_that_the_preparation_is_not_exported(trained):
    for form in ("json", "c"):
        done = run("export", "net.safetensors", f"net.{form}")
        assert done.returncode == 0
        assert f"net.{form} does not contain the preparation of the columns" in done.stderr


def test_evaluate_refuses_an_input_as_label(trained):
    done = run("evaluate", "net.safetensors", "--data", "people.csv", "--label", "age")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fastbp: --label must not be an input of the network, got column 'age'\n"


def test_options_that_the_data_cannot_use_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("arrays.npz", x=rng.random((30, 3)), y=np.arange(30) % 2)
    refused("the label in arrays.npz must be the name of an array, got 0", fastbp.datasets.prepare, "arrays.npz", 0)
    fastbp.Network([3, 2], rng=0).save("plain.safetensors")
    np.save("inputs.npy", rng.random((4, 3)))
    done = run("predict", "plain.safetensors", "inputs.npy", "--header")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fastbp: --header and --no-header are for networks that were trained on a table\n"


def test_commands_use_the_classes_of_a_network_that_was_trained_on_text_labels(people):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 100))
    y = np.array(["ant", "bee", "cat"])[x.argmax(axis=0)]
    net = fastbp.Network([3, 3], "softmax", "log-likelihood", rng=0, backend="numpy-plain")
    net.train(x, y, epochs=20, eta=0.5, progress=False)
    net.save("net.safetensors")
    assert "classes ant, bee, cat" in run("info", "net.safetensors").stdout
    pd.DataFrame(x.T, columns=["a", "b", "c"]).assign(kind=y).to_csv("t.csv", index=False)
    rows, _ = predictions("t.csv", "--label", "kind")
    assert rows[0] == ["class", "ant", "bee", "cat"]
    answers = [row[0] for row in rows[1:]]
    assert np.mean(answers == y) > 0.9
    out = run("evaluate", "net.safetensors", "--data", "t.csv").stdout
    assert f"accuracy {np.mean(answers == y):.2%}" in out
    assert "ant  bee  cat  predicted" in " ".join(out.split("label")[-1].split()).replace(" ", "  ")
    pd.DataFrame(x.T, columns=["a", "b", "c"]).assign(kind="dog").to_csv("t.csv", index=False)
    done = run("evaluate", "net.safetensors", "--data", "t.csv")
    assert done.stderr.endswith("line 2, column 'kind' is 'dog'; expected one of the classes ant, bee, cat\n")
