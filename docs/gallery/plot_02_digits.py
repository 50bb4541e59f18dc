"""
Handwritten digits
==================

The digits that come with fastbp are pictures of 8 by 8 pixels, in 10 classes.
"""

# %%
import fastbp

(x, labels), validation, (x_test, labels_test) = fastbp.datasets.load("digits")
net = fastbp.Network([64, 30, 10], rng=0)
history = net.train(x, labels, epochs=30, mini_batch_size=10, eta=3.0, validation=validation, progress=False)
print(net.summary())
print(f"accuracy on the test examples: {net.accuracy(x_test, labels_test):.1%}")

# %%
# The cost falls on the training examples and on the validation examples.
history.plot()

# %%
# Which digits are taken for which?
predicted = net.predict(x_test)
fastbp.plots.confusion_matrix(labels_test, predicted)

# %%
# The first mistakes among some correct predictions.
mistakes = predicted != labels_test
order = (~mistakes).argsort(kind="stable")
fastbp.plots.predictions(x_test[:, order], predicted[order], labels_test[order], most=16)
