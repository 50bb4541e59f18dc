"""Backpropagation for fully connected networks, written once like the equations, run as fast as the machine allows.

>>> import fastbp
>>> (x, labels), (x_test, labels_test) = fastbp.datasets.digits()
>>> net = fastbp.Network([64, 30, 10], rng=0)
>>> history = net.train(x, labels, epochs=10, mini_batch_size=10, eta=3.0, progress=False)
>>> net.accuracy(x_test, labels_test) > 0.9
True
"""

from fastbp import backends, convert, datasets, optimizers, schedules
from fastbp.activations import Activation
from fastbp.backends import use_backend
from fastbp.checking import GradientError, check_gradients
from fastbp.checks import InputError
from fastbp.costs import Cost
from fastbp.gradients import Trace, backprop
from fastbp.network import Network, load
from fastbp.threads import use_threads
from fastbp.training import DivergedError, Epoch, History
from fastbp.version import __version__
from fastbp.warming import warmup

__all__ = [
    "Activation",
    "Cost",
    "DivergedError",
    "Epoch",
    "GradientError",
    "History",
    "InputError",
    "Network",
    "Trace",
    "__version__",
    "backends",
    "backprop",
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
