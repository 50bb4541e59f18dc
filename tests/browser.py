"""A headless Chromium for tests of HTML pages, driven through selenium; tests are skipped where there is none."""

import json
import re
import shutil
from contextlib import contextmanager

import pytest

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_DRIVER = shutil.which("chromedriver")
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−", "0123456789--")


def skip_without_chromium():
    """Skip the calling test module, with a reason, unless a browser can be started."""
    pytest.importorskip("selenium", reason="selenium is not installed")
    if _CHROMIUM is None or _DRIVER is None:
        pytest.skip("Chromium and chromedriver are not installed", allow_module_level=True)


@contextmanager
def started():
    """Start a browser, and end it after the block."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = _CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(_DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def opened(driver, path, *, width=1280, height=1000, dark=False):
    """Open a page; at the end of the block, check that it has made no request and printed nothing on the console."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    for kind in ("browser", "performance"):
        driver.get_log(kind)  # forget what earlier pages did
    driver.get(path.as_uri())
    yield driver
    assert driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    requests = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]


def number(text):
    """Return the number that a page shows as text, such as −1.5·10⁻⁷."""
    found = re.fullmatch(r"=? *(−?[\d.]+)(?:·10([⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+|−?\d+))?", re.sub(r"\s+", "", text))
    assert found, text
    mantissa, exponent = (part.translate(_DIGITS) if part else "0" for part in found.groups())
    return float(f"{mantissa}e{exponent}")


def equal_as_shown(text, expected):
    """Return whether a page shows a number correctly to five significant digits."""
    return abs(number(text) - expected) <= 0.5000001e-4 * 10 ** _exponent(expected)


def _exponent(x):
    return int(f"{abs(x):e}".split("e")[1])
