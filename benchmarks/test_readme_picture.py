"""The picture of the README, drawn with made-up times."""

import io

from benchmarks import readme_picture
from fastbp.bench.timing import spread


def test_the_picture_shows_each_library_with_its_time():
    times = {label: spread([0.1 * i]) for i, label in enumerate(readme_picture.LABELS.values(), 1)}
    figure = readme_picture.draw({"784-30-10 × 10": times, "784-100-10 × 10": times}, "A machine, today.")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(times)
    for panel in figure.axes:
        assert [text.get_text() for text in panel.texts] == ["0.10", "0.20", "0.30", "0.40", "0.50"]
    figure.savefig(picture := io.BytesIO(), format="png")
    assert picture.getvalue().startswith(b"\x89PNG")
