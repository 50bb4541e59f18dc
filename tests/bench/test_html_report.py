"""The page of `fastbp bench --html`: its content, its charts in a browser, and what is refused."""

import json
import re

import pytest
from bench_stand_ins import cpu, gpu
from browser import opened, skip_without_chromium, started
from commands import run_command
from refusals import refused

from fastbp.bench import charts, run
from fastbp.bench.gpu_report import GPU_LEGEND
from fastbp.bench.grid import BenchSettings
from fastbp.bench.html_report import page_content, save_html
from fastbp.bench.results import read_results

NETS, BATCHES = ["20-8-5", "20-64-5"], [10, 100, 1000]
TINY = BenchSettings(
    (), (), epoch_flops=1e4, max_examples=50, seconds=0.0, min_rounds=3, max_rounds=3, max_side=64, copy_bytes=2**16
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with the results and the page of a benchmark on a model of a CPU and of a GPU."""
    folder = tmp_path_factory.mktemp("bench")
    page = folder / "report.html"
    assert run.bench(TINY, [], "float64", NETS, BATCHES, folder / "out.json", None, [cpu(), gpu()], html=page) == 0
    return folder


def content(page):
    (text,) = re.findall(r'id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    return json.loads(text)


def test_the_page_holds_the_results_and_the_verdict(measured):
    page = content(measured / "report.html")
    assert page["results"] == json.loads((measured / "out.json").read_text("utf-8"))
    assert len(page["points"]) == 2 * len(NETS) * len(BATCHES)
    assert any(re.match(r"stand-in on 20-8-5: the GPU wins", line) for line in page["verdict"])


def test_the_table_of_the_gpu_is_in_the_report_and_its_terms_in_the_method(measured):
    page = content(measured / "report.html")
    assert "time of a step, and of the host" in page["report"]
    assert page["legend"].endswith(GPU_LEGEND)
    assert GPU_LEGEND not in page["report"]
    assert {"seconds", "host_seconds"} == set(page["results"]["measurements"][-1]["steps"]["eager"])


def test_a_page_of_saved_results_is_the_same(measured, tmp_path):
    done = run_command("bench", "--from", measured / "out.json", "--html", tmp_path / "again.html")
    assert done.returncode == 0, done.stderr
    assert f"report in {tmp_path}" in done.stdout
    assert content(tmp_path / "again.html") == content(measured / "report.html")


def test_the_verdict_compares_with_plain_numpy(measured):
    results = read_results(measured / "out.json")
    plain = [m for m in results.measurements if m.backend == "slow-numbers"]
    for m in plain:
        object.__setattr__(m, "backend", "numpy-plain")
    ratios = sorted(
        m.examples_per_second / next(p.examples_per_second for p in plain if p.point == m.point)
        for m in results.measurements
        if m.backend == "stand-in"
    )
    said = f"stand-in trains {ratios[0]:.2g} to {ratios[-1]:.2g} times as fast as plain NumPy."
    assert said in page_content(results)["verdict"]


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "measure", lambda *_: pytest.fail("something was measured"))
    go = lambda: run.bench(TINY, [], "float64", NETS, BATCHES, None, None, [cpu()], html="/no/such/report.html")
    refused("cannot write '/no/such/report.html'", go)


def test_one_chart_of_the_results(measured):
    results = read_results(measured / "out.json")
    ax = charts.throughput(results, "20-64-5")
    assert ax.get_title() == "20-64-5"
    (line,) = [line for line in ax.get_lines() if line.get_label() == "stand-in"]
    expected = [m.examples_per_second for m in results.measurements if m.net == "20-64-5" and m.backend == "stand-in"]
    assert line.get_ydata() == pytest.approx(expected)
    refused("unknown network '1-2'", charts.throughput, results, "1-2")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_charts_can_be_read_off_in_a_browser(measured, tmp_path, width, dark):
    skip_without_chromium()
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    results = read_results(measured / "out.json")
    for machine in results.machines:
        object.__setattr__(machine, "device", "</script><b>GPU</b>")
    save_html(results, tmp_path / "report.html")
    with started() as driver, opened(driver, tmp_path / "report.html", width=width, dark=dark) as page:
        assert page.execute_script("const e = document.documentElement; return e.scrollWidth === e.clientWidth")
        figures = page.find_elements(By.CSS_SELECTOR, "#rates figure")
        assert [f.find_element(By.TAG_NAME, "figcaption").text for f in figures] == NETS
        figures[0].send_keys(Keys.ARROW_RIGHT)
        first = next(m for m in results.measurements if m.net == NETS[0])
        said = figures[0].find_element(By.TAG_NAME, "output").text
        assert said.startswith(f"{first.backend}, mini-batches of 10: ")
        rate = float(re.findall(r"([\d,.]+) examples/s", said)[0].replace(",", ""))
        assert rate == pytest.approx(first.examples_per_second, rel=1e-3)
        assert "</script><b>GPU</b>" in page.find_element(By.ID, "machine").text
