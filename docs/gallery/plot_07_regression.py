"""
Regression
==========

A network with one identity output predicts numbers. Here it learns a curve from noisy points.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import fastbp

rng = np.random.default_rng(0)
x = rng.uniform(-3.0, 3.0, (1, 200))
y = np.sin(2.0 * x) + 0.3 * x + rng.normal(0.0, 0.15, x.shape)

net = fastbp.Network([1, 30, 30, 1], ["tanh", "tanh", "identity"], rng=0)
history = net.train(x, y, epochs=300, mini_batch_size=20, eta=0.003, optimizer="adam", progress=False)
print(f"R² = {net.score(x, y):.3f}")

# %%
points = np.linspace(-3.0, 3.0, 300)[None]
fig, ax = plt.subplots(layout="constrained")
ax.plot(x[0], y[0], ".", alpha=0.5, label="examples")
ax.plot(points[0], net.predict(points), label="network")
ax.set(xlabel="x", ylabel="y")
ax.legend()

# %%
history.plot()
