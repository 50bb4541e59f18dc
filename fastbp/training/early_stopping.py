"""Early stopping: training stops after `patience` epochs without improvement, and restores the best parameters."""

from dataclasses import dataclass

from fastbp.files.parameter_tensors import host_tensors
from fastbp.files.tensors import Tensors
from fastbp.operations import Parameters, Plan
from fastbp.training.history import Epoch


@dataclass
class Best:
    """The best epoch so far, judged on the validation data.

    `figure` is the validation accuracy after this epoch, or minus the validation cost, so higher is better. `epoch` is
    the number of the epoch. `tensors` are the parameters after the epoch, on the host, by name.
    """

    figure: float
    epoch: int
    tensors: Tensors


def better(best: Best | None, epoch: Epoch, p: Parameters, plan: Plan) -> Best | None:
    """Compare an epoch with the best epoch so far, and return the better one.

    The better epoch has the higher validation accuracy. If the targets are not classes, it has the lower validation
    cost.
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
