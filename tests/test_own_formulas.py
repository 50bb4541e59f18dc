"""An optimizer, an activation and a cost of one's own, in one script of fewer than 30 lines."""

SCRIPT = """
import numpy as np
import fastbp
from fastbp.math import exp, log, sqrt

def swish(z):
    return z / (1.0 + exp(-z))

def swish_prime(z, a):
    return a + (1.0 - a) / (1.0 + exp(-z))

def decayed_rms(w, g, v, eta, decay, t, rho):
    v = v + rho * (g * g - v)
    return w - eta * g / (sqrt(v) + 1e-6) - eta * decay * w / sqrt(t), v

activation = fastbp.Activation("swish", swish, swish_prime, needs_z=True)
log_cosh = lambda a, y: log(0.5 * (exp(a - y) + exp(y - a)))
cost = fastbp.Cost("log-cosh", log_cosh, lambda a, y: 1.0 - 2.0 / (1.0 + exp(2.0 * (a - y))))
optimizer = fastbp.Optimizer("decayed-rms", decayed_rms, state=["v"], constants={"rho": 0.1}, default_eta=0.01)
rng = np.random.default_rng(0)
x, y, nets = rng.random((3, 50)), rng.random((2, 50)), []
options = {"epochs": 4, "optimizer": optimizer, "lmbda": 0.1, "progress": False}
for backend in ("numpy", "numpy-plain"):
    net = fastbp.Network([3, 5, 2], activation, cost, backend=backend, dtype="float64", rng=0)
    net.train(x, y, **options, checkpoint=backend, callback=lambda epoch: epoch.number == 2)
    net.train(x, y, **options, checkpoint=backend, resume=True)
    net.save("net.safetensors")
    nets.append(fastbp.load("net.safetensors", activations=[activation], cost=cost))
print(fastbp.check_gradients(nets[0], x, y), abs(nets[0].feedforward(x) - nets[1].feedforward(x)).max())
"""


def test_own_formulas_train_are_saved_and_resumed_on_every_backend(run_python):
    assert len(SCRIPT.strip().splitlines()) < 30
    done = run_python(SCRIPT)
    assert done.returncode == 0, done.stderr
    gradient_error, difference = map(float, done.stdout.split())
    assert gradient_error < 1e-7
    assert difference < 1e-12
