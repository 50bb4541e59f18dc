"""Frames of pandas, Polars and PyArrow as data of networks and estimators: right values, or the call that works."""

import copy

import numpy as np
import pytest
from refusals import refused

import fastbp

pandas = pytest.importorskip("pandas")

RNG = np.random.default_rng(0)
A, B = RNG.random(12), RNG.integers(0, 9, 12)
LABELS = np.arange(12) % 3
ROWS = np.stack([A, B], axis=1)


def optional(name):
    return pytest.importorskip(name, reason=f"{name} is not installed")


def plain():
    return pandas.DataFrame({"a": A, "b": B})


def nullable():
    return plain().convert_dtypes()


def arrow():
    optional("pyarrow")
    return plain().convert_dtypes(dtype_backend="pyarrow")


def categorical():
    return plain().astype({"b": "category"})


def with_booleans():
    return pandas.DataFrame({"a": A, "b": B > 4}).convert_dtypes()


def polars_frame():
    return optional("polars").DataFrame({"a": A, "b": B})


def arrow_table():
    return optional("pyarrow").table({"a": A, "b": B})


QUIET = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FRAMES = {
    "pandas": plain,
    "nullable": nullable,
    "Arrow": arrow,
    "categorical": categorical,
    "booleans": with_booleans,
    "Polars": polars_frame,
    "PyArrow": arrow_table,
}


def columns_of(frame):
    """Return a frame with one example per column, as its users write it."""
    return frame.T if hasattr(frame, "T") else np.asarray(frame).T


@pytest.mark.parametrize("name", FRAMES)
def test_frames_as_inputs_give_the_results_of_arrays(name):
    frame = FRAMES[name]()
    rows = np.stack([A, B > 4], axis=1) if name == "booleans" else ROWS
    results = []
    for x in (columns_of(frame), rows.T):
        net = fastbp.Network([2, 3, 3], rng=0, backend="numpy-plain")
        net.train(x, LABELS, epochs=2, progress=False, validation=(x, LABELS))
        results.append((net.feedforward(x), net.predict(x), net.accuracy(x, LABELS), net.cost(x, LABELS)))
    for mine, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize("name", FRAMES)
def test_frames_with_examples_as_rows_are_refused_with_the_call_that_works(name):
    frame = FRAMES[name]()
    net = fastbp.Network([2, 3], rng=0, backend="numpy-plain")
    message = refused("x must have 2 rows", net.train, frame, LABELS, progress=False)
    call = message.partition("; pass ")[2].removesuffix(" if rows are examples")
    import numpy

    net.train(eval(call, {"x": frame, "numpy": numpy}), LABELS, epochs=1, progress=False)


TARGETS = {
    "(n, 1)": lambda: LABELS[:, None],
    "whole floats": lambda: LABELS.astype(np.float32),
    "float16": lambda: LABELS.astype(np.float16),
    "floats, (n, 1)": lambda: LABELS[:, None].astype(float),
    "list of floats": lambda: LABELS.astype(float).tolist(),
    "Series": lambda: pandas.Series(LABELS),
    "nullable Series": lambda: pandas.Series(LABELS, dtype="Int64"),
    "Series of floats": lambda: pandas.Series(LABELS, dtype="Float64"),
    "categorical Series": lambda: pandas.Series(LABELS).astype("category"),
    "frame of one column": lambda: pandas.DataFrame({"y": LABELS}),
    "nullable frame": lambda: pandas.DataFrame({"y": LABELS}, dtype="Int64"),
    "Arrow Series": lambda: pandas.Series(LABELS, dtype="int64[pyarrow]") if optional("pyarrow") else None,
    "Polars": lambda: optional("polars").Series(LABELS),
    "Polars frame": lambda: optional("polars").DataFrame({"y": LABELS}),
    "PyArrow": lambda: optional("pyarrow").array(LABELS),
    "PyArrow, chunked": lambda: optional("pyarrow").chunked_array([LABELS[:5], LABELS[5:]]),
    "PyTorch": lambda: optional("torch").from_numpy(LABELS),
    "PyTorch, (n, 1)": lambda: optional("torch").from_numpy(LABELS[:, None]),
    "PyTorch, bfloat16": lambda: optional("torch").from_numpy(LABELS).bfloat16(),
    "JAX": lambda: optional("jax").numpy.asarray(LABELS, "bfloat16"),
}


@pytest.mark.parametrize("name", TARGETS)
def test_labels_of_any_form_give_the_results_of_integers(name):
    y = TARGETS[name]()
    results = []
    for labels in (y, LABELS):
        net = fastbp.Network([2, 3, 3], rng=0, backend="numpy-plain")
        net.train(ROWS.T, labels, epochs=2, progress=False)
        results.append((net.weights[0], net.accuracy(ROWS.T, labels), net.cost(ROWS.T, labels)))
        net.update_mini_batch(ROWS.T, labels, 0.5)
    for mine, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize(
    "make",
    [np.array, list, pandas.Series, lambda y: pandas.Series(y, dtype="boolean"), lambda y: np.reshape(y, (-1, 1))],
)
def test_booleans_are_the_classes_0_and_1(make, backend):
    labels = LABELS == 1
    net = fastbp.Network([2, 2], rng=0, backend=backend)
    expected = net.cost(ROWS.T, labels.astype(int))
    assert net.cost(ROWS.T, make(labels)) == expected
    one = fastbp.Network([2, 1], rng=0, backend=backend)
    assert one.cost(ROWS.T, make(labels)) == one.cost(ROWS.T, labels[None].astype(float))


def test_a_column_of_numbers_is_the_targets_of_one_output(backend):
    y = A[:, None]
    net = fastbp.Network([2, 1], rng=0, backend=backend)
    assert net.cost(ROWS.T, y) == net.cost(ROWS.T, A) == net.cost(ROWS.T, A[None])
    assert net.cost(ROWS.T[:, :1], y[:1]) == net.cost(ROWS.T[:, :1], A[:1])


TEXT = {
    "list": lambda t: t.tolist(),
    "array": lambda t: t,
    "objects": lambda t: t.astype(object),
    "Series": pandas.Series,
    "categorical": lambda t: pandas.Series(t).astype("category"),
    "(n, 1)": lambda t: t[:, None],
    "Polars": lambda t: optional("polars").Series(t.tolist()),
    "PyArrow": lambda t: optional("pyarrow").array(t.tolist()),
}


@pytest.mark.parametrize("name", TEXT)
def test_labels_of_text_set_the_classes_and_give_the_results_of_integers(name, tmp_path):
    text = np.array(["no", "yes", "perhaps"])[LABELS]
    classes, numbers = np.unique(text, return_inverse=True)
    y = TEXT[name](text)
    nets = [fastbp.Network([2, 3, 3], rng=0, backend="numpy-plain") for _ in range(2)]
    for net, labels in zip(nets, (y, numbers), strict=True):
        options = {"epochs": 3, "progress": False, "patience": 2}
        net.train(ROWS.T, labels, validation=(ROWS.T, labels), class_weight={0: 2.0}, **options)
        net.update_mini_batch(ROWS.T, labels, 0.1)
    ours, expected = nets
    assert (ours.classes, expected.classes) == (("no", "perhaps", "yes"), None)
    for mine, other in zip(ours.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(mine, other)
    for method in ("accuracy", "score", "cost"):
        assert getattr(ours, method)(ROWS.T, y) == getattr(expected, method)(ROWS.T, numbers)
    ours.save(tmp_path / "net")
    for net in (ours, ours.to(dtype="float64"), fastbp.load(tmp_path / "net"), copy.deepcopy(ours)):
        assert net.predict(ROWS.T).tolist() == classes[expected.predict(ROWS.T)].tolist()
        assert net.predict(ROWS.T[:, 0]).tolist() == classes[expected.predict(ROWS.T[:, 0])].tolist()


def test_text_with_one_sigmoid_output_has_two_classes():
    net = fastbp.Network([2, 4, 1], ["tanh", "sigmoid"], "cross-entropy", rng=0, backend="numpy-plain")
    y = np.where(B > 4, "large", "small")
    net.train(ROWS.T, y, epochs=2, progress=False)
    outputs = net.feedforward(ROWS.T)[0]
    assert net.predict(ROWS.T).tolist() == np.where(outputs >= 0.5, "small", "large").tolist()
    assert net.score(ROWS.T, y) == np.mean(net.predict(ROWS.T) == y)


def test_classes_can_be_assigned_and_used_as_keys_of_class_weight():
    net, other = (fastbp.Network([2, 3], rng=0, backend="numpy-plain") for _ in range(2))
    net.classes = ["z", "a", "m"]
    y = ["a"] * 11 + ["z"]
    net.train(ROWS.T, y, epochs=2, class_weight={"z": 3.0}, progress=False)
    other.train(ROWS.T, [1] * 11 + [0], epochs=2, class_weight={0: 3.0}, progress=False)
    np.testing.assert_array_equal(net.weights[0], other.weights[0])
    assert set(net.predict(ROWS.T)) <= {"z", "a", "m"}
    net.classes = None
    assert net.predict(ROWS.T).dtype == np.int64


def test_text_labels_that_do_not_fit_are_refused_and_change_nothing():
    text = np.array(["no", "yes", "perhaps"])[LABELS]
    net = fastbp.Network([2, 3], rng=0, backend="numpy-plain")
    message = refused("y must contain numbers, got text like 'no'; train with labels of text", net.cost, ROWS.T, text)
    variables = {"y": text, "numpy": np}
    exec(message.partition("pass numbers: ")[2], variables)
    assert net.cost(ROWS.T, variables["y"]) > 0
    refused("labels must contain numbers, got text like 'no'", net.accuracy, ROWS.T, text)
    refused("epochs must be", net.train, ROWS.T, text, epochs=0)
    assert net.classes is None
    train = fastbp.Network([2, 5], backend="numpy-plain").train
    refused("y must have 5 different labels, .*, got 3: no, perhaps, yes; .*set net.classes = ", train, ROWS.T, text)
    refused("y must have 2 different labels", fastbp.Network([2, 2], backend="numpy-plain").train, ROWS.T, text)
    refused("got one identity output", fastbp.Network([2, 1], "identity", backend="numpy-plain").train, ROWS.T, text)
    for missing in (None, np.nan, pandas.NA):
        for labels in ([*text[:3], missing, *text[4:]], pandas.Series([missing, *text[1:]], dtype=object)):
            refused("y must have a label for each example, got .*example [03]", net.train, ROWS.T, labels)
    net.train(ROWS.T, text, epochs=1, progress=False)
    refused(r"y must contain the classes no, perhaps, yes, got 'n' \(example 0\)", net.train, ROWS.T, ["n", *text[1:]])
    refused("class_weight has the class 'n'; the classes are .*, or no, perhaps, yes", net.train, ROWS.T, text,
            class_weight={"n": 1.0})  # fmt: skip
    for classes in (["a", "b"], ["a", "a", "b"], [1, 2, 3], "abc"):
        refused("classes must ", setattr, net, "classes", classes)


REFUSED = {
    "missing": (
        lambda: nullable().replace(3, None).assign(a=[None, *A[1:]]),
        r"finite numbers .* got nan \(row 0, column 0\)",
    ),
    "text": (lambda: plain().assign(b="red"), r"x must contain real numbers, got 'red'; leave out .*get_dummies\(x"),
    "dates": (lambda: plain().assign(b=pandas.Timestamp(0)), "x must contain real numbers, got Timestamp"),
    "text, categorical": (lambda: plain().assign(b=pandas.Categorical(["u"] * 12)), "got 'u'"),
    "huge": (lambda: pandas.DataFrame({"a": np.array([10**400] * 12, object), "b": B}), "in the range of float64"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_are_no_numbers_are_refused(name):
    make, message = REFUSED[name]
    net = fastbp.Network([2, 3], rng=0, backend="numpy-plain")
    refused(message, net.train, make().T, LABELS, progress=False)


def test_object_arrays_are_refused_with_the_call_that_works():
    x = plain().convert_dtypes().to_numpy().T
    net = fastbp.Network([2, 3], rng=0, backend="numpy-plain")
    message = refused("x must contain real numbers, got dtype object; pass x.astype", net.feedforward, x)
    net.feedforward(eval(message.partition("; pass ")[2], {"x": x}))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (LABELS + 0.5, "y must be integer labels .*, got a vector of float64"),
        (np.where(LABELS == 0, np.nan, 1.0), "y must be integer labels"),
        (LABELS + 1.0, r"labels must be from 0 to 2, got 3.0 \(example 2\)"),
        (LABELS * 1e300, r"labels must be from 0 to 2, got 1e\+300 \(example 1\)"),
        (-1.0 * LABELS, r"labels must be from 0 to 2, got -1.0 \(example 1\)"),
        (LABELS[:11, None], "y must have 3 rows|one label per example"),
    ],
)
def test_other_labels_are_refused(y, message):
    refused(message, fastbp.Network([2, 3], rng=0).train, ROWS.T, y, progress=False)


@QUIET
@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_estimators_take_frames_and_their_labels(name, kind):
    estimators = pytest.importorskip("fastbp.estimators")
    frame = FRAMES[name]()
    rows = np.stack([A, B > 4], axis=1).astype(float) if name == "booleans" else ROWS
    fitted = [
        getattr(estimators, kind)(hidden_layer_sizes=(3,), max_iter=2, tol=9.0, n_iter_no_change=1, random_state=0).fit(
            x, LABELS
        )
        for x in (frame, rows)
    ]
    np.testing.assert_array_equal(fitted[0].predict(frame), fitted[1].predict(rows))


@QUIET
@pytest.mark.parametrize("name", TEXT)
def test_estimators_take_labels_of_text(name):
    if name == "(n, 1)":
        pytest.skip("scikit-learn warns of columns of labels")
    estimators = pytest.importorskip("fastbp.estimators")
    text = np.array(["no", "yes", "perhaps"])[LABELS]
    net = estimators.MLPClassifier((3,), max_iter=2, tol=9.0, n_iter_no_change=1, random_state=0)
    assert net.fit(ROWS, TEXT[name](text)).classes_.tolist() == ["no", "perhaps", "yes"]


def test_pixels_without_a_scale_are_warned_of(backend):
    pixels = np.full((2, 12), 200, np.uint8)
    net = fastbp.Network([2, 3], rng=0, backend=backend)
    with pytest.warns(
        UserWarning, match="x contains bytes up to 200, which .* pass input_scale=1/255 to Network"
    ) as said:
        net.train(pixels, LABELS, epochs=1, progress=False)
    assert said[0].filename == __file__
    net.train(pixels // 2, LABELS, epochs=1, progress=False)
    fastbp.Network([2, 3], input_scale=1 / 255, backend=backend).train(pixels, LABELS, epochs=1, progress=False)
