"""What a notebook shows: one progress display, no box of standard error, tables of networks, pictures."""

import json

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

CELLS = [
    """
import fastbp
(x, labels), validation, test = fastbp.datasets.load("digits")
net = fastbp.Network([64, 30, 10], rng=0)
net""",
    "history = net.train(x, labels, epochs=100, eta=3.0, validation=validation)",
    "history",
    "net.trace(x[:, :1], labels[:1])",
    "history.plot();",
    "history.to_frame()",
]
WITHOUT_WIDGETS = "import fastbp.training.progress as progress; progress.find_spec = lambda name: None"


@pytest.fixture(
    scope="module", params=["", pytest.param(WITHOUT_WIDGETS, marks=pytest.mark.slow)], ids=["widgets", "text"]
)
def notebook(request):
    """A notebook that was executed, with ipywidgets and without."""
    if not request.param:
        pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in [request.param, *CELLS]])
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3", coalesce_streams=True).execute()
    return book


@pytest.fixture
def outputs(notebook):
    """The outputs of each cell."""
    return [cell.outputs for cell in notebook.cells[1:]]


def test_training_shows_one_progress_display_and_nothing_on_standard_error(notebook, outputs):
    flat = [output for cell in outputs for output in cell]
    assert [o for o in flat if o.get("name") == "stderr" or o.output_type == "error"] == []
    (shown,) = outputs[1]
    text = shown.text if shown.output_type == "stream" else json.dumps(notebook.metadata.widgets, ensure_ascii=False)
    text = text.replace("\u2007", " ")  # widgets have spaces of fixed width
    assert "epoch 100/100" in text
    assert "100%" in text


def test_all_outputs_have_less_than_200_lines(outputs):
    texts = [o.text if o.output_type == "stream" else o.data.get("text/plain", "") for cell in outputs for o in cell]
    assert sum(text.count("\n") + 1 for text in texts) < 200


def test_results_have_short_texts_tables_and_pictures(outputs):
    network, _, history, trace, picture, frame = outputs
    assert "<table>" in network[0].data["text/html"]
    assert history[0].data["text/plain"].startswith("<History: 100 epochs, cost ")
    assert trace[0].data["text/plain"] == "<Trace of 1 example: 64-30-10>"
    assert "image/png" in picture[0].data
    assert "validation_accuracy" in frame[0].data["text/html"]
