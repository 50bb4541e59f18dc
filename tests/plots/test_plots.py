"""Plots: what they draw, that nothing is cut off, and what is refused."""

import numpy as np
import pytest
from refusals import refused

import fastbp
from fastbp import plots

pyplot = pytest.importorskip("matplotlib.pyplot")
LONG = "a name of a class or a run that is much longer than anything that fits " * 4
HISTORY = fastbp.History([0.9, 0.5, 0.2], [1.0, 0.6, 0.4], [0.5, 0.7, 0.9], [1.0, 1.0, 1.0], best_epoch=3)
NET = fastbp.Network([9, 4, 3], rng=0)
X = np.random.default_rng(0).random((9, 30))
LABELS = np.arange(30) % 3


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    pyplot.close("all")


def plane(x):
    return (np.asarray(x)[0] > 0.5).astype(int)


EVERY_PLOT = {
    "history": lambda ax: HISTORY.plot(ax=ax),
    "histories": lambda ax: plots.learning_curves({LONG: HISTORY, "b": HISTORY}, ax=ax),
    "accuracies": lambda ax: plots.learning_curves({LONG: HISTORY, "$x": HISTORY}, "accuracy", ax=ax),
    "weights": lambda ax: plots.weight_images(NET.weights[0], ax=ax),
    "trace": lambda ax: NET.trace(X[:, 0], LABELS[:1]).plot(ax=ax),
    "confusion": lambda ax: plots.confusion_matrix(LABELS, NET.predict(X), [LONG, "b", "$c_"], ax=ax),
    "predictions": lambda ax: plots.predictions(X, NET.predict(X), LABELS, names=[LONG, "b", "c"], ax=ax),
    "regions": lambda ax: plots.decision_regions(plane, X[:2], plane(X[:2]), [LONG, "b"], points=20, ax=ax),
}


@pytest.mark.parametrize("name", EVERY_PLOT)
@pytest.mark.parametrize("theme", ["default", "dark_background"])
def test_no_text_is_cut_off_at_any_length(name, theme):
    with pyplot.style.context(theme):
        ax = EVERY_PLOT[name](None)
        figure = ax.figure
        figure.canvas.draw()
        width, height = figure.get_size_inches()
        drawn = figure.get_tightbbox()
        assert -0.02 <= drawn.x0 <= drawn.x1 <= width + 0.02
        assert -0.02 <= drawn.y0 <= drawn.y1 <= height + 0.02
        inside = ax.get_window_extent()
        assert min(inside.width, inside.height) > 100  # the labels leave room for the picture


@pytest.mark.parametrize("name", EVERY_PLOT)
def test_plots_draw_into_the_axes_that_are_given(name):
    _, ax = pyplot.subplots()
    assert EVERY_PLOT[name](ax) is ax
    assert len(pyplot.get_fignums()) == 1


def test_learning_curves_are_those_of_the_history():
    lines = {line.get_label(): line.get_ydata().tolist() for line in HISTORY.plot().get_lines()}
    assert lines == {"training": HISTORY.cost, "validation": HISTORY.validation_cost}
    (line,) = HISTORY.plot("accuracy").get_lines()
    assert line.get_ydata().tolist() == HISTORY.validation_accuracy


def test_the_confusion_matrix_counts():
    ax = plots.confusion_matrix([0, 0, 1, 2, 2], [0, 1, 1, 2, 2])
    shown = {text.get_position(): text.get_text() for text in ax.texts}
    assert shown == {(0, 0): "1", (1, 0): "1", (1, 1): "1", (2, 2): "2"}


def test_weight_images_show_each_neuron_in_its_place():
    w = np.arange(4 * 6.0).reshape(4, 6)
    mosaic = plots.weight_images(w, (2, 3)).images[0].get_array()
    for j in range(4):
        np.testing.assert_array_equal(mosaic[j // 2 * 3 + 1 :][:2, j % 2 * 4 :][:, :3], w[j].reshape(2, 3))


def test_every_class_has_a_colour_and_a_marker_of_its_own():
    ax = plots.decision_regions(lambda x: (3 * np.clip(x[0], 0, 0.99)).astype(int), X[:2], LABELS, points=20)
    looks = [(tuple(dots.get_facecolor()[0]), len(dots.get_paths()[0])) for dots in ax.collections]
    assert len(set(looks)) == 3


def test_bad_values_are_refused_in_one_line():
    refused("there is no validation accuracy to draw", fastbp.History(cost=[1.0]).plot, "accuracy")
    refused("unknown quantity 'loss'", HISTORY.plot, "loss")
    refused("10 values are not a square picture", plots.weight_images, np.ones((2, 10)))
    refused("shape must have 9 pixels", plots.weight_images, np.ones((2, 9)), (2, 3))
    refused("w must have shape", plots.weight_images, np.ones(9))
    refused(r"example must be an integer from 0 to 0, got 1", NET.trace(X[:, 0], [1]).plot, example=1)
    refused("labels and predicted must be integers", plots.confusion_matrix, [0, 1], [0.5, 1.0])
    refused("names must have a name for each of the 3 classes", plots.confusion_matrix, [0, 2], [0, 1], ["a", "b"])
    refused("x, predicted and labels must have shapes", plots.predictions, X, LABELS[:4])
    refused("x and labels must have shapes", plots.decision_regions, plane, X, LABELS)


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr("fastbp.plots.canvas.find_spec", lambda name: None)
    for name, plot in EVERY_PLOT.items():
        assert "pip install 'fastbp[plot]'" in refused("pictures need matplotlib", plot, None), name


def test_frames_have_what_the_results_have():
    pytest.importorskip("pandas")
    frame = HISTORY.to_frame()
    assert frame.index.tolist() == [1, 2, 3]
    assert frame["validation_accuracy"].tolist() == HISTORY.validation_accuracy
    assert list(fastbp.History(cost=[1.0]).to_frame().columns) == ["cost"]
    trace = NET.trace(X[:, :2], LABELS[:2])
    frame = trace.to_frame().set_index(["example", "layer", "neuron"])
    assert len(frame) == 2 * (9 + 4 + 3)
    assert frame.loc[(1, 2, 0), "delta"] == pytest.approx(float(trace.deltas[1][0, 1]))
    assert frame.loc[(0, 1, 3), "z"] == pytest.approx(float(trace.zs[0][3, 0]))
    assert frame.loc[(1, 0, 5), "dC_da"] == pytest.approx(float(trace.activation_gradients[0][5, 1]))
    assert np.isnan(frame.loc[(1, 0, 5), "z"])


@pytest.mark.parametrize("backend", ["numpy-plain", "array_api_strict"])
def test_traces_of_other_backends_have_plots_and_frames(backend):
    pytest.importorskip("pandas")
    net = NET.to(backend)
    expected, found = NET.trace(X[:, :2], LABELS[:2]), net.trace(X[:, :2], LABELS[:2])
    np.testing.assert_allclose(found.to_frame(), expected.to_frame(), rtol=1e-4, atol=1e-6)
    assert len(found.plot(example=1).images) == len(expected.plot(example=1).images) == 10


def test_reprs_and_tables_are_short():
    assert repr(HISTORY) == "<History: 3 epochs, cost 0.2, validation_cost 0.4, validation_accuracy 0.9, best epoch 3>"
    assert repr(fastbp.History()) == "<History: 0 epochs>"
    assert "55 parameters, 220 bytes" in NET.summary()
    own = fastbp.Activation("<b>", lambda z: z, lambda z, a: 1.0)
    table = fastbp.Network([2, 3], own, bias=False, dtype="float64")._repr_html_()
    assert "&lt;b&gt;" in table
    assert "6 parameters, 48 bytes" in table
