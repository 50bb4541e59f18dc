"""Backpropagation as in the notes: loops over examples, neurons and connections, in Python floats.

An independent reference: it shares no code with fastbp. Activations are functions of z only; softmax uses its Jacobian.
"""

import math

import numpy as np


def _sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z > -700 else 0.0


def _gelu_tanh_prime(z):
    root, cubed = math.sqrt(2 / math.pi), 0.044715
    u = root * (z + cubed * z**3)
    return (1 + math.tanh(u)) / 2 + z / 2 / math.cosh(u) ** 2 * root * (1 + 3 * cubed * z**2) if abs(u) < 300 else z > 0


ACTIVATIONS = {  # g(z), g'(z)
    "sigmoid": (_sigmoid, lambda z: _sigmoid(z) * _sigmoid(-z)),
    "tanh": (math.tanh, lambda z: 1 / math.cosh(z) ** 2),
    "relu": (lambda z: max(z, 0.0), lambda z: 1.0 if z > 0 else 0.0),
    "leaky-relu": (lambda z: z if z > 0 else z / 100, lambda z: 1.0 if z > 0 else 1 / 100),
    "elu": (lambda z: z if z > 0 else math.exp(z) - 1, lambda z: 1.0 if z > 0 else math.exp(z)),
    "gelu": (
        lambda z: z / 2 * math.erfc(-z / 2**0.5),
        lambda z: math.erfc(-z / 2**0.5) / 2 + z * math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi),
    ),
    "gelu-tanh": (
        lambda z: z / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
        _gelu_tanh_prime,
    ),
    "silu": (lambda z: z * _sigmoid(z), lambda z: _sigmoid(z) * (1 + z * _sigmoid(-z))),
    "softplus": (lambda z: math.log(1 + math.exp(z)), _sigmoid),
    "exponential": (math.exp, math.exp),
    "identity": (lambda z: z, lambda z: 1.0),
}
COSTS = {  # C_x of the outputs and targets, ∂C_x/∂a_j
    "quadratic": (lambda a, y: sum((p - q) ** 2 for p, q in zip(a, y, strict=True)) / 2, lambda a, y: a - y),
    "sum-squared": (lambda a, y: sum((p - q) ** 2 for p, q in zip(a, y, strict=True)), lambda a, y: 2 * (a - y)),
    "absolute-error": (
        lambda a, y: sum(abs(p - q) for p, q in zip(a, y, strict=True)),
        lambda a, y: math.copysign(1.0, a - y) if a != y else 0.0,
    ),
    "huber": (
        lambda a, y: sum((p - q) ** 2 / 2 if abs(p - q) <= 1 else abs(p - q) - 0.5 for p, q in zip(a, y, strict=True)),
        lambda a, y: max(-1.0, min(1.0, a - y)),
    ),
    "cross-entropy": (
        lambda a, y: -sum(q * math.log(p) + (1 - q) * math.log(1 - p) for p, q in zip(a, y, strict=True)),
        lambda a, y: (1 - y) / (1 - a) - y / a,
    ),
    "poisson": (lambda a, y: sum(p - q * math.log(p) for p, q in zip(a, y, strict=True)), lambda a, y: 1 - y / a),
    "log-likelihood": (lambda a, y: -sum(q * math.log(p) for p, q in zip(a, y, strict=True)), lambda a, y: -y / a),
}
VALID_OUTPUTS = [(g, c) for c in ("quadratic", "sum-squared", "absolute-error", "huber") for g in ACTIVATIONS] + [
    ("sigmoid", "cross-entropy"),
    *((g, "poisson") for g in ("sigmoid", "softplus", "exponential")),
    ("softmax", "log-likelihood"),
]


def feedforward(weights, biases, x, activations):
    """Return the zs and activations of one example, by equation (1), component by component."""
    zs, activation_lists = [], [[float(v) for v in x]]
    for l, w in enumerate(weights):
        a = activation_lists[-1]
        z = [
            sum(float(w[j][k]) * a[k] for k in range(len(a))) + (float(biases[l][j][0]) if biases else 0.0)
            for j in range(len(w))
        ]
        zs.append(z)
        activation_lists.append(_activate(activations[l], z))
    return zs, activation_lists


def _activate(name, z):
    if name == "softmax":
        e = [math.exp(v - max(z)) for v in z]
        return [v / sum(e) for v in e]
    return [ACTIVATIONS[name][0](v) for v in z]


def cost(weights, biases, x, y, activations, cost_name):
    """Return C_x of one example."""
    return COSTS[cost_name][0](feedforward(weights, biases, x, activations)[1][-1], [float(v) for v in y])


def backprop(weights, biases, x, y, activations, cost_name):
    """Return (nabla_b, nabla_w) of C_x, by BP1 to BP4, component by component."""
    zs, a = feedforward(weights, biases, x, activations)
    L = len(weights)
    deltas = [None] * L
    nabla_a = [COSTS[cost_name][1](a[-1][j], float(y[j])) for j in range(len(a[-1]))]
    if activations[-1] == "softmax":
        jacobian = [[a[-1][i] * ((i == j) - a[-1][j]) for j in range(len(nabla_a))] for i in range(len(nabla_a))]
        deltas[-1] = [sum(nabla_a[i] * jacobian[i][j] for i in range(len(nabla_a))) for j in range(len(nabla_a))]
    else:
        deltas[-1] = [nabla_a[j] * ACTIVATIONS[activations[-1]][1](zs[-1][j]) for j in range(len(nabla_a))]
    for l in range(L - 2, -1, -1):
        back = [
            sum(float(weights[l + 1][j][k]) * deltas[l + 1][j] for j in range(len(deltas[l + 1])))
            for k in range(len(zs[l]))
        ]
        deltas[l] = [back[k] * ACTIVATIONS[activations[l]][1](zs[l][k]) for k in range(len(back))]
    nabla_b = [np.array(delta)[:, None] for delta in deltas] if biases else []
    nabla_w = [np.array([[delta[j] * v for v in a[l]] for j in range(len(delta))]) for l, delta in enumerate(deltas)]
    return nabla_b, nabla_w


def gradient_sum(weights, biases, x, y, activations, cost_name):
    """Return (nabla_b, nabla_w) summed over the columns of x, example by example."""
    results = [backprop(weights, biases, x[:, i], y[:, i], activations, cost_name) for i in range(x.shape[1])]
    nabla_bs, nabla_ws = zip(*results, strict=True)
    return [sum(layer) for layer in zip(*nabla_bs, strict=True)], [sum(layer) for layer in zip(*nabla_ws, strict=True)]


def train_epoch(weights, biases, x, y, order, m, eta, lmbda, activations, cost_name):
    """Train NumPy arrays in place for one epoch in the given order: loop over mini-batches, and over their examples."""
    n = x.shape[1]
    for start in range(0, n, m):
        batch = order[start : start + m]
        nabla_b, nabla_w = gradient_sum(weights, biases, x[:, batch], y[:, batch], activations, cost_name)
        for w, nabla in zip(weights, nabla_w, strict=True):
            w[...] = (1 - eta * lmbda / n) * w - eta / len(batch) * nabla
        for b, nabla in zip(biases, nabla_b, strict=True):
            b[...] = b - eta / len(batch) * nabla
