"""The page of `Trace.to_html` in a browser: its numbers, steps, keyboard, slider, phones and dark mode."""

import numpy as np
import pytest
from browser import equal_as_shown, number, opened, skip_without_chromium, started

import fastbp

skip_without_chromium()
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys


@pytest.fixture(scope="module")
def driver():
    with started() as driver:
        yield driver


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """A network, the trace of one example, and the page about it."""
    (x, labels), (x_test, labels_test) = fastbp.datasets.digits()
    net = fastbp.Network([64, 20, 15, 10], rng=0)
    net.train(x, labels, epochs=2, eta=3.0, progress=False)
    trace = net.trace(x_test[:, 7:8], labels_test[7:8])
    path = tmp_path_factory.mktemp("page") / "page.html"
    trace.to_html(path, outputs=list(map(str, range(10))))
    return net, trace, path


def cells(page, l):
    return page.find_elements(By.CSS_SELECTOR, ".cells")[l]


def value(page, name):
    return page.find_element(By.CSS_SELECTOR, f"[data-value={name}]").text


def result(page, name):
    return page.find_element(By.CSS_SELECTOR, f"[data-result={name}]").get_property("textContent")


def choose(page, l, j):
    """Select neuron j of layer l, both counted from 0, with the keyboard."""
    cells(page, l).send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * j)


def test_the_numbers_of_a_hidden_neuron_are_those_of_the_trace(driver, explained):
    net, trace, path = explained
    w, x = net.weights[1], trace.activations[1]
    with opened(driver, path) as page:
        choose(page, 2, 6)
        assert page.find_element(By.ID, "chosen").text == "Neuron 7 of layer 3"
        expected = {
            "z": trace.zs[1], "a": trace.activations[2], "g": trace.activation_gradients[2], "d": trace.deltas[1],
        }  # fmt: skip
        for name, array in expected.items():
            assert equal_as_shown(value(page, name), float(array[6, 0])), name
        a = float(trace.activations[2][6, 0])
        assert number(value(page, "s")) == pytest.approx(a * (1 - a), rel=1e-4)
        for name, array in {"z": trace.zs[1], "a": trace.activations[2], "delta": trace.deltas[1]}.items():
            assert equal_as_shown(result(page, name), float(array[6, 0])), name
        assert equal_as_shown(result(page, "gradient"), float(trace.activation_gradients[2][6, 0]))
        assert equal_as_shown(result(page, "bias"), float(trace.nabla_b[1][6, 0]))
        terms = [term.get_property("textContent") for term in page.find_elements(By.CSS_SELECTOR, ".term")][:5]
        largest = sorted(range(20), key=lambda k: -abs(w[6, k] * x[k, 0]))[:5]
        for term, k in zip(terms, largest, strict=True):
            factors = term.strip("=+").replace("(", "").replace(")", "").split("·")
            assert [number(f) for f in factors] == pytest.approx([w[6, k], x[k, 0]], rel=1e-4)


def test_the_numbers_of_a_weight_are_those_of_the_trace_and_of_a_step(driver, explained):
    net, trace, path = explained
    with opened(driver, path) as page:
        choose(page, 3, 0)
        page.find_element(By.ID, "from").send_keys(Keys.CONTROL, "a", Keys.NULL, "2", Keys.ENTER)
        assert page.find_element(By.ID, "weight-name").text == "w₁₂⁽ᴸ⁾"
        w, slope = float(net.weights[2][0, 1]), float(trace.nabla_w[2][0, 1])
        assert equal_as_shown(result(page, "weight"), w)
        for name in ("chain", "nabla"):
            assert number(result(page, name)) == pytest.approx(slope, rel=1e-4)
        one_step = net.to()
        eta = page.find_element(By.ID, "eta")
        eta.clear()
        eta.send_keys("500")
        one_step.update_mini_batch(trace.activations[0], trace.network.y, 500.0)
        assert number(result(page, "stepped")) == pytest.approx(float(one_step.weights[2][0, 1]), rel=1e-4)


def test_the_slider_shows_the_predicted_and_the_true_change_of_the_cost(driver, explained):
    net, trace, path = explained
    x, y = trace.activations[0], trace.network.y
    with opened(driver, path) as page:
        choose(page, 1, 4)
        page.find_element(By.ID, "nudge").send_keys(*[Keys.ARROW_RIGHT] * 3)
        assert number(result(page, "dz")) == pytest.approx(0.8)
        delta = float(trace.deltas[0][4, 0])
        assert number(result(page, "predicted")) == pytest.approx(0.8 * delta, rel=1e-4)
        nudged = net.to(dtype="float64")
        before = nudged.cost(x, y)
        nudged.biases[0][4, 0] += 0.8
        assert number(result(page, "true")) == pytest.approx(nudged.cost(x, y) - before, rel=1e-3)


def test_the_steps_go_forward_and_back_and_light_the_arrows(driver, explained):
    with opened(driver, explained[2]) as page:
        back, forward = page.find_element(By.ID, "back"), page.find_element(By.ID, "forward")
        while back.is_enabled():
            back.click()

        def state():
            gaps = page.find_elements(By.CSS_SELECTOR, ".gap")
            current = page.find_element(By.CSS_SELECTOR, "#steps [aria-current]").text
            lit = "".join(gap.get_attribute("data-direction")[:1] or "-" for gap in gaps)
            arrows = "".join("|" if gap.find_elements(By.TAG_NAME, "line") else "-" for gap in gaps)
            assert arrows == {"2": lit, "4": lit}.get(current[0], arrows).replace("f", "|").replace("b", "|")
            return current[0], lit, len(page.find_elements(By.CSS_SELECTOR, ".quantity:not(.later)"))

        states = [state()]
        while forward.is_enabled():
            forward.click()
            states.append(state())
        assert states == [
            ("1", "---", 1), ("2", "f--", 4), ("2", "-f-", 7), ("2", "--f", 10), ("3", "---", 12),
            ("4", "--b", 14), ("4", "-b-", 16), ("5", "ggg", 17),
        ]  # fmt: skip
        page.find_elements(By.CSS_SELECTOR, "#steps button")[1].click()
        assert state()[0] == "2"
        assert "computes δ" in page.find_element(By.ID, "details").text


def test_pointing_at_a_cell_or_clicking_it_selects_its_neuron(driver, explained):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    def to_cell(i):
        offset = round((i + 0.5) * canvas.size["width"] / 10 - canvas.size["width"] / 2)
        return ActionChains(page).move_to_element_with_offset(canvas, offset, 0)

    with opened(driver, explained[2]) as page:
        canvas = cells(page, 3).find_element(By.TAG_NAME, "canvas")
        for i, actions in ((5, to_cell(5)), (2, to_cell(2).click())):
            actions.perform()
            name = f"Output neuron {i + 1} ({i})"
            WebDriverWait(page, 20).until(lambda page, name=name: page.find_element(By.ID, "chosen").text == name)
        assert cells(page, 3).get_attribute("aria-valuenow") == "3"
        assert "δ" in cells(page, 3).get_attribute("aria-valuetext")


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_scrolls_in_one_direction_only_and_dark_mode_is_followed(driver, explained, dark):
    with opened(driver, explained[2], width=390, height=844, dark=dark) as page:
        choose(page, 1, 3)
        assert page.execute_script("return document.documentElement.scrollWidth") == 390
        wide = "return [...document.querySelectorAll('#details *')].filter(e => e.getBoundingClientRect().right > 390)"
        assert page.execute_script(wide) == []
        background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(20, 23, 28)") == dark


def test_a_softmax_layer_without_biases_and_values_that_are_not_finite(driver, tmp_path):
    net = fastbp.Network([2, 3, 2], ["relu", "softmax"], "log-likelihood", bias=False, dtype="float64", rng=0)
    net.weights = [np.ones((3, 2)), [[1e3, 0.0, 0.0], [-1e3, 0.0, 0.0]]]
    trace = net.trace([[1.0], [1.0]], [1])
    trace.to_html(tmp_path / "page.html", inputs=["height", "width"], outputs=["<b>cat</b>", "</script>dog"])
    with opened(driver, tmp_path / "page.html") as page:
        choose(page, 2, 1)
        assert page.find_element(By.ID, "chosen").text == "Output neuron 2 (</script>dog)"
        assert value(page, "g") == "−∞"
        assert equal_as_shown(result(page, "delta"), float(trace.deltas[1][1, 0]))


def test_a_large_network_is_summarised(driver, tmp_path):
    net = fastbp.Network([784, 300, 300, 10], ["sigmoid", "sigmoid", "softmax"], "log-likelihood", rng=0)
    trace = net.trace(np.random.default_rng(0).random((784, 1)), [3])
    trace.to_html(tmp_path / "page.html")
    with opened(driver, tmp_path / "page.html") as page:
        smallest = int(np.abs(trace.deltas[0][:, 0]).argmin())
        page.execute_script(f"choose(2, {smallest})")
        said = page.find_element(By.ID, "details").text
        assert "(779 smaller terms)" in said
        assert "true changes for the 256 neurons of this layer with the largest |δ|" in said
        assert equal_as_shown(result(page, "z"), float(trace.zs[0][smallest, 0]))
