"""What must be the same on all ranks of a training: the network, the settings, the data and, later, the parameters."""

import hashlib
import json
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import RankError, plural
from fastbp.files import models
from fastbp.operations import Parameters, Plan
from fastbp.optimizers import LBFGS
from fastbp.training import fingerprints
from fastbp.training.ranks import Ranks

if TYPE_CHECKING:
    from fastbp.training.loop import Settings

_OPTIONS = ("epochs", "patience", "resume", "resume_anyway", "overwrite", "lmbda", "mini_batch_size")


def check_networks(
    ranks: Ranks, plan: Plan, p: Parameters, rng: np.random.Generator, options: Mapping[str, Any]
) -> None:
    """Raise `InputError` on every rank unless the ranks have the same network, and will do the same with their data."""
    if ranks.size == 1:
        return
    validation, dropout, optimizer = options["validation"], options["dropout"], options["optimizer"]
    ranks.check_equal(
        {
            "sharded": ranks.sharded,
            **models.describe(plan),
            "the network (pass the same rng to Network)": _hash(p, plan),
            "the state of rng": json.dumps(models.generator_state(rng), sort_keys=True).encode(),
            "validation": validation if validation is None or isinstance(validation, Real) else "a pair",
            "optimizer": LBFGS if isinstance(optimizer, str) and optimizer == LBFGS else "another optimizer",
            "dropout": dropout if isinstance(dropout, Real) else list(dropout),
            "checkpoint": None if options["checkpoint"] is None else "a path",
            **{name: options[name] for name in _OPTIONS},
        }
    )


def check_runs(
    ranks: Ranks, data: dict[str, str], settings: "Settings | None", source: str, plan: Plan
) -> dict[str, str]:
    """Raise `InputError` on every rank unless the ranks have the same settings and, unless sharded, the same data.

    `data` are the fingerprints of a rank's data, by name. Return the fingerprints of the data of all ranks together.
    L-BFGS has no `settings` that `check_networks` does not compare.
    """
    if ranks.size == 1:
        return data
    formulas = fingerprints.of_formulas(plan)
    same: dict[str, Any] = {}
    if settings is not None:
        formulas |= fingerprints.of_optimizer(settings.optimizer)
        same |= settings.describe()
        same |= {"the values of eta": fingerprints.of_schedule(settings.schedule, settings.epochs).encode()}
    same |= {f"the formula of {name}": text.encode() for name, text in formulas.items()}
    same |= {"the dtype of x": source, "weights of examples": plan.formulas.weighted}
    if not ranks.sharded:
        same |= {f"the shape of {name}": text.rpartition(" ")[0] for name, text in data.items()}
        same |= {name: text.encode() for name, text in data.items()}
    ranks.check_equal(same)
    if not ranks.sharded:
        return data
    return {name: fingerprints.of_texts(found[name] for found in ranks.gather(data)) for name in data}


def examples_of_classes(
    ranks: Ranks, classes: npt.NDArray[np.int64] | None, plan: Plan
) -> npt.NDArray[np.int64] | None:
    """Return how many examples of each class all ranks have together.

    Return None if each rank has all examples, or if the targets are not classes.
    """
    if not ranks.sharded:
        return None
    found = ranks.gather(None if classes is None else np.bincount(classes, minlength=plan.sizes[-1]))
    counts = [count for count in found if count is not None]
    return np.sum(counts, axis=0) if len(counts) == ranks.size else None


def check_parameters(ranks: Ranks, p: Parameters, plan: Plan, epoch: int) -> None:
    """Raise `RankError` on every rank unless all ranks have the same parameters, bit for bit.

    MPI does not promise that a sum has the same bits on processors of different kinds.
    """
    if ranks.size == 1:
        return
    with ranks.agreement():
        own = _hash(p, plan)
    hashes = ranks.gather(own)
    different = [rank for rank, other in enumerate(hashes) if other != hashes[0]]
    with ranks.agreement():
        if different:
            which = f"the parameters of {plural(len(different), 'rank')} ({', '.join(map(str, different))})"
            raise RankError(
                f"after epoch {epoch}, {which} differ from those of rank 0; "
                "assign parameters on all ranks or on none, and use processors of one kind"
            )


def _hash(p: Parameters, plan: Plan) -> bytes:
    digest = hashlib.sha256()
    for array in (*p.weights, *p.biases):
        digest.update(np.ascontiguousarray(plan.backend.to_host(array)).view(np.uint8).data)
    return digest.digest()
