"""For mypy, which `.ci/run` runs on this file: names are completed and checked; what it must refuse is ignored here."""

import fastbp

fastbp.Network([2, 3, 2], ["tanh", "softmax"], "log-likelihood", dtype="float64", backend="numpy", init="large")
fastbp.Network([2, 2], "rleu")  # type: ignore[arg-type]
fastbp.Network([2, 3, 2], ["relu", "sigmiod"])  # type: ignore[list-item]
fastbp.Network([2, 2], cost="quadratc")  # type: ignore[arg-type]
fastbp.Network([2, 2], init="xavier")  # type: ignore[arg-type]
fastbp.Network([2, 2], backend="cuda")  # type: ignore[arg-type]
fastbp.Network([2, 2]).train([[0.0], [1.0]], [0], optimizer="rmspop")  # type: ignore[arg-type]
