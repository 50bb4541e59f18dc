"""Tables in the layouts that people have: what is read, which column is the label, and what is refused."""

import gzip
import io
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refused
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from fastbp.datasets import fit, prepare, read_table
from fastbp.datasets.sources import read_inputs_of

ROWS = [[5.1, 3.5, "setosa"], [6.3, -2.9, "virginica"], [5.8, 2.7, "setosa"]]


@pytest.fixture
def file(tmp_path):
    """Write bytes or text to a file; return its path."""

    def write(data, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return write


def text(separator=",", decimal=".", header=True, quote=""):
    lines = [["length", "width", "species"]] * header + [
        [str(value).replace(".", decimal) for value in row] for row in ROWS
    ]
    return "".join(separator.join(f"{quote}{field}{quote}" for field in line) + "\n" for line in lines)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (text(), "t.csv"),
        (text(";", ","), "t.csv"),
        (text(";", "."), "t.csv"),
        (text("\t"), "t.tsv"),
        (text("\t", ","), "t.txt"),
        (text("|"), "t.csv"),
        (text("  "), "t.dat"),
        (text(quote='"'), "t.csv"),
        ("\ufeff" + text(), "t.csv"),
        (text().replace("\n", "\r\n"), "t.csv"),
        (text().encode("utf-16"), "t.csv"),
        (gzip.compress(text().encode()), "t.csv.gz"),
        (gzip.compress(text("\t").encode()), "t"),
        ("\n\n" + text().replace("\n", "\n\n"), "t.csv"),
    ],
)
def test_layouts_of_text(file, data, name):
    table = read_table(file(data, name))
    assert table.header
    assert list(table.frame.columns) == ["length", "width", "species"]
    assert table.frame.to_numpy().tolist() == ROWS
    line, value = table.place(2, "width")
    assert line.endswith("column 'width'")
    assert float(value.replace(",", ".")) == 2.7


def test_quotes_around_nothing_are_a_row_and_an_empty_line_is_none(file):
    table = read_table(file('a\n""\n \n\n2\n', "t.csv"))
    assert table.frame["a"].isna().tolist() == [True, False]
    assert [table.place(row, "a") for row in (0, 1)] == [("line 2, column 'a'", ""), ("line 5, column 'a'", "2")]


@pytest.mark.parametrize("name", ["t.parquet", "t.feather"])
def test_parquet_and_feather(tmp_path, name):
    frame = pd.DataFrame(ROWS, columns=["length", "width", "species"])
    getattr(frame, f"to_{name[2:]}")(tmp_path / name)
    assert read_table(tmp_path / name).frame.to_numpy().tolist() == ROWS
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    refused(f"{name} cannot be read .*; expected a complete", read_table, tmp_path / name)


def test_standard_input(monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO(gzip.compress(text(";", ",").encode())))
    monkeypatch.setattr(sys, "stdin", stdin)
    table = read_table("-")
    assert table.frame.to_numpy().tolist() == ROWS
    assert table.place(1, "length") == ("line 3, column 'length'", "6,3")


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (text(header=False), False),
        ("0,1,2\n5,6,7\n8,9,1\n", True),  # as pandas names columns
        ("1,2,3\n4,5,6\n7,8,9\n", True),
        ("5,6,7\n8,9,1\n", False),
        ("a,b\nx,y\nu,y\n", True),
        ("x,y\nx,y\nu,y\n", False),
        ("a,b\n", True),
        ("1,2\n", False),
        ("1,?\n3,4\n", False),
    ],
)
def test_column_names_are_recognised(file, data, header):
    assert read_table(file(data), header=None if data != "a,b\n" else False).header == (header and data != "a,b\n")
    assert not read_table(file(data), header=False).header


def test_an_index_of_pandas_is_left_out_with_a_word(tmp_path):
    frame = pd.DataFrame({"a": [5, 6, 7, 8], "y": [0, 1, 0, 1]})
    frame.to_csv(tmp_path / "t.csv")
    table = read_table(tmp_path / "t.csv")
    assert list(table.frame.columns) == ["a", "y"]
    assert table.notes == ("column 0 has no name and counts the rows: left out",)


def test_text_in_a_later_chunk_makes_the_whole_column_text(file, monkeypatch):
    monkeypatch.setattr("fastbp.datasets.table_text._CELLS_PER_CHUNK", 200)
    table = read_table(file("code,n\n" + "007,1\n" * 250 + "A1,2\n"))
    assert set(table.frame["code"]) == {"007", "A1"}


@pytest.mark.parametrize(
    ("data", "values", "note"),
    [
        ('views,y\n"9,081",1\n"1,234,567.5",0\n12,0\n', [9081, 1234567.5, 12], "column 'views' (9,081 is 9081)"),
        ("views;y\n9,081;1\n1,234,567;0\n12;0\n", [9081, 1234567, 12], "column 'views' (9,081 is 9081)"),
        ("views;y\n9,081;1.5\n1,234;0.5\n12,000;0\n", [9081, 1234, 12000], "column 'views' (9,081 is 9081)"),
        ("views;y\n9.081,25;1,5\n1.234;0,5\n12;0\n", [9081.25, 1234, 12], "column 'views' (9.081,25 is 9081.25)"),
        ("views,y\n1 234,1\n-1\u00a0234\u00a0567,0\n", [1234, -1234567], "column 'views' (1 234 is 1234)"),
        ("views;y\n9,081;1\n1,234;0\n", [9.081, 1.234], "numbers have a decimal comma"),
        ("views;y\n9,08;1\n1,234;0\n", [9.08, 1.234], "numbers have a decimal comma"),
    ],
)
def test_thousands_separators(file, data, values, note):
    table = read_table(file(data))
    assert table.header
    assert table.frame["views"].tolist() == values
    assert table.notes[-1].endswith(note)


@pytest.mark.parametrize("token", ["?", "-", "NA", "n/a", "", "null", "#N/A", "--", ".", "missing"])
def test_missing_values_as_they_are_written(file, token):
    data = "a,b,y\n" + "".join(f"{i if i % 5 else token},{'uv'[i % 2]},{i % 2}\n" for i in range(1, 41))
    assert read_table(file(data)).header
    prepared = prepare(file(data), missing="mean")
    feature = prepared.preparation.features[0]
    assert feature.kind == "number"
    assert 0 < feature.fill < 41
    place = f"line 6, column 'a' is {'empty' if not token else repr(token)}".replace("?", r"\?").replace("'.'", r"'\.'")
    refused(
        f"{place}; expected a value; for tables with missing values: --missing mean, median or drop",
        prepare,
        file(data),
    )


def test_rows_without_a_label_are_left_out(file):
    data = "a,b,y\n" + "".join(
        f"{i if i % 7 else ''},{i if i % 3 else ''},{i % 2 if i % 5 else ''}\n" for i in range(1, 61)
    )
    prepared = prepare(file(data), missing="mean")
    assert sum(part[0].shape[1] for part in (prepared.training, prepared.validation, prepared.test)) == 48
    assert prepared.said[-2:] == (
        "missing values: 12 of 60 rows left out, 12 of them because of the label",
        "missing values replaced by the mean: column 'a', column 'b'",
    )
    dropped = prepare(file(data), missing="drop").said[-1]
    assert dropped == "missing values: 33 of 60 rows left out, 20 of them because of column 'b'"


def test_a_dash_among_texts_is_a_text(file):
    assert read_table(file("a,y\nx,1\n-,0\n1,0\n")).frame["a"].tolist() == ["x", "-", "1"]


@pytest.mark.parametrize(
    ("label", "column"), [(None, "species"), ("width", "width"), (0, "length"), ("-1", "species"), ("1", "width")]
)
def test_the_label_column_is_found_by_name_or_position(file, label, column):
    data = "length,width,species\n" + "".join(f"{i % 2},{i % 2 + 1},{'ab'[i % 2]}\n" for i in range(40))
    prepared = prepare(file(data), label)
    assert prepared.preparation.target.name == column
    assert f"label: column '{column}'" in prepared.said[0]


@pytest.mark.parametrize("name", ["label", "Target", "CLASS", "y"])
def test_usual_names_of_the_label_are_taken(file, name):
    prepared = prepare(file(f"{name},a\n" + "0,1.5\n1,2.5\n" * 20))
    assert prepared.preparation.target.name == name
    assert prepared.said[0] == f"label: column '{name}' (by its name; integers), 2 classes: 0 20, 1 20"


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"] * 20, "classification"),
        ([True, False] * 20, "classification"),
        ([0, 1] * 20, "classification"),
        (list(range(10)) * 4, "classification"),
        ([1.5, 2.0] * 20, "regression"),
        (list(range(40)), "regression"),
        ([3, 5, 8, 13, 21] * 8, "classification"),
        (list(range(30)) * 10, "classification"),
        ([i * i for i in range(30)] * 10, "regression"),
    ],
)
def test_the_task_follows_from_the_label_column(values, task):
    assert fit({"a": np.arange(len(values)), "y": values}).target.task == task


REFUSED = {
    "dates": ("day,y\n2024-01-01,0\n2024-01-02,1\n", r"column 'day' has dates, such as '2024-01-01'; replace them by"),
    "times": (
        "at,y\n12:30,0\n9:05 pm,1\n",
        r"column 'at' has times, such as '12:30'; replace them by numbers, such as",
    ),
    "months": ("day,y\n5 Jan 2024,0\n31 March 2024,1\n", "column 'day' has dates, such as '5 Jan 2024'"),
    "units": (
        "price,y\n" + "".join(f"$ {i}.99,{i % 2}\n" for i in range(30)),
        r"column 'price' has numbers with a unit, such as '\$ 0.99'; write the numbers alone, or leave it out",
    ),
    "several columns": (
        "day,first name,a,at,y\n"
        + "".join(f"2024-01-{i % 28 + 1:02},name{i},{i},12:{i % 60:02},{i % 2}\n" for i in range(150)),
        r"3 columns cannot be inputs: column 'day' has dates, .*; column 'first name' has 150 different texts, .*; "
        r"column 'at' has times, such as '12:00'; leave them out: --drop day --drop 'first name' --drop at",
    ),
    "nothing but missing": ("a,b,y\n1,?,0\n2,NA,1\n3,,1\n", "column 'b' has no values; leave it out: --drop b"),
    "missing": ("a,y\n1,0\n,1\n2,1\n", r"line 3, column 'a' is empty; expected a value; .*--missing mean, median or"),
    "missing, written": ("a,y\n1,0\nNA,1\n2,1\n", "line 3, column 'a' is 'NA'; expected a value"),
    "missing label": (
        "a,y\n1,0\n2,\n2,1\n",
        "line 3, column 'y' is empty; expected a label; --missing mean, median or drop leaves out",
    ),
    "text among numbers": (
        "a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(30)) + "abc,1\n",
        "line 32, column 'a' is 'abc'; expected a number, as in most rows",
    ),
    "too many texts": (
        "a,y\n" + "".join(f"name{i},{i % 2}\n" for i in range(200)),
        "column 'a' has 200 different texts, such as 'name0', more than 100; leave it out: --drop a",
    ),
    "one class": ("a,y\n1,0\n2,0\n", "the label column 'y' has only the value '0'; expected at least 2"),
    "an identifier as label": (
        "a,id\n" + "".join(f"{i},n{i}\n" for i in range(9)),
        "the label column 'id' has 9 different values in 9 rows, too many for classes; choose another",
    ),
    "two labels": ("y,class,a\n0,1,2\n", "has the columns y, class; choose the label with --label y"),
    "equal names": ("a,a,y\n1,2,0\n", "has 2 columns 'a'; expected different names"),
    "ragged": ("a,b,y\n1,2,0\n1,2,3,4\n", "line 3 has 4 fields; expected 3 fields in every row"),
    "short": ("a,b,y\n1,2,0\n1,2\n", "line 3 has 2 fields; expected 3, as in the first line"),
    "latin1": ("a,y\nfianc\xe9e,0\n".encode("latin1"), "has another encoding; expected UTF-8; to convert it: iconv"),
    "infinity": ("a,y\n1,0\ninf,1\n", "line 3, column 'a' is 'inf'; expected a finite number"),
    "excel": (b"PK\3\4\0\0", "cannot be read|is a zip archive|is not a zip file"),
    "json": ('[{"a": 1, "y": 0}]', "is a JSON file; expected a .csv file, as written by"),
    "html": ("<html></html>", "is an HTML or XML file"),
    "arff": ("@relation x\n", "is an ARFF file"),
    "image": (b"\x89PNG\r\n\x1a\n", "is an image; expected a table, or a folder"),
    "pdf": (b"%PDF-1.4", "is a PDF file"),
    "sqlite": (b"SQLite format 3\0", "is a database of SQLite; expected a .csv file"),
    "pickle": (b"\x80\4N.", "is a pickle, which is never loaded"),
    "nothing": ("", "has no rows"),
    "names only": ("a,b\n", "has column names and no rows"),
    "one column": ("a\n1\n2\n", "has 1 column; expected inputs and a label column"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_tables_that_cannot_be_used_are_refused(file, kind):
    data, message = REFUSED[kind]
    error = refused(message, prepare, file(data))
    assert "table.csv" in error
    assert len(error) < 400


def test_excel_files_and_missing_files_are_refused(file, tmp_path):
    refused(
        "sheet.xlsx is a zip archive, such as an Excel file; expected a .csv",
        prepare,
        file(b"PK\3\4\0\0", "sheet.xlsx"),
    )
    nowhere = tmp_path / "nowhere.csv"
    refused("nowhere.csv does not exist", read_inputs_of, nowhere, header=None, text_columns=())


def test_parts_of_an_archive_are_kept(tmp_path):
    x, y = np.arange(60.0).reshape(30, 2), np.arange(30) % 3
    np.savez(tmp_path / "a.npz", x_train=x[:20], y_train=y[:20, None], x_test=x[20:], y_test=np.eye(3)[y[20:]])
    prepared = prepare(tmp_path / "a.npz", scale="none")
    np.testing.assert_array_equal(prepared.test[0].T, x[20:])
    np.testing.assert_array_equal(prepared.test[1], y[20:])
    assert prepared.training[0].shape[1] + prepared.validation[0].shape[1] == 20


def test_a_folder_of_images(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 6, 5), np.uint8)
    for i, picture in enumerate(pixels):
        (tmp_path / ["cat", "dog"][i % 2]).mkdir(exist_ok=True)
        image.fromarray(picture).save(tmp_path / ["cat", "dog"][i % 2] / f"{i:02}.png")
    prepared = prepare(tmp_path, scale="none")
    assert prepared.preparation.target.classes == ("cat", "dog")
    x = np.concatenate([part[0].T for part in (prepared.training, prepared.validation, prepared.test)])
    assert {row.tobytes() for row in x.astype(np.uint8)} == {picture.tobytes() for picture in pixels}
    image.fromarray(pixels[0, :5]).save(tmp_path / "cat" / "zz.png")
    refused("zz.png has 5 × 5 pixels; expected 5 × 6, as in 00.png: resize", prepare, tmp_path)
    image.fromarray(1000 * np.ones((6, 5), np.uint16)).save(tmp_path / "cat" / "zz.png")
    refused("zz.png has more than 8 bits per pixel; expected 8 bits per pixel and colour", prepare, tmp_path)
    (tmp_path / "cat" / "zz.png").write_bytes(b"no image")
    refused("zz.png cannot be read .*; expected an image", prepare, tmp_path)


# ---- preparation, judged by scikit-learn


@st.composite
def frames(draw):
    n = draw(st.integers(8, 30))
    numbers = st.lists(st.floats(-1e6, 1e6, allow_nan=False, width=32), min_size=n, max_size=n)
    texts = st.lists(st.sampled_from(["red", "green", "blue"]), min_size=n, max_size=n)
    return pd.DataFrame(
        {"a": draw(numbers), "colour": draw(texts), "b": draw(numbers), "y": ["u", "v"] * (n // 2) + ["u"] * (n % 2)}
    )


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(frame=frames(), scale=st.sampled_from(["standard", "minmax", "none"]))
def test_inputs_are_those_of_scikit_learn(frame, scale):
    preparation = fit(frame, scale=scale)
    numbers = frame[["a", "b"]].to_numpy(float)
    scaler = {"standard": StandardScaler(), "minmax": MinMaxScaler()}.get(scale)
    a, b = (scaler.fit_transform(numbers) if scaler else numbers).T
    texts = OneHotEncoder(sparse_output=False).fit_transform(frame[["colour"]]).T
    expected = np.vstack([a[None], texts, b[None]])
    np.testing.assert_allclose(preparation.transform(frame), expected, rtol=1e-4, atol=1e-4)
    shuffled = frame[["b", "y", "a", "colour"]].assign(more=1)
    np.testing.assert_array_equal(preparation.transform(shuffled), preparation.transform(frame))


@pytest.mark.parametrize(("how", "value"), [("mean", 2.5), ("median", 2.0)])
def test_missing_values_are_filled_in(how, value):
    frame = pd.DataFrame({"a": [1.0, 2.0, 2.0, 5.0, np.nan], "c": ["x", "x", "z", None, "z"], "y": list("uvuvu")})
    preparation = fit(frame, missing=how, scale="none")
    assert preparation.transform(frame)[:, 4].tolist() == [value, 0.0, 1.0]
    assert preparation.transform(frame)[1:, 3].tolist() == [1.0, 0.0]  # x is as frequent as z, and comes first
    assert fit(frame, missing="drop", scale="none").transform(frame.dropna()).shape == (3, 3)


def test_what_is_fitted_does_not_depend_on_validation_and_test_examples(file):
    rng = np.random.default_rng(0)
    rows = [f"{value:.6f},{'ab'[i % 2]}" for i, value in enumerate(rng.normal(size=50))]
    prepared = prepare(file("a,y\n" + "\n".join(rows) + "\n"))
    (x, _), others = prepared.training, [prepared.validation[0], prepared.test[0]]
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-6)
    assert abs(np.concatenate([x, *others], axis=1).mean()) > 1e-4


def test_pixels_are_recognised_by_the_training_examples_alone(file):
    def data(changed, value, rows=50):
        pixels = np.random.default_rng(0).integers(0, 256, (rows, 64)).astype(object)
        pixels[changed, 3] = value
        lines = [f"{i % 2}," + ",".join(map(str, row)) for i, row in enumerate(pixels)]
        return file(",".join(["label", *(f"p{j}" for j in range(64))]) + "\n" + "\n".join(lines) + "\n")

    marked = prepare(data(slice(None), "7"))  # to find the rows of each part
    assert marked.preparation.input_scale == 1 / 255
    seeded = [read_split(marked, part) for part in ("training", "test")]
    for row, expected in zip(seeded, (1.0, 1 / 255), strict=True):
        for value in ("300", "-1", "2.5"):
            prepared = prepare(data(row, value))
            assert prepared.preparation.input_scale == expected, (row, value)
            if expected != 1.0:
                assert float(value) in prepared.test[0][3]


def read_split(prepared, part):
    """Return the index in the file of an example of a part, which is found by its pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 64))
    pixels[:, 3] = 7
    return next(i for i, row in enumerate(pixels) if (row == getattr(prepared, part)[0][:, 0]).all())


def test_columns_of_text_and_booleans_are_named(file):
    rows = "".join(f"{i},{'uv'[i % 2]},{i % 3 == 0},{'klm'[i % 3]},{i % 2}\n" for i in range(30))
    assert prepare(file("n,colour,member,size,y\n" + rows)).said[1:] == (
        "inputs: 7 from 4 columns; numbers scaled to mean 0 and standard deviation 1, column by column",
        "text as categories: column 'colour' (2), column 'size' (3)",
        "true or false: column 'member'",
    )


def test_integers_taken_as_classes_say_how_to_predict_numbers(file):
    stars = prepare(file("a,stars\n" + "".join(f"{i},{i % 10 + 1}\n" for i in range(60)))).said[0]
    assert ", 10 classes: 1 6, 2 6, " in stars
    assert stars.endswith("; --task regression for numbers")


def test_pixels_stay_bytes_and_constant_columns_get_scale_1(file):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 64))
    pixels[0, 0] = 255
    data = ",".join(["label", *(f"p{j}" for j in range(64))]) + "\n"
    data += "".join(f"{i % 2}," + ",".join(map(str, row)) + "\n" for i, row in enumerate(pixels))
    prepared = prepare(file(data))
    assert prepared.training[0].dtype == np.uint8
    assert prepared.preparation.input_scale == 1 / 255
    constant = fit({"a": [7.0, 7.0, 7.0], "b": [1.0, 2.0, 3.0], "y": ["u", "v", "u"]})
    assert constant.features[0].factor == 1.0
    assert constant.transform({"b": [1.0], "a": [7.0]})[0, 0] == 0.0
