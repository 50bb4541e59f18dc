"""
Saturation, and the cost that cures it
======================================

One neuron learns to answer 0 for the input 1. It starts with w = b = 2, so its answer is 0.98, which is badly wrong.
With the quadratic cost, δ = (a − y) σ′(z) contains σ′(z), which is small there, so the neuron learns slowly at first.
With the cross-entropy cost, δ = a − y. This is the first figure of chapter 3 of Nielsen's book.
"""

# %%
import matplotlib.pyplot as plt

import fastbp

curves = {}
for cost in ("quadratic", "cross-entropy"):
    net = fastbp.Network([1, 1], cost=cost, dtype="float64", rng=0)
    net.weights, net.biases = [[[2.0]]], [[[2.0]]]
    outputs = []
    net.train(
        [[1.0]],
        [[0.0]],
        epochs=300,
        eta=0.15,
        progress=False,
        callback=lambda epoch, net=net, outputs=outputs: outputs.append(float(net.feedforward([1.0])[0])),
    )
    curves[cost] = outputs

fig, ax = plt.subplots(layout="constrained")
for (cost, outputs), line in zip(curves.items(), ("-", "--"), strict=True):
    ax.plot(outputs, line, label=f"{cost} cost")
ax.set(xlabel="epoch", ylabel="output (the target is 0)", ylim=(0.0, 1.0))
ax.legend()

# %%
# The first error δ of each: the factor σ′(z) makes the difference.
for cost in curves:
    net = fastbp.Network([1, 1], cost=cost, dtype="float64", rng=0)
    net.weights, net.biases = [[[2.0]]], [[[2.0]]]
    print(f"{cost}: δ = {float(net.trace([1.0], [0.0]).deltas[-1][0, 0]):.4f}")
