"""
XOR and its decision regions
============================

No single layer can compute XOR. A hidden layer of four neurons can. Each example is a column of `x`.
"""

# %%
import numpy as np

import fastbp

rng = np.random.default_rng(0)
x = rng.uniform(-1.0, 1.0, (2, 300))
labels = (x[0] > 0) ^ (x[1] > 0)

net = fastbp.Network([2, 4, 2], ["tanh", "softmax"], cost="log-likelihood", rng=1)
net.train(x, labels.astype(int), epochs=100, eta=0.3, progress=False)

# %%
# The colour of the plane is the class that the network predicts there.
fastbp.plots.decision_regions(net.predict, x, labels.astype(int), names=["equal signs", "different signs"])

# %%
# A trace has all values of backpropagation. Here they are drawn for one example, layer by layer.
net.trace(x[:, 0], labels[:1].astype(int)).plot()
