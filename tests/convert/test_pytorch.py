"""from_torch and to_torch_module: PyTorch models in the usual forms become the same network, or are refused by name."""

import collections

import numpy as np
import pytest
from refusals import refused

import fastbp
from fastbp import convert
from fastbp.activations import ACTIVATIONS
from fastbp.convert.activation_table import ROWS

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn
from torch.nn import functional as F  # noqa: N812

X = torch.from_numpy(np.random.default_rng(0).random((20, 6)).astype(np.float32))
PLAIN = "numpy-plain"


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer_one, self.layer_two, self.layer_three = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 5)
        self.out = nn.Linear(5, 3)

    def forward(self, x):
        for layer in (self.layer_one, self.layer_two, self.layer_three):
            x = torch.relu(layer(x))
        return self.out(x)


class Functional(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.fc1, self.fc2, self.activation = nn.Linear(6, 5), nn.Linear(5, 3), activation

    def forward(self, x):
        return self.fc2(self.activation(self.fc1(x)))


class RegisteredInAnotherOrder(nn.Module):
    def __init__(self):
        super().__init__()
        self.b, self.a = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))

    def forward(self, x):
        return self.linear_relu_stack(self.flatten(x))


class List(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(11))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        x = x.view(x.size(0), -1)
        for layer in self.layers[:-1]:
            x = self.dropout(F.leaky_relu(layer(x)))
        return F.softmax(self.layers[-1](x), dim=1)


class Dict(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleDict({"z": nn.Linear(6, 5), "act": nn.Tanh(), "a": nn.Linear(5, 1)})

    def forward(self, x):
        return torch.sigmoid(self.parts["a"](self.parts["act"](self.parts["z"](x / 4))).squeeze(-1))


class Block(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.fc, self.act = nn.Linear(n_in, n_out), nn.Softplus()

    def forward(self, x):
        return F.dropout(self.act(self.fc(x)), 0.3, training=self.training)


class AutoEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 6), nn.Sigmoid())
        self.encoder = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Parameters(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(3, 6)), nn.Parameter(torch.randn(3))

    def forward(self, x):
        return torch.tanh(F.linear(x, self.w, self.b))


def ordered():
    layers = [
        ("hidden", nn.Linear(6, 5)),
        ("act", nn.Tanh()),
        ("output", nn.Linear(5, 3)),
        ("prob", nn.Softmax(dim=-1)),
    ]
    return nn.Sequential(collections.OrderedDict(layers))


def parametrized():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    nn.utils.parametrizations.weight_norm(model[0])
    return model


RIGHT = {
    "sequential": lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)),
    "one layer": lambda: nn.Linear(6, 3),
    "softmax inside": lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3), nn.Softmax(1)),
    "named, in the order of use": Named,
    "registered in another order": RegisteredInAnotherOrder,
    "ordered dict": ordered,
    "the tutorial's, with flatten": Images,
    "nested sequentials": lambda: nn.Sequential(
        nn.Sequential(nn.Linear(6, 5), nn.Tanh()), nn.Sequential(nn.Dropout(), nn.Linear(5, 4), nn.Sigmoid())
    ),
    "module list, eleven layers": List,
    "module dict, scaled, squeezed": Dict,
    "blocks": lambda: nn.Sequential(Block(6, 5), Block(5, 5), nn.Linear(5, 2)),
    "autoencoder": AutoEncoder,
    "own parameters": Parameters,
    "without biases": lambda: nn.Sequential(nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False)),
    "two layers without an activation": lambda: nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3), nn.Identity()),
    "double": lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double(),
    "half": lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).half(),
    "bfloat16": lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).bfloat16(),
    "data parallel": lambda: nn.DataParallel(Named()),
    "weight norm": parametrized,
    "in place": lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)),
    "relu of F": lambda: Functional(F.relu),
    "method": lambda: Functional(lambda x: x.sigmoid()),
    "clamped by name": lambda: Functional(nn.LeakyReLU(0.01)),
}


def columns(model, x=X):
    """Return the outputs of a model in eval mode, one example per column."""
    training, dtype = model.training, next(model.parameters()).dtype
    with torch.no_grad():
        outputs = model.eval()(x.to(dtype)).to(torch.float64)
    model.train(training)
    return outputs.reshape(len(x), -1).T.numpy()


def close(net, model):
    rtol = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 5e-2}
    dtype = next(model.parameters()).dtype
    x = X.double() if dtype == torch.float64 else X
    tolerance = rtol[dtype]
    np.testing.assert_allclose(net.feedforward(x.T), columns(model, x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", RIGHT)
def test_models_become_the_same_network(name):
    torch.manual_seed(0)
    model = RIGHT[name]()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)  # trained weights are larger than fresh ones
    modes = [module.training for module in model.modules()]
    net = convert.from_torch(model, backend=PLAIN)
    close(net, model)
    assert net.dtype == ("float64" if name == "double" else "float32")
    assert [module.training for module in model.modules()] == modes
    assert bool(net.biases) == (name != "without biases")
    assert net.cost_function.name == {"softmax": "log-likelihood", "sigmoid": "cross-entropy"}.get(
        net.activations[-1].name, "quadratic"
    )


# For models with the usual names of layers, the state dict alone, sorted by name, gives the same network.
@pytest.mark.parametrize("name", [name for name in RIGHT if name not in ("registered in another order", "weight norm")])
def test_sorted_state_dicts_become_the_same_network_or_are_refused(name):
    torch.manual_seed(0)
    model = RIGHT[name]()
    net = convert.from_torch(model, backend=PLAIN)
    state_dict = dict(sorted(model.state_dict().items()))
    names = [activation.name for activation in net.activations]
    if name == "own parameters":
        refused("weights and biases of linear layers, got 'b'", convert.from_torch, state_dict, names, "quadratic")
        return
    again = convert.from_torch(state_dict, names, net.cost_function, backend=PLAIN)
    scaled = 0.25 * X if net.input_scale == 0.25 else X
    np.testing.assert_array_equal(again.feedforward(scaled.T), net.feedforward(X.T))


def test_a_state_dict_with_names_that_say_nothing_is_refused():
    model = RegisteredInAnotherOrder()
    refused("order of the layers is not determined", convert.from_torch, model.state_dict(), "tanh", "quadratic")
    net = convert.from_torch(model.state_dict(), ["tanh", "identity"], "quadratic", order=["a", "b"], backend=PLAIN)
    close(net, model)
    refused("order is only for a state dict", convert.from_torch, model, order=["a", "b"])


class Residual(Functional):
    def forward(self, x):
        return self.fc2(x + self.activation(self.fc1(x)))


class Branched(Functional):
    def forward(self, x):
        return self.fc2(self.fc1(x) * torch.sigmoid(x))


class TwoOutputs(Functional):
    def forward(self, x):
        return self.fc1(x), self.fc2(self.fc1(x))


class TwoInputs(Functional):
    def forward(self, x, y):
        return self.fc2(self.fc1(x) + y)


class ByData(Functional):
    def forward(self, x):
        return self.fc1(x) if x.sum() > 0 else x


class OwnForward(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Permuted(Functional):
    def forward(self, x):
        return self.fc1(x.flip(1))


def tied():
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    model[2].weight = model[0].weight
    return model


def hooked():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    model[1].register_forward_hook(lambda module, x, a: 2 * a)
    return model


def between(*modules):
    return lambda: nn.Sequential(nn.Linear(6, 6), *modules, nn.Linear(6, 3))


def shared():
    layer = nn.Linear(6, 6)
    return nn.Sequential(layer, nn.ReLU(), layer)


REFUSED = {
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(6, 3)),
        r"got Conv2d\(1, 4, kernel_size=\(3, 3\), stride=\(1, 1\)\) in '0'; the Linear layers after it can be",
    ),
    "batch norm": (between(nn.BatchNorm1d(6)), "got BatchNorm1d.* in '1' after layer '0'; .*fuse_linear_bn_eval"),
    "layer norm": (between(nn.LayerNorm(6)), "got LayerNorm.* in '1' after layer '0'"),
    "attention": (between(nn.MultiheadAttention(6, 2)), "MultiheadAttention"),
    "shared": (shared, "the layer '0', which shares parameters with '0' after layer '0'"),
    "tied": (tied, "the layer '2', which shares parameters with '0'"),
    "recurrent": (lambda: nn.Sequential(nn.LSTM(6, 3)), r"got LSTM\(6, 3\) in '0'"),
    "embedding": (lambda: nn.Sequential(nn.Embedding(6, 3)), r"got Embedding\(6, 3\) in '0'"),
    "residual": (lambda: Residual(nn.ReLU()), "the branch at add|got add after layer 'fc1'"),
    "branch": (lambda: Branched(nn.ReLU()), "the branch at sigmoid"),
    "two outputs": (lambda: TwoOutputs(nn.ReLU()), "the layer 'fc1', which shares|the branch at Linear"),
    "two inputs": (lambda: TwoInputs(nn.ReLU()), "the second input 'y'"),
    "control flow": (lambda: ByData(nn.ReLU()), "torch.fx cannot trace its forward .*pass model.state_dict"),
    "own forward": (lambda: nn.Sequential(OwnForward(6, 3)), "in '0', which has a forward of its own"),
    "hook": (hooked, "model must not have forward hooks, .* got one in '1'"),
    "other activation": (between(nn.Hardtanh()), "got Hardtanh.* in '1' after layer '0'"),
    "other slope": (between(nn.LeakyReLU(0.2)), r"got LeakyReLU\(negative_slope=0.2\) in '1'"),
    "other slope of F": (lambda: Functional(lambda x: F.leaky_relu(x, 0.2)), "got leaky_relu after layer 'fc1'"),
    "other beta": (between(nn.Softplus(2)), r"got Softplus\(beta=2"),
    "softmax over examples": (lambda: nn.Sequential(nn.Linear(6, 3), nn.Softmax(0)), r"got Softmax\(dim=0\) in '1'"),
    "hidden softmax": (between(nn.Softmax(1)), "softmax"),
    "two activations": (between(nn.ReLU(), nn.Tanh()), r"got Tanh\(\) in '2' after layer '0'"),
    "activation of the input": (lambda: nn.Sequential(nn.ReLU(), nn.Linear(6, 3)), r"got ReLU\(\) in '0'"),
    "dropout that is always on": (lambda: Functional(F.dropout), "got dropout after layer 'fc1'"),
    "another function": (lambda: Functional(torch.sin), "got sin after layer 'fc1'"),
    "another function with a known name": (lambda: Functional(Functional), "torch.fx cannot trace"),
    "reordered inputs": (lambda: Permuted(nn.ReLU()), "got flip"),
    "shape in the middle": (lambda: Functional(lambda x: x.view(-1, 5)), "got view after layer 'fc1'"),
    "log-softmax": (lambda: nn.Sequential(nn.Linear(6, 3), nn.LogSoftmax(1)), "pass cost='log-likelihood'"),
    "some biases": (
        lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3, bias=False)),
        "all biases or none, got 1 of 2 layers without, the first of them '2'; give it a bias of zeros",
    ),
    "empty": (lambda: nn.Sequential(nn.Flatten()), "got a model without Linear layers"),
    "script": (lambda: torch.jit.trace(nn.Linear(6, 3), X), "model"),
    "meta": (lambda: nn.Linear(6, 3, device="meta"), "NumPy can read, .*can't convert meta device"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_other_models_are_refused_by_name(name):
    make, message = REFUSED[name]
    refused(message, convert.from_torch, make())


def test_batch_norm_can_be_put_into_the_layer_before_it_as_the_message_says():
    torch.manual_seed(0)
    model = between(nn.BatchNorm1d(6), nn.ReLU())()
    model(X)  # changes the running mean and variance
    model.eval()
    fused = nn.Sequential(nn.utils.fusion.fuse_linear_bn_eval(model[0], model[1]), *model[2:])
    np.testing.assert_allclose(convert.from_torch(fused).feedforward(X.T), columns(model), rtol=1e-4, atol=1e-5)


def test_the_activation_in_a_loss_is_added_if_the_cost_asks_for_it():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    net = convert.from_torch(model, cost="log-likelihood")
    assert [activation.name for activation in net.activations] == ["relu", "softmax"]
    y = torch.arange(20) % 3
    assert net.cost(X.T, y) == pytest.approx(nn.CrossEntropyLoss()(model(X), y).item(), rel=1e-5)
    net = convert.from_torch(model, cost="cross-entropy")
    targets = torch.rand(20, 3)
    expected = 3 * nn.BCEWithLogitsLoss()(model(X), targets).item()  # PyTorch also averages over the outputs
    assert net.cost(X.T, targets.T) == pytest.approx(expected, rel=1e-5)
    model.append(nn.LogSoftmax(dim=1))
    net = convert.from_torch(model, cost="log-likelihood")
    np.testing.assert_allclose(np.log(net.feedforward(X.T)), columns(model), rtol=1e-4, atol=1e-5)
    assert net.cost(X.T, y) == pytest.approx(nn.NLLLoss()(model(X), y).item(), rel=1e-5)


def test_given_activations_must_be_those_of_the_model():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    net = convert.from_torch(model, ["relu", "softmax"], "log-likelihood")
    assert net.activations[-1].name == "softmax"
    message = "it has relu after layer '0', got 'tanh'; leave them out"
    refused(message, convert.from_torch, model, ["tanh", "softmax"], "log-likelihood")
    refused(r"one per layer of the model \(here 2\), got 3", convert.from_torch, model, ["relu"] * 3, "quadratic")


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.torch.module])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_activation_in_a_module_and_back(name, dtype):
    names = ["tanh", name] if name == "softmax" else [name, "identity"]
    cost = "log-likelihood" if name == "softmax" else "quadratic"
    net = fastbp.Network([6, 5, 3], names, cost, dtype=dtype, input_scale=4.0, rng=0, backend=PLAIN)
    model = convert.to_torch_module(net)
    rtol = 1e-5 if dtype == "float32" else 1e-8 if name == "softplus" else 1e-12  # PyTorch's softplus is z above 20
    np.testing.assert_allclose(columns(model, X.to(next(model.parameters()).dtype)), net.feedforward(X.T), rtol, rtol)
    back = convert.from_torch(model, cost=cost, backend=PLAIN)
    assert [activation.name for activation in back.activations] == names
    np.testing.assert_allclose(back.feedforward(X.T), net.feedforward(X.T), rtol, rtol)
    before = model[0].weight.detach().clone()
    net.weights[0][...] = 0
    assert torch.equal(model[0].weight, before)  # the module has its own memory
    assert all(p.requires_grad for p in model.parameters())


def test_the_table_has_every_activation():
    assert ROWS.keys() == ACTIVATIONS.keys()


def test_own_activations_have_no_module():
    own = fastbp.Activation("own", lambda z: 2.0 * z, lambda z, a: 2.0)
    refused(
        "must have activations that are part of fastbp to be converted to PyTorch, got 'own'",
        convert.to_torch_module,
        fastbp.Network([2, 1], own),
    )
