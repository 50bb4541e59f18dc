"""
The plots of the book's chapters 1 to 3
=======================================

Nielsen's book trains the same network with more and more tools. Here the networks learn the small digits instead of
MNIST. With `fastbp.book`, the book's own scripts run too.
"""

# %%
# Chapter 1 counts how many test digits are classified correctly after each epoch.
import numpy as np

import fastbp

(x, labels), _, (x_test, labels_test) = fastbp.datasets.load("digits")
histories = {}
for hidden in (0, 30, 100):
    sizes = [64, hidden, 10] if hidden else [64, 10]
    net = fastbp.Network(sizes, rng=0, init="large")
    name = f"{hidden} hidden neurons" if hidden else "no hidden layer"
    histories[name] = net.train(x, labels, epochs=30, eta=3.0, validation=(x_test, labels_test), progress=False)
fastbp.plots.learning_curves(histories, "accuracy")

# %%
# Chapter 2: the four equations. The errors δ of the last network, layer by layer.
net.trace(x_test[:, :1], labels_test[:1]).plot()

# %%
# Chapter 3: large initial weights saturate the neurons of a wide layer, and training gets stuck. With initial weights
# scaled by 1/√n, where n is the number of inputs of the layer, it does not.
histories = {}
for init in ("large", "scaled"):
    net = fastbp.Network([64, 100, 10], rng=0, init=init)
    validation = (x_test, labels_test)
    histories[init] = net.train(x, labels, epochs=15, eta=3.0, validation=validation, progress=False)
ax = fastbp.plots.learning_curves(histories, "accuracy")
ax.set_ylim(0.0, 1.0)

# %%
# The weights of the first layer as pictures.
fastbp.plots.weight_images(np.asarray(net.weights[0]))
