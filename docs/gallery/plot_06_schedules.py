"""
Learning-rate schedules
=======================

A schedule changes η from one mini-batch to the next. It is constant, falls in steps, or follows a cosine.
"""

# %%
import fastbp
from fastbp.schedules import Constant, Cosine, Step

(x, labels), validation, test = fastbp.datasets.load("digits")
schedules = {"constant": Constant(0.3), "step": Step(0.3), "cosine": Cosine(0.3)}
histories = {}
for name, schedule in schedules.items():
    net = fastbp.Network([64, 60, 10], ["relu", "softmax"], cost="log-likelihood", rng=0)
    histories[name] = net.train(x, labels, epochs=25, eta=schedule, validation=validation, progress=False)
    print(f"{name}: {net.accuracy(*test):.1%} of the test examples")
fastbp.plots.learning_curves(histories)
