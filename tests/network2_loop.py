"""The algorithm of the notes with the interface of the book's network2: a reference in plain NumPy."""

import json
import random

import numpy as np


def s(z):
    return 1 / (1 + np.exp(-z))


def s_prime(z):
    return s(z) * s(-z)


def vectorized_result(j):
    return np.eye(10)[:, [int(j)]]


class QuadraticCost:
    @staticmethod
    def fn(a, y):
        return ((a - y) ** 2).sum() / 2

    @staticmethod
    def delta(z, a, y):
        return (a - y) * s_prime(z)


class CrossEntropyCost:
    @staticmethod
    def fn(a, y):
        """Return −Σ y ln a + (1 − y) ln(1 − a), with 0 ln 0 = 0 and the lowest finite number for ln 0."""
        lowest, terms = np.finfo(float).min, []
        for p, q in zip(a.ravel(), y.ravel(), strict=True):
            for factor, value in ((q, p), (1 - q, 1 - p)):
                terms.append(0.0 if factor == 0 else factor * np.log(value) if value > 0 else lowest)
        return -np.sum(terms)

    @staticmethod
    def delta(z, a, y):
        return a - y


class Network:
    def __init__(self, sizes, cost=CrossEntropyCost):
        self.sizes, self.num_layers, self.cost = sizes, len(sizes), cost
        self.default_weight_initializer()

    def default_weight_initializer(self):
        self.large_weight_initializer()
        self.weights = [w / w.shape[1] ** 0.5 for w in self.weights]

    def large_weight_initializer(self):
        self.biases = [np.random.randn(n, 1) for n in self.sizes[1:]]  # noqa: NPY002
        self.weights = [np.random.randn(m, n) for n, m in zip(self.sizes, self.sizes[1:], strict=False)]  # noqa: NPY002

    def feedforward(self, a):
        for w, b in zip(self.weights, self.biases, strict=True):
            a = s(w @ a + b)
        return a

    def SGD(  # noqa: N802
        self,
        training_data,
        epochs,
        mini_batch_size,
        eta,
        lmbda=0.0,
        evaluation_data=None,
        monitor_evaluation_cost=False,
        monitor_evaluation_accuracy=False,
        monitor_training_cost=False,
        monitor_training_accuracy=False,
        early_stopping_n=0,
    ):
        training_data, evaluation_data = list(training_data), list(evaluation_data or [])
        lists = ([], [], [], [])
        best, waited = 0, 0
        for j in range(epochs):
            random.shuffle(training_data)
            for k in range(0, len(training_data), mini_batch_size):
                self.update_mini_batch(training_data[k : k + mini_batch_size], eta, lmbda, len(training_data))
            print("Epoch", j, "training complete")
            if monitor_training_cost:
                lists[2].append(self.total_cost(training_data, lmbda))
                print("Cost on training data:", lists[2][-1])
            if monitor_training_accuracy:
                lists[3].append(self.accuracy(training_data, convert=True))
                print("Accuracy on training data:", lists[3][-1], "/", len(training_data))
            if monitor_evaluation_cost:
                lists[0].append(self.total_cost(evaluation_data, lmbda, convert=True))
                print("Cost on evaluation data:", lists[0][-1])
            if monitor_evaluation_accuracy:
                lists[1].append(self.accuracy(evaluation_data))
                print("Accuracy on evaluation data:", lists[1][-1], "/", len(evaluation_data))
            print()
            if early_stopping_n:
                correct = self.accuracy(evaluation_data)
                waited = 0 if correct > best else waited + 1
                best = max(best, correct)
                if waited == early_stopping_n:
                    break
        return lists

    def update_mini_batch(self, mini_batch, eta, lmbda, n):
        sum_b, sum_w = [0.0] * len(self.biases), [0.0] * len(self.weights)
        for x, y in mini_batch:
            nabla_b, nabla_w = self.backprop(x, y)
            sum_b = [total + nabla for total, nabla in zip(sum_b, nabla_b, strict=True)]
            sum_w = [total + nabla for total, nabla in zip(sum_w, nabla_w, strict=True)]
        m = len(mini_batch)
        self.weights = [w - eta * lmbda / n * w - eta / m * d for w, d in zip(self.weights, sum_w, strict=True)]
        self.biases = [b - eta / m * d for b, d in zip(self.biases, sum_b, strict=True)]

    def backprop(self, x, y):
        a, zs = [x], []
        for w, b in zip(self.weights, self.biases, strict=True):
            zs.append(w @ a[-1] + b)
            a.append(s(zs[-1]))
        nabla_b = [self.cost.delta(zs[-1], a[-1], y)]
        for layer in range(len(zs) - 1, 0, -1):
            nabla_b.insert(0, self.weights[layer].T @ nabla_b[0] * s_prime(zs[layer - 1]))
        return nabla_b, [d @ p.T for d, p in zip(nabla_b, a, strict=False)]

    def accuracy(self, data, convert=False):
        return sum(int(np.argmax(self.feedforward(x)) == (np.argmax(y) if convert else y)) for x, y in data)

    def total_cost(self, data, lmbda, convert=False):
        data = list(data)
        costs = [self.cost.fn(self.feedforward(x), vectorized_result(y) if convert else y) for x, y in data]
        return sum(c / len(data) for c in costs) + lmbda / len(data) / 2 * sum((w * w).sum() for w in self.weights)

    def save(self, filename):
        lists = {name: [p.tolist() for p in getattr(self, name)] for name in ("weights", "biases")}
        with open(filename, "w") as file:
            json.dump({"sizes": self.sizes, "cost": self.cost.__name__, **lists}, file)


def load(filename):
    with open(filename) as file:
        data = json.load(file)
    net = Network(data["sizes"], globals()[data["cost"]])
    net.weights, net.biases = ([np.array(p) for p in data[name]] for name in ("weights", "biases"))
    return net
