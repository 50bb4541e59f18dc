"""The order of the layers of a state dict: determined by names or shapes, or refused. It needs no PyTorch."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from fastbp import convert
from fastbp.convert.layer_order import sorted_layers

# Layers in the order in which they are applied. All have the same shape, so only the names determine it.
BY_NAMES = [
    ["0", "2", "10"],
    ["fc1", "fc2", "fc10"],
    ["module.net.0", "module.net.2", "module.net.4"],
    ["layers.0.linear", "layers.1.linear", "layers.2.linear"],
    ["blocks.0.fc1", "blocks.0.fc2", "blocks.1.fc1", "blocks.1.fc2"],
    ["layer_one", "layer_two", "layer_three", "out"],
    ["first", "second", "third", "fourth"],
    ["linearOne", "linearTwo", "linearThree"],
    ["input", "hidden", "output"],
    ["fc_in", "fc_hidden", "fc_out"],
    ["inputLayer", "hiddenLayer1", "hiddenLayer2", "outputLayer"],
    ["stem", "body", "head"],
    ["features.0", "features.2", "classifier.1", "classifier.4"],
    ["encoder.0", "encoder.2", "decoder.0", "decoder.2"],
    ["enc1", "enc2", "dec1", "dec2"],
    ["_orig_mod.l1", "_orig_mod.l2", "_orig_mod.l3"],
    ["0", "1.fc", "2"],
]
NOT_BY_NAMES = [
    ["a", "b"],
    ["fc", "fc1"],
    ["hidden1", "hidden2", "fc"],
    ["up", "down"],
    ["out1", "out2", "fc"],
    ["query", "key", "value"],
    ["encoder", "decoder", "out"],
    ["left.0", "right.0"],
    ["fc1", "fc01"],
    ["a", "a.b"],
    ["input_output", "hidden"],
    [".".join("a" * 60), ".".join("a" * 59 + "b")],
]


@pytest.mark.parametrize("names", BY_NAMES)
def test_names_determine_the_order(names):
    for given_ in itertools.islice(itertools.permutations(names), 24):
        assert sorted_layers(given_, [(3, 3)] * len(names)) == names


@pytest.mark.parametrize("names", NOT_BY_NAMES)
def test_an_order_that_nothing_determines_is_refused(names):
    message = refused(
        "is not determined by their names and shapes; pass the model", sorted_layers, names, [(3, 3)] * len(names)
    )
    assert all(repr(name) in message or len(name) > 40 for name in names)


def fitting_orders(shapes):
    """Return all orders in which the layers fit together, by trying every one."""
    return [
        order
        for order in itertools.permutations(range(len(shapes)))
        if all(shapes[i][0] == shapes[j][1] for i, j in itertools.pairwise(order))
    ]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=3, max_size=7), st.data())
def test_shapes_determine_the_order_exactly_if_one_order_fits(sizes, data):
    chain = [(n_out, n_in) for n_in, n_out in itertools.pairwise(sizes)]
    shapes = data.draw(st.permutations(chain))
    names = [f"{'abcdefg'[i]}_layer" for i in range(len(shapes))]
    orders = fitting_orders(shapes)
    if len(orders) == 1:
        assert sorted_layers(names, shapes) == [names[i] for i in orders[0]]
    else:
        refused("not determined", sorted_layers, names, shapes)


def test_shapes_that_fit_in_no_order_are_refused():
    refused(
        "is unknown: they do not fit in any order; .* 'a' \\(5 to 4\\)", sorted_layers, ["a", "b"], [(4, 5), (3, 7)]
    )


def test_shapes_decide_where_numbers_in_names_are_sizes():
    assert sorted_layers(["fc64", "fc128"], [(64, 128), (128, 784)]) == ["fc128", "fc64"]


def test_the_search_for_a_second_order_is_bounded():
    shapes = [(1 + (i + 1) % 2, 1 + i % 2) for i in range(400)] + [(3, 1), (1, 3)] * 100
    refused("not determined", sorted_layers, [f"{chr(97 + i % 26)}{'x' * (i // 26)}" for i in range(600)], shapes)


def square(*names):
    rng = np.random.default_rng(0)
    return {f"{name}.{kind}": rng.random(shape) for name in names for kind, shape in (("weight", (3, 3)), ("bias", 3))}


def test_the_order_of_the_dict_is_not_used():
    state_dict = square("up", "down")
    message = refused("order of the layers is not determined", convert.from_torch, state_dict, "tanh", "quadratic")
    assert "order=[…] with the names of the layers in order: 'up' (3 to 3), 'down' (3 to 3)" in message
    for order in (["up", "down"], ("down", "up")):
        net = convert.from_torch(state_dict, "tanh", "quadratic", order=order)
        for w, b, name in zip(net.weights, net.biases, order, strict=True):
            np.testing.assert_array_equal(w, state_dict[f"{name}.weight"])
            np.testing.assert_array_equal(b[:, 0], state_dict[f"{name}.bias"])


@pytest.mark.parametrize("order", [["up"], ["up", "down", "down"], ["up", "left"], "up", []])
def test_a_wrong_order_is_refused(order):
    message = r"order must be the names of all 2 layers in order, each once \(\['up', 'down'\]\), got "
    refused(message, convert.from_torch, square("up", "down"), "tanh", "quadratic", order=order)


def test_a_state_dict_does_not_contain_activations_and_cost():
    state_dict = square("up")
    like = r"pass the model itself, or for example activations=\[\"relu\", \"softmax\"\], cost=\"log-likelihood\""
    refused(f"a state dict does not contain activations; {like}", convert.from_torch, state_dict)
    refused(f"a state dict does not contain cost; {like}", convert.from_torch, state_dict, "tanh")


def test_a_checkpoint_is_refused_with_the_name_of_its_state_dict():
    checkpoint = {"epoch": 3, "model_state_dict": square("0")}
    refused("got 'epoch'", convert.from_torch, checkpoint, "tanh", "quadratic")
    del checkpoint["epoch"]
    refused(
        "got 'model_state_dict'; pass its item 'model_state_dict'", convert.from_torch, checkpoint, "tanh", "quadratic"
    )
