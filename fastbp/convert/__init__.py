"""Convert networks of other programs to a `Network` and back.

A network can be converted from and to five formats: the files of `network2` in M. Nielsen's book *Neural Networks and
Deep Learning*, the estimators of scikit-learn, the models and state dicts of PyTorch, ONNX models, and JSON. The
converted network makes the same predictions up to rounding errors, and training can continue with the same cost. `to_c`
converts a network to C. If a format cannot represent a network, `InputError` is raised.

`training_to_sklearn` and `training_from_sklearn` convert the options of training. The book's options need no
conversion, because η, λ and n have the same meaning in the book and in `Network.train`.
"""

from fastbp.convert.book import from_book, to_book
from fastbp.convert.c_source import to_c
from fastbp.convert.json_models import from_json, to_json
from fastbp.convert.onnx_models import from_onnx, to_onnx
from fastbp.convert.pytorch import from_torch, to_torch, to_torch_module
from fastbp.convert.scikit_learn import from_sklearn, to_sklearn, training_from_sklearn, training_to_sklearn
from fastbp.convert.sklearn_pipelines import register_skl2onnx

__all__ = [
    "from_book",
    "from_json",
    "from_onnx",
    "from_sklearn",
    "from_torch",
    "register_skl2onnx",
    "to_book",
    "to_c",
    "to_json",
    "to_onnx",
    "to_sklearn",
    "to_torch",
    "to_torch_module",
    "training_from_sklearn",
    "training_to_sklearn",
]
