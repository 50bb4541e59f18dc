"""Early stopping: training stops after `patience` epochs without improvement; the best parameters are restored."""

from dataclasses import dataclass

from fastbp.files.parameter_tensors import host_tensors
from fastbp.files.tensors import Tensors
from fastbp.operations import Parameters, Plan
from fastbp.training.history import Epoch


@dataclass
class Best:
    """The best epoch so far, judged on the validation data.

    `figure` is its accuracy or its negative cost, so higher is better. `epoch` is its number. `tensors` are its
    parameters on the host, by name.
    """

    figure: float
    epoch: int
    tensors: Tensors


def better(best: Best | None, epoch: Epoch, p: Parameters, plan: Plan) -> Best | None:
    """Return the better of the best epoch so far and this one.

    The better epoch has the higher validation accuracy or, without classes, the lower validation cost.
    """
    if epoch.validation_cost is None:
        return best
    figure = -epoch.validation_cost if epoch.validation_accuracy is None else epoch.validation_accuracy
    if best is None or figure > best.figure:
        return Best(figure, epoch.number, host_tensors("", p, plan))
    return best


def has_run_out(patience: int | None, best: Best | None, epochs: int) -> bool:
    """Return whether the last `patience` of `epochs` epochs have brought no improvement."""
    return patience is not None and best is not None and epochs - best.epoch >= patience
