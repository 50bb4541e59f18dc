"""The tests of scikit-learn's own networks, as they are installed, judge the estimators: only their import changes."""

import importlib.util

import pytest
import sklearn

SOURCE = importlib.util.find_spec("sklearn.neural_network").submodule_search_locations[0] + "/tests/test_mlp.py"
IMPORT = "from sklearn.neural_network import MLPClassifier, MLPRegressor"


@pytest.fixture(scope="module")
def source():
    with open(SOURCE, encoding="utf-8") as file:
        text = file.read()
    assert IMPORT in text, f"scikit-learn {sklearn.__version__} imports its networks in another way"
    return text.replace(IMPORT, "from fastbp.estimators import MLPClassifier, MLPRegressor")


def test_scikit_learns_own_tests_pass(source, run_python, tmp_path):
    (tmp_path / "test_mlp.py").write_text(source, encoding="utf-8")
