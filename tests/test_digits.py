"""The bundled digits, and the accuracy that the defaults of `fastbp train` reach on them."""

import numpy as np
import pytest

from fastbp import Network, datasets
from fastbp.cli.defaults import IMAGES, formulas
from fastbp.cli.train import train as command


def test_the_split_is_stratified_shuffled_and_reproducible():
    (x, labels), (_, labels_test) = datasets.digits()
    assert x.dtype == np.float32
    assert x.T.flags.c_contiguous  # each image is contiguous
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert len(labels) + len(labels_test) == 1797
    share = np.bincount(labels_test) / (np.bincount(labels) + np.bincount(labels_test))
    np.testing.assert_allclose(share, 0.2, atol=0.005)
    assert (np.diff(labels) < 0).any()  # not in the order of the digits
    again = datasets.digits()
    np.testing.assert_array_equal(x, again[0][0])
    assert not np.array_equal(x, datasets.digits(seed=1)[0][0])


def test_no_image_is_lost_or_in_both_parts():
    (x, _), (x_test, _) = datasets.digits(held_out=0.5)
    images = {column.tobytes() for column in np.concatenate([x, x_test], axis=1).T}
    assert len(images) == len({column.tobytes() for column in datasets.digits(held_out=0.0)[0][0].T})


@pytest.mark.parametrize("seed", range(10))
def test_the_commands_defaults_reach_96_percent_on_held_out_images(seed):
    defaults = command.make_context("train", []).params
    train, validation, test = datasets.load(defaults["data"])
    activations, cost = formulas(IMAGES, defaults["activations"], defaults["cost"], 2)
    net = Network([64, 30, 10], activations, cost, dtype=defaults["dtype"], rng=seed)
    names = ("epochs", "mini_batch_size", "eta", "lmbda", "momentum", "patience", "class_weight")
    net.train(*train, **{name: defaults[name] for name in names}, validation=validation, progress=False)
    assert net.accuracy(*test) >= 0.96
