"""Every public function exported to ONNX with a length that varies, and run by
onnxruntime: `nox -s onnx`.

ONNX has no `log1p`, for which exporters write log(1 + x): a small loss keeps the
absolute error of that sum, half an eps, and not its digits.
"""

import io
from functools import partial

import numpy as np
import onnxruntime
import pytest
import torch

import xploss
from xploss.compat import optax, tensorflow
from xploss.compat import torch as like_torch

pytestmark = pytest.mark.filterwarnings("ignore")  # of the exporters themselves

EPS = float(np.finfo("float32").eps)
INFINITE = float("inf")
LOGITS = torch.tensor(
    [[-3.0, 0.5, 20.0], [0.0, -0.25, 2.0], [-40.0, 88.0, 1e-3],
     [INFINITE, -INFINITE, -100.0]]
)  # fmt: skip
LABELS = torch.tensor(
    [[0.0, 1.0, 1.0], [1.0, 0.25, 0.0], [0.0, 1.0, 0.5], [1.0, 0.0, 1.0]]
)
PROBS = torch.tensor(
    [[0.25, 0.5, 0.875], [1.0, 0.125, 0.0], [1e-7, 1 - 1e-7, 0.3], [1.0, 0.0, 0.1]]
)
cross_entropy = xploss.sigmoid_cross_entropy
entropy = xploss.softmax_cross_entropy
focal = xploss.sigmoid_focal_loss
probabilities = xploss.binary_cross_entropy

OF_LOGITS = {
    "mean": cross_entropy,
    "per element": partial(cross_entropy, reduction="none"),
    "sum": partial(cross_entropy, reduction="sum"),
    "axis": partial(cross_entropy, axis=1),
    "axis that varies": partial(cross_entropy, axis=0),
    "pos_weight": partial(cross_entropy, pos_weight=3.0),
    "pos_weight per class": lambda x, y: cross_entropy(
        x, y, pos_weight=torch.tensor([1.0, 2.0, 3.0])
    ),
    "label_smoothing": partial(cross_entropy, label_smoothing=0.125),
    "weighted mean": lambda x, y: cross_entropy(
        x, y, weights=y + 0.5, reduction="weighted_mean"
    ),
    "where": lambda x, y: cross_entropy(x, y, where=y > 0.125),
    "a number for a label": lambda x, y: cross_entropy(x, 1.0),
    "focal": focal,
    "focal with alpha": partial(focal, gamma=0.5, alpha=0.25, label_smoothing=0.125),
    "value_and_grad": xploss.value_and_grad(cross_entropy),
    "value_and_grad, pos_weight": xploss.value_and_grad(
        partial(cross_entropy, pos_weight=3.0)
    ),
    "value_and_grad, focal": xploss.value_and_grad(focal),
    "grad_and_hess": xploss.grad_and_hess(cross_entropy),
    "grad_and_hess, focal": xploss.grad_and_hess(focal),
    "sigmoid": lambda x, y: xploss.sigmoid(x),
    "log_sigmoid": lambda x, y: xploss.log_sigmoid(x),
    "softplus": lambda x, y: xploss.softplus(x),
    "softmax": lambda x, y: xploss.softmax(x),
    "log_softmax": lambda x, y: xploss.log_softmax(x),
    "logsumexp": lambda x, y: xploss.logsumexp(x),
    "masses": entropy,
    "masses, every option": lambda x, y: entropy(
        x,
        y,
        class_weights=torch.tensor([1.0, 2.0, 3.0]),
        label_smoothing=0.125,
        z_loss=0.125,
        where=x[:, 0] < 1,
    ),
    "numbers": lambda x, y: entropy(x, (y[:, 0] > 0).long(), reduction="none"),
    "value_and_grad, masses": xploss.value_and_grad(entropy),
    "grad_and_hess, masses": xploss.grad_and_hess(entropy),
    "focal of masses": xploss.softmax_focal_loss,
    "value_and_grad, focal of masses": xploss.value_and_grad(xploss.softmax_focal_loss),
    "hessian_product": lambda x, y: xploss.hessian_product(entropy)(x, y, y),
    "torch's": like_torch.binary_cross_entropy_with_logits,
    "torchvision's": like_torch.sigmoid_focal_loss,
    "torch's module": like_torch.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0])),
    "optax'": optax.sigmoid_binary_cross_entropy,
    "TensorFlow's": lambda x, y: tensorflow.weighted_cross_entropy_with_logits(
        y, x, 3.0
    ),
}
OF_PROBABILITIES = {
    "probabilities": probabilities,
    "eps": partial(probabilities, eps=1e-7, reduction="none"),
    "pos_weight of probabilities": partial(probabilities, pos_weight=2.0),
    "value_and_grad of probabilities": xploss.value_and_grad(probabilities),
    "of many classes": lambda p, y: xploss.categorical_cross_entropy(
        p, y, reduction="none"
    ),
    "of many classes, eps": partial(xploss.categorical_cross_entropy, eps=1e-7),
    "torch's of probabilities": like_torch.binary_cross_entropy,
}
FUNCTIONS = {
    **{name: (function, LOGITS) for name, function in OF_LOGITS.items()},
    **{name: (function, PROBS) for name, function in OF_PROBABILITIES.items()},
}


class Loss(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, y):
        return self.function(x, y)


class Model(torch.nn.Module):
    """A layer, and the loss of what it says."""

    def __init__(self, function):
        super().__init__()
        self.head = torch.nn.Linear(3, 3)
        self.function = function

    def forward(self, x, y):
        return self.function(self.head(x), y)


def by_program(module, x, y):
    axes = {0: torch.export.Dim.DYNAMIC}
    file = io.BytesIO()
    torch.onnx.export(
        module,
        (x, y),
        dynamo=True,
        verbose=False,
        dynamic_shapes={"x": axes, "y": axes},
    ).save(file)
    return file.getvalue()


def by_trace(module, x, y):
    file, axes = io.BytesIO(), {0: "n"}
    torch.onnx.export(
        module, (x, y), file, dynamo=False, input_names=["x", "y"],
        dynamic_axes={"x": axes, "y": axes},
    )  # fmt: skip
    return file.getvalue()


EXPORTERS = pytest.mark.parametrize("export", [by_program, by_trace])


def run(exported, x, y):
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    names = {argument.name for argument in session.get_inputs()}
    arrays = {"x": x.numpy(), "y": y.numpy()}
    return session.run(None, {k: v for k, v in arrays.items() if k in names})


def check(exported, module, x, y):
    """A result's digits, or the absolute error of log(1 + x) in losses of at most 3."""
    with torch.no_grad():
        expected = module(x, y)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for result, right in zip(run(exported, x, y), expected, strict=True):
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, right.numpy(), rtol=8 * EPS, atol=4 * EPS)


@EXPORTERS
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name, export):
    function, first = FUNCTIONS[name]
    module = Loss(function)
    exported = export(module, first, LABELS)
    for n in (len(first), 7, 1):  # of which it has seen the first alone
        x, y = (torch.cat([t, t])[:n] for t in (first, LABELS))
        check(exported, module, x, y)


@EXPORTERS
@pytest.mark.parametrize("name", ["mean", "pos_weight", "where", "focal", "torch's"])
def test_loss_of_a_model(name, export):
    torch.manual_seed(0)
    module = Model(OF_LOGITS[name])
    x = torch.randn(5, 3)
    exported = export(module, x, LABELS[:1].expand(5, 3).clone())
    for n in (5, 8):
        check(exported, module, torch.randn(n, 3), torch.rand(n, 3))


def test_every_public_function_is_exported():
    """`check_labels` looks at values and returns none."""
    exported = {"check_labels"}
    for function, _ in FUNCTIONS.values():
        exported |= {getattr(getattr(function, "func", function), "__name__", "")}
        exported |= set(getattr(getattr(function, "__code__", None), "co_names", ()))
    exported |= {"value_and_grad", "grad_and_hess"}
    assert set(xploss.__all__) <= exported
