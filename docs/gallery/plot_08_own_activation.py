"""
An activation of your own
=========================

An activation is two formulas, σ(z) and σ′. They are compiled into the same kernels as the built-in ones.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import fastbp
from fastbp.math import log1p, where


def f(z):
    """Grow like a logarithm in both directions."""
    return where(z > 0.0, log1p(abs(z)), -log1p(abs(z)))


def prime(z, a):
    """The derivative of f."""
    return 1.0 / (1.0 + abs(z))


print(f"largest error of the derivative: {fastbp.check_formula(f, prime).largest_error:.1e}")
symlog = fastbp.Activation("symlog", f, prime, needs_z=True)

# %%
z = np.linspace(-5.0, 5.0, 400)
fig, ax = plt.subplots(layout="constrained")
ax.plot(z, symlog.f(z), label="σ(z)")
ax.plot(z, symlog.prime(z, symlog.f(z)), "--", label="σ′(z)")
ax.set(xlabel="z")
ax.legend()

# %%
# It trains like a built-in activation.
(x, labels), validation, test = fastbp.datasets.load("digits")
histories = {}
for activation in (symlog, "tanh"):
    net = fastbp.Network([64, 30, 10], [activation, "softmax"], cost="log-likelihood", rng=0)
    name = getattr(activation, "name", activation)
    histories[name] = net.train(x, labels, epochs=15, eta=0.1, validation=validation, progress=False)
fastbp.plots.learning_curves(histories)
