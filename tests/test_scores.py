"""`Network.score`, `predict` with one output, and the preparation that a network carries."""

import copy
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from sklearn.metrics import accuracy_score, r2_score

import fastbp
from fastbp.datasets import Preparation, fit
from fastbp.datasets.preparation import from_description

FRAME = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "c": ["x", "y", "y", "x"], "kind": ["u", "v", "v", "u"]})


@pytest.mark.parametrize("outputs", [1, 3])
def test_r_squared_is_that_of_scikit_learn(outputs, rng):
    net = fastbp.Network([4, outputs], "identity", rng=0, dtype="float64")
    x, y = rng.random((4, 20)), rng.random((outputs, 20))
    assert net.score(x, y) == pytest.approx(r2_score(y.T, net.feedforward(x).T))
    if outputs == 1:
        assert net.score(x, y[0]) == net.score(x, y)
        np.testing.assert_array_equal(net.predict(x), net.feedforward(x)[0])


def test_accuracy_is_that_of_scikit_learn(rng):
    x = rng.random((4, 20))
    net, labels = fastbp.Network([4, 3], "softmax", "log-likelihood", rng=0), rng.integers(0, 3, 20)
    assert net.score(x, labels) == accuracy_score(labels, net.predict(x)) == net.score(x, np.eye(3)[labels].T)
    net, labels = fastbp.Network([4, 1], rng=0), rng.integers(0, 2, 20)
    assert set(net.predict(x)) <= {0, 1}
    assert net.predict(x).dtype == np.int64
    assert net.score(x, labels) == accuracy_score(labels, net.feedforward(x)[0] >= 0.5)


def test_a_network_keeps_its_preparation(tmp_path):
    preparation = fit(FRAME)
    net = fastbp.Network([3, 2], "softmax", "log-likelihood", rng=0)
    refused("preparation must be a fastbp.datasets.Preparation, got 3", setattr, net, "preparation", 3)
    refused("the preparation needs 3 inputs and 2 outputs, got 4 and 2", setattr,
            fastbp.Network([4, 2]), "preparation", preparation)  # fmt: skip
    net.preparation = preparation
    net.save(tmp_path / "net")
    for other in (
        fastbp.load(tmp_path / "net"),
        net.to("numpy-plain"),
        copy.copy(net),
        pickle.loads(pickle.dumps(net)),
    ):
        assert other.preparation == preparation
        assert other.predict(FRAME).tolist() == net.predict(FRAME).tolist()
    named = net.predict(FRAME)
    assert set(named) <= {"u", "v"}
    numbers = net.predict(preparation.transform(FRAME))  # a bare array has examples as columns, and gives integers
    assert [preparation.target.classes[j] for j in numbers] == named.tolist()


def test_a_preparation_is_the_same_after_a_file(tmp_path):
    frame = FRAME.assign(b=[True, False, True, None], n=[1.0, np.nan, 2.0, 5.0])
    preparation = fit(frame, "kind", missing="median")
    assert isinstance(preparation, Preparation)
    description = json.loads(json.dumps(preparation.description()))
    assert from_description(description) == preparation
    refused("'features' .* must be a list of columns", from_description, description | {"features": []})
    refused("'label_position' in its description must be of type int", from_description,
            description | {"label_position": "0"})  # fmt: skip
    refused("is not valid", from_description, description | {"columns": 1})


def test_rows_of_other_libraries(tmp_path):
    preparation = fit(FRAME)
    x = preparation.transform(FRAME)
    np.testing.assert_array_equal(preparation.transform(FRAME.to_dict("list")), x)
    pa = pytest.importorskip("pyarrow")
    np.testing.assert_array_equal(preparation.transform(pa.table(FRAME.to_dict("list"))), x)
    nullable = FRAME.convert_dtypes()
    np.testing.assert_array_equal(preparation.transform(nullable), x)
    nullable.loc[1, "a"] = pd.NA
    refused("row 1, column 'a' is '<NA>'; expected a value, because", preparation.transform, nullable)
