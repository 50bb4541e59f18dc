"""Cost and accuracy on validation data. If several ranks train, each of them computes a part."""

from typing import Any

import numpy as np

from fastbp.datasets.inputs import classes_of_units, take_columns
from fastbp.datasets.sparse_columns import SparseColumns
from fastbp.operations import Parameters, Plan
from fastbp.training import inference
from fastbp.training.loop import Validation
from fastbp.training.ranks import Ranks

Array = Any


def validation_on_ranks(pair: tuple[Array, Array], plan: Plan, p: Parameters, ranks: Ranks) -> Validation:
    """Return a function that computes the cost on validation data and, if the targets are classes, the accuracy.

    If every rank has all validation data, each rank computes a slice of the columns. If the ranks are sharded, each
    computes its own columns. The function returns the same numbers on every rank.
    """
    inputs, targets = pair
    labels = classes_of_units(targets, plan)
    has_classes = all(ranks.gather(labels is not None))
    n = int(inputs.shape[1])
    part = ranks.part(n)
    if part != slice(0, n):
        indices = np.arange(part.start, part.stop)
        inputs = take_columns(inputs, indices) if isinstance(inputs, SparseColumns) else inputs[:, part]
        targets, labels = targets[:, part], None if labels is None else labels[part]
    count = int(inputs.shape[1])

    def own() -> tuple[float, int]:
        """Return the cost and the number of correct predictions on this rank's part."""
        if count == 0:
            return 0.0, 0
        cost = inference.mean_cost(plan, p, inputs, targets)
        return cost, int(np.sum(inference.classes(plan, p, inputs) == labels)) if has_classes else 0

    def validate() -> tuple[float, float | None]:
        with ranks.agreement():
            cost, correct = own()
        if ranks.size == 1:
            return cost, correct / count if has_classes else None
        found = ranks.gather((cost, correct, count))
        n = sum(count for _, _, count in found)
        mean = sum(cost * count for cost, _, count in found) / n
        return mean, sum(correct for _, correct, _ in found) / n if has_classes else None

    return validate
