"""Train fully connected networks fast, with code that reads like the equations of backpropagation.

>>> import fastbp
>>> (x, labels), (x_test, labels_test) = fastbp.datasets.digits()
>>> net = fastbp.Network([64, 30, 10], rng=0)
>>> history = net.train(x, labels, epochs=10, mini_batch_size=10, eta=3.0, progress=False)
>>> net.accuracy(x_test, labels_test) > 0.9
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbp import backends, convert, datasets, optimizers, schedules
    from fastbp.activations import Activation
    from fastbp.backends import use_backend
    from fastbp.backends.formula_checks import check_formula
    from fastbp.backends.numpy.threads import use_threads
    from fastbp.costs import Cost
    from fastbp.errors import DivergedError, GradientError, InputError
    from fastbp.gradients import Trace, backprop, check_gradients
    from fastbp.network import Network, load, warmup
    from fastbp.optimizers import Optimizer
    from fastbp.training import Epoch, History

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "Cost",
    "DivergedError",
    "Epoch",
    "GradientError",
    "History",
    "InputError",
    "Network",
    "Optimizer",
    "Trace",
    "__version__",
    "backends",
    "backprop",
    "check_formula",
    "check_gradients",
    "convert",
    "datasets",
    "load",
    "optimizers",
    "schedules",
    "use_backend",
    "use_threads",
    "warmup",
]

_MODULES = {"activations", "backends", "bench", "book", "convert", "costs", "datasets", "estimators", "math"}
_MODULES |= {"network", "optimizers", "plots", "schedules", "training"}
_MODULE_OF = {
    "Activation": "activations",
    "Cost": "costs",
    "DivergedError": "errors",
    "Epoch": "training",
    "GradientError": "errors",
    "History": "training",
    "InputError": "errors",
    "Network": "network",
    "Optimizer": "optimizers",
    "Trace": "gradients",
    "backprop": "gradients",
    "check_formula": "backends.formula_checks",
    "check_gradients": "gradients",
    "load": "network",
    "use_backend": "backends",
    "use_threads": "backends.numpy.threads",
    "warmup": "network",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import fastbp` is quick."""
    if name in _MODULES:
        return import_module(f"fastbp.{name}")
    if name in _MODULE_OF:
        value = globals()[name] = getattr(import_module(f"fastbp.{_MODULE_OF[name]}"), name)
        return value
    raise AttributeError(f"module 'fastbp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
