"""Arguments of the kernel that trains small networks, and the same training by loops over examples in float64."""

import numpy as np
from cuda_against_cpu import execute

from fastbp.activations import identity, sigmoid, tanh
from fastbp.costs import cross_entropy, output_rule, quadratic
from fastbp_kernels.cuda import one_block

KINDS = {  # the activations of both layers, and the cost
    "sigmoid, quadratic": (sigmoid, sigmoid, quadratic),
    "tanh, cross-entropy": (tanh, sigmoid, cross_entropy),
    "no activation at the end": (sigmoid, identity, quadratic),
}
PLAIN = {  # σ(z) and σ′ as a function of a
    sigmoid: (lambda z: 1 / (1 + np.exp(-z)), lambda a: a * (1 - a)),
    tanh: (np.tanh, lambda a: 1 - a**2),
    identity: (lambda z: z, np.ones_like),
}


def make(kind="sigmoid, quadratic", module=one_block, *, source="uint8", weighted=False, bias=True):
    hidden, output, cost = KINDS[kind]
    rule = output_rule(output, cost)
    return module.train_in_one_block(
        hidden.f, "float32", prime=hidden.prime, f_output=output.f, error=rule.error, cost=rule.cost, source=source,
        weighted=weighted, bias=bias,
    )  # fmt: skip


def drawn(sizes, m, steps, *, source="uint8", n=20, seed=0):
    """Return the arguments of the kernel by name. Memory that it must write before it reads is NaN."""
    rng, (n_0, n_1, n_2) = np.random.default_rng(seed), sizes

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    x = rng.integers(0, 256, (n, n_0)).astype(source)
    order = rng.integers(0, n, (steps + 2) * m)  # more than the steps use, before and after them
    total = np.zeros((max(m, -(-m // 16) * n_2), 2), np.float32)
    return {
        "x": x, "y": rng.random((n, n_2)).astype(np.float32), "s": rng.random((n, 1)).astype(np.float32),
        "order": order, "scale": 1 / 255, "w_1": normal(n_1, n_0) / n_0**0.5, "b_1": normal(n_1),
        "w_2": normal(n_2, n_1) / n_1**0.5, "b_2": normal(n_2), "alpha": -0.5 / m, "beta": 0.9, "total": total,
        "inputs": np.full(one_block.input_numbers(m, n_0, n_1), np.nan, np.float32), "first": m, "count": steps,
        "n_0": n_0, "n_2": n_2, "m": m, "n_1": n_1,
    }  # fmt: skip


def looped(drawn, kind, *, weighted, bias):
    """Take the steps in float64, by loops over examples. Return the parameters and the sum of the costs."""
    hidden, output, cost = KINDS[kind]
    f, prime = PLAIN[hidden]
    g, g_prime = PLAIN[output]
    m, w_1, w_2 = drawn["m"], drawn["w_1"].astype(float), drawn["w_2"].astype(float)
    b_1, b_2 = drawn["b_1"].astype(float) * bias, drawn["b_2"].astype(float) * bias
    costs = 0.0
    for step in range(1, drawn["count"] + 1):
        nabla = [np.zeros_like(part) for part in (w_1, b_1, w_2, b_2)]
        for example in drawn["order"][step * m : (step + 1) * m]:
            x, y = drawn["scale"] * drawn["x"][example].astype(float), drawn["y"][example].astype(float)
            s = float(drawn["s"][example, 0]) if weighted else 1.0
            a_1 = f(w_1 @ x + b_1)
            a_2 = g(w_2 @ a_1 + b_2)
            if cost is quadratic:
                costs, delta_2 = costs + s * 0.5 * ((a_2 - y) ** 2).sum(), s * (a_2 - y) * g_prime(a_2)
            else:
                costs -= s * (y * np.log(a_2) + (1 - y) * np.log(1 - a_2)).sum()
                delta_2 = s * (a_2 - y)
            delta_1 = (w_2.T @ delta_2) * prime(a_1)
            gradient = (np.outer(delta_1, x), delta_1, np.outer(delta_2, a_1), delta_2)
            for part, of_example in zip(nabla, gradient, strict=True):
                part += of_example
        w_1, w_2 = (drawn["beta"] * w + drawn["alpha"] * part for w, part in zip((w_1, w_2), nabla[::2], strict=True))
        b_1, b_2 = (b + drawn["alpha"] * part * bias for b, part in zip((b_1, b_2), nabla[1::2], strict=True))
    return w_1, b_1, w_2, b_2, costs


def compare(kernel, arguments, kind="sigmoid, quadratic", *, weighted=False, bias=True, by=execute):
    """Run the kernel, which writes to the arguments; compare the parameters and the costs with loops over examples."""
    expected = looped(arguments, kind, weighted=weighted, bias=bias)
    by(kernel, *arguments.values())
    got = [arguments[name] for name in ("w_1", "b_1", "w_2", "b_2")]
    for here, there in zip((*got, arguments["total"].astype(float).sum()), expected, strict=True):
        np.testing.assert_allclose(here, there if bias or np.ndim(there) != 1 else here, rtol=2e-5, atol=2e-6)


EDGES = [
    ((1, 1, 1), 1),
    ((3, 2, 41), 3),  # 11 tiles of z along the neurons of the output
    ((33, 6, 5), 5),  # one tile of examples; a column of W beyond the first warp
    ((95, 7, 4), 6),  # two tiles of examples, the second with one; a row of W beyond the first tile
    ((96, 4, 3), 11),
    ((128, 64, 3), 6),  # 32 tiles of z: each warp has two of them
    ((257, 5, 2), 17),  # two partial sums of the costs
    ((300, 9, 12), 4),
]
