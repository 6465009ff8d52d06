"""PyTorch's losses and ours by PyTorch's names, with their gradients.

torchvision's focal loss is not run: its wheels do not go with PyTorch's CPU wheels.
Ours by its name is held against mpmath alone.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf
from parity.harness import (
    Call,
    Deviation,
    Exact,
    Function,
    Peer,
    array,
    as_exact,
    call,
    calls,
    check,
    floats,
    focal_elements,
    logit_elements,
    moderate_logits,
    probabilities,
    raise_alike,
    reduced,
)
from parity.page import check_page
from parity.row_deviations import common
from reference import from_probability, ulps

from xploss.compat import torch as ours

DTYPES = ["float16", "bfloat16", "float32", "float64"]
TENSORS = ("weight", "pos_weight")


def tensor(values, dtype):
    return torch.tensor(values, dtype=getattr(torch, dtype))


def by(function):
    """`function`, and the gradient of the sum of what it returns."""

    def run(made: Call):
        options = {
            name: tensor(value, made.dtype) if name in TENSORS else value
            for name, value in made.options.items()
        }
        x = tensor(made.x, made.dtype).requires_grad_()
        value = function(x, tensor(made.y, made.dtype), **options)
        (gradient,) = torch.autograd.grad(value.sum(), x)
        return {
            "value": value.detach().double().numpy(),
            "gradient": gradient.double().numpy(),
        }

    return run


def by_module(module):
    def function(x, y, weight=None, pos_weight=None, reduction="mean"):
        return module(weight, reduction=reduction, pos_weight=pos_weight)(x, y)

    return by(function)


def clamped(p: float, y: float) -> tuple[mpf, mpf, mpf]:
    """The loss of a probability, no logarithm below -100; its slope; a slope's term."""
    exact = from_probability(p, y)
    with mp.workprec(200):
        no = 1 - mpf(y)
        if p == 1:
            return 100 * no, -mpf(y), mpf(y)
        if p == 0 or mp.log(p) < -100:
            of_0 = from_probability(p, 0.0)
            return 100 * mpf(y) + no * of_0.value, no * of_0.gradient, no
    return exact.value, exact.gradient, exact.term


def exact_of_logits(made):
    elements = logit_elements(made.x, made.y, made.options.get("pos_weight", 1.0))
    return reduced(elements, *weight_and_reduction(made))


def exact_of_probabilities(made):
    value, gradient, term = np.frompyfunc(clamped, 2, 3)(made.x, made.y)
    elements = {"value": as_exact(value), "gradient": Exact(gradient, term)}
    return reduced(elements, *weight_and_reduction(made))


def weight_and_reduction(made):
    return made.options.get("weight", 1.0), made.options.get("reduction", "mean")


def exact_focal(made):
    options = {"alpha": 0.25, "gamma": 2.0} | made.options
    options["alpha"] = None if options["alpha"] == -1 else options["alpha"]
    reduction = options.pop("reduction", "none")
    return reduced(focal_elements(made.x, made.y, **options), reduction=reduction)


OF_LOGITS = ("binary_cross_entropy_with_logits", "BCEWithLogitsLoss")
DEVIATIONS = [
    Deviation(
        "lost loss",
        "negative logits: (1 - y) * x cancels log_sigmoid(x)",
        ("value",),
        OF_LOGITS,
        lambda made: made.x < 0,
        call(OF_LOGITS[0], "float32", -40.0, 0.0),
    ),
    Deviation(
        "lost gradient",
        "positive logits: y is subtracted from sigmoid(x)",
        ("gradient",),
        OF_LOGITS,
        lambda made: made.x > 0,
        call(OF_LOGITS[0], "float32", 40.0, 1.0),
    ),
    Deviation(
        "infinite logit",
        "0 * inf, or inf - inf",
        ("value",),
        OF_LOGITS,
        lambda made: np.isinf(made.x),
        call(OF_LOGITS[0], "float32", np.inf, 1.0),
    ),
    Deviation(
        "float16 underflow",
        "logits from 9 on: exp(-x) is kept in float16, where it is subnormal",
        ("value",),
        OF_LOGITS,
        lambda made: (made.dtype == "float16") & (made.x >= 9),
        call(
            OF_LOGITS[0],
            "float16",
            14.5,
            1.0,
            weight=np.array(7.0),
            pos_weight=np.array(7.0),
        ),
    ),
    Deviation(
        "gradient at 0 or 1",
        "p * (1 - p) below 1e-12, which it is divided by at least",
        ("gradient",),
        ("binary_cross_entropy",),
        lambda made: made.x * (1 - made.x) < 1e-12,
        call("binary_cross_entropy", "float32", 0.0, 0.0),
    ),
    Deviation(
        "float16 overflow",
        "float16 within 1e-3 of 0 or 1: weight / p may pass 65504 before the mean",
        ("gradient",),
        ("binary_cross_entropy",),
        lambda made: (
            (made.dtype == "float16") & (np.minimum(made.x, 1 - made.x) < 1e-3)
        ),
        call(
            "binary_cross_entropy",
            "float16",
            [1e-4] * 8,
            [1.0] * 8,
            weight=np.array(8.0),
        ),
    ),
]

PEER = Peer(
    "PyTorch",
    torch.__version__.partition("+")[0],
    {
        "binary_cross_entropy": Function(
            by(torch.nn.functional.binary_cross_entropy),
            by(ours.binary_cross_entropy),
            exact_of_probabilities,
        ),
        "binary_cross_entropy_with_logits": Function(
            by(torch.nn.functional.binary_cross_entropy_with_logits),
            by(ours.binary_cross_entropy_with_logits),
            exact_of_logits,
        ),
        "BCEWithLogitsLoss": Function(
            by_module(torch.nn.BCEWithLogitsLoss),
            by_module(ours.BCEWithLogitsLoss),
            exact_of_logits,
        ),
        "sigmoid_focal_loss": Function(
            by(ours.sigmoid_focal_loss), by(ours.sigmoid_focal_loss), exact_focal
        ),
    },
    DEVIATIONS,
)


def options_of(*names):
    """`reduction`, and `names`: arrays that broadcast onto the input."""

    def drawn(draw, dtype, shape):
        options = {}
        if draw(st.booleans()):
            options["reduction"] = draw(st.sampled_from(["none", "mean", "sum"]))
        for name in names:
            if draw(st.booleans()):
                onto = draw(st.sampled_from([(), shape[-1:], shape]))
                kinds = [st.sampled_from([0.0, 0.5, 1.0]), floats(dtype, 0.125, 8)]
                options[name] = array(draw, dtype, onto, kinds)
        return options

    return drawn


@given(
    made=calls(
        "binary_cross_entropy", DTYPES, probabilities, options=options_of("weight")
    )
)
def test_probabilities(made):
    check(PEER, made)


@given(
    made=calls(
        "binary_cross_entropy_with_logits",
        DTYPES,
        options=options_of("weight", "pos_weight"),
    )
)
def test_logits(made):
    check(PEER, made)


@given(
    made=calls("BCEWithLogitsLoss", DTYPES, options=options_of("weight", "pos_weight"))
)
def test_module(made):
    check(PEER, made)


def focal_options(draw, dtype, shape):
    return draw(
        st.fixed_dictionaries(
            {},
            optional={
                "alpha": st.sampled_from([-1, 0.25, 0.75]),
                "gamma": st.sampled_from([0, 0.5, 1, 2, 5]),
                "reduction": st.sampled_from(["none", "mean", "sum"]),
            },
        )
    )


@given(made=calls("sigmoid_focal_loss", DTYPES, moderate_logits, options=focal_options))
def test_focal_against_mpmath_alone(made):
    check(PEER, made)


FOUR, COLUMN = torch.zeros(4), torch.zeros(4, 1)
BAD = {
    "shapes": lambda f: f(FOUR, COLUMN),
    "a size": lambda f: f(FOUR, torch.zeros(3)),
    "reduction": lambda f: f(FOUR, FOUR, reduction="average"),
    "reduction None": lambda f: f(FOUR, FOUR, reduction=None),
    "weight that enlarges": lambda f: f(FOUR, FOUR, weight=torch.ones(3, 4)),
    "weight that does not fit": lambda f: f(FOUR, FOUR, weight=torch.ones(3)),
    "an unknown name": lambda f: f(FOUR, FOUR, labels=FOUR),
}


@pytest.mark.parametrize(
    "name", ["binary_cross_entropy", "binary_cross_entropy_with_logits"]
)
@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
def test_errors(name, bad):
    theirs, our = getattr(torch.nn.functional, name), getattr(ours, name)
    raise_alike(lambda: bad(theirs), lambda: bad(our))


def test_state_dict():
    """Of one module loaded into the other, both ways."""
    options = {"weight": torch.tensor([1.0, 2.0]), "pos_weight": torch.tensor([3.0])}
    for one, other in ((torch.nn, ours), (ours, torch.nn)):
        given = one.BCEWithLogitsLoss(**options).state_dict()
        zeros = {name: torch.zeros_like(right) for name, right in options.items()}
        taker = other.BCEWithLogitsLoss(**zeros)
        taker.load_state_dict(given)
        assert list(given) == list(taker.state_dict()) == list(options)
        for name, right in options.items():
            assert torch.equal(taker.state_dict()[name], right)


# ---- under autocast ----------------------------------------------------------------


def torchvision_focal(inputs, targets, alpha=0.25, gamma=2, reduction="none"):
    """torchvision's formula, whose dtype under autocast is that of its operations."""
    p = torch.sigmoid(inputs)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        inputs, targets, reduction="none"
    )
    p_t = p * targets + (1 - p) * (1 - targets)
    alpha_t = alpha * targets + (1 - alpha) * (1 - targets)
    loss = alpha_t * (1 - p_t) ** gamma * loss
    return loss if reduction == "none" else getattr(loss, reduction)()


UNDER_AUTOCAST = {
    "binary_cross_entropy": (
        torch.nn.functional.binary_cross_entropy,
        ours.binary_cross_entropy,
    ),
    "binary_cross_entropy_with_logits": (
        torch.nn.functional.binary_cross_entropy_with_logits,
        ours.binary_cross_entropy_with_logits,
    ),
    "BCEWithLogitsLoss": (
        lambda x, y, reduction: torch.nn.BCEWithLogitsLoss(reduction=reduction)(x, y),
        lambda x, y, reduction: ours.BCEWithLogitsLoss(reduction=reduction)(x, y),
    ),
    "sigmoid_focal_loss": (torchvision_focal, ours.sigmoid_focal_loss),
}


@pytest.mark.filterwarnings("ignore:.*not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", UNDER_AUTOCAST)
def test_autocast(name, dtype, compiled):
    """float32 as theirs, whatever the reduction; and 16-bit gradients of the input."""
    x = torch.linspace(0.0625, 0.9375, 15).to(dtype).requires_grad_()
    y = (torch.arange(15) % 2).float()
    theirs, our = UNDER_AUTOCAST[name]
    if compiled:
        our = torch.compile(our, fullgraph=True, backend="aot_eager")
    for reduction in ("none", "mean", "sum"):
        with torch.autocast("cpu", dtype=dtype):
            right, result = (f(x, y, reduction=reduction) for f in (theirs, our))
        assert result.dtype is right.dtype is torch.float32
        if name != "sigmoid_focal_loss":  # of which theirs rounds p to 16 bits
            torch.testing.assert_close(result, right)
        (gradient,) = torch.autograd.grad(result.sum(), x)
        assert gradient.dtype is dtype
    with torch.autocast("cpu", dtype=dtype), torch.autocast("cpu", enabled=False):
        assert our(x, y, reduction="none").dtype is dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", UNDER_AUTOCAST)
def test_sums_per_image_under_autocast(name, dtype):
    """A convolution's 16-bit output; a float16 sum of it would be infinite."""
    weight = torch.full((1, 4, 1, 1), 2.5)
    layer = torch.nn.functional.conv2d
    y = torch.zeros(2, 1, 512, 512)
    with torch.autocast("cpu", dtype=dtype):
        x = layer(torch.ones(2, 4, 512, 512), weight)
        assert x.dtype is dtype
        first = torch.full_like(x, 0.9375) if name == "binary_cross_entropy" else x
        theirs, our = UNDER_AUTOCAST[name]
        right, result = (
            f(first, y, reduction="none").sum((1, 2, 3)) for f in (theirs, our)
        )
    assert torch.isfinite(result).all()
    torch.testing.assert_close(result, right, rtol=torch.finfo(dtype).eps, atol=0.0)


def test_autocast_of_other_devices_and_dtypes():
    meta = torch.empty(3, dtype=torch.bfloat16, device="meta")
    double = torch.zeros(3, dtype=torch.float64)
    with torch.autocast("cpu"):
        assert ours.sigmoid_focal_loss(meta, meta).dtype is torch.bfloat16
        assert ours.sigmoid_focal_loss(double, double).dtype is torch.float64


# ---- many classes --------------------------------------------------------------------
#
# Of moderate logits in float64, where PyTorch is right to a few eps of 1.

EPS_OF_ROWS = 2.0**-52

CLASSES = torch.tensor([0.5, 2.0, 1.0, 0.25], dtype=torch.float64)
SHAPES_OF_ROWS = {"(4,)": (4,), "(6, 4)": (6, 4), "(2, 4, 3, 2)": (2, 4, 3, 2)}
OF_NUMBERS = {
    "plain": {},
    "weight": {"weight": CLASSES},
    "smoothing": {"label_smoothing": 0.125},
    "weight and smoothing": {"weight": CLASSES, "label_smoothing": 0.125},
    "ignored": {"ignore_index": 2},
    "ignored and weight": {"ignore_index": 2, "weight": CLASSES},
    "all": {"ignore_index": 1, "weight": CLASSES, "label_smoothing": 0.125},
}
OF_MASSES = {k: v for k, v in OF_NUMBERS.items() if "ignore_index" not in v}


def rows(shape, masses):
    torch.manual_seed(len(shape))
    x = torch.randn(shape, dtype=torch.float64)
    axis = 0 if len(shape) == 1 else 1
    if masses:
        return x, torch.softmax(torch.randn(shape, dtype=torch.float64), axis)
    return x, torch.randint(0, 4, shape[:axis] + shape[axis + 1 :])


def both_ways(function, x, y, options):
    x = x.clone().requires_grad_()
    value = function(x, y, **options)
    (slope,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), slope


def alike(name, x, y, options):
    theirs = both_ways(getattr(torch.nn.functional, name), x, y, options)
    made = both_ways(getattr(ours, name), x, y, options)
    for one, other in zip(made, theirs, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        torch.testing.assert_close(
            one,
            other,
            rtol=64 * EPS_OF_ROWS,
            atol=16 * EPS_OF_ROWS,
            equal_nan=True,
        )


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("shape", SHAPES_OF_ROWS.values(), ids=list(SHAPES_OF_ROWS))
@pytest.mark.parametrize("options", OF_NUMBERS.values(), ids=list(OF_NUMBERS))
def test_cross_entropy_of_numbers(shape, options, reduction):
    x, y = rows(shape, False)
    alike("cross_entropy", x, y, options | {"reduction": reduction})


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("shape", SHAPES_OF_ROWS.values(), ids=list(SHAPES_OF_ROWS))
@pytest.mark.parametrize("options", OF_MASSES.values(), ids=list(OF_MASSES))
def test_cross_entropy_of_masses(shape, options, reduction):
    x, y = rows(shape, True)
    alike("cross_entropy", x, y, options | {"reduction": reduction})


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("shape", SHAPES_OF_ROWS.values(), ids=list(SHAPES_OF_ROWS))
@pytest.mark.parametrize("name", ["plain", "weight", "ignored", "ignored and weight"])
def test_nll_loss(shape, name, reduction):
    x, y = rows(shape, False)
    alike("nll_loss", x, y, OF_NUMBERS[name] | {"reduction": reduction})


@pytest.mark.parametrize("options", [{}, {"weight": CLASSES}], ids=["plain", "weight"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_nothing_counts(options, reduction):
    """No row, and rows that are all ignored: a mean is NaN, a sum 0."""
    options = options | {"reduction": reduction}
    x, y = rows((6, 4), False)
    for x_, y_ in ((x[:0], y[:0]), (x, torch.full_like(y, -100))):
        for name in ("cross_entropy", "nll_loss"):
            one, other = (
                getattr(module, name)(x_, y_, **options)
                for module in (ours, torch.nn.functional)
            )
            torch.testing.assert_close(one, other, equal_nan=True)


def test_ignored_rows_of_nan_have_no_gradient_here():
    """Where PyTorch's is NaN."""
    x, y = rows((6, 4), False)
    x[1], y[1] = float("nan"), -100
    _, slope = both_ways(ours.cross_entropy, x, y, {})
    _, theirs = both_ways(torch.nn.functional.cross_entropy, x, y, {})
    assert (slope[1] == 0).all()
    assert torch.isnan(theirs[1]).all()
    torch.testing.assert_close(slope[[0, 2, 3, 4, 5]], theirs[[0, 2, 3, 4, 5]])


def test_what_they_lose_of_many_classes():
    """A confident answer, and infinite logits."""
    x = torch.tensor([[50.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0])
    assert torch.nn.functional.cross_entropy(x, y) == 0
    loss = ours.cross_entropy(x, y)
    loss.backward()
    exact = 2 * mp.exp(-50)
    assert ulps(float(loss.detach()), mp.log1p(exact), "float64") <= 4
    assert ulps(float(-x.grad[0, 0]), exact / (1 + exact), "float64") <= 4
    infinite = torch.tensor([[float("inf"), 0.0]])
    assert torch.isnan(torch.nn.functional.cross_entropy(infinite, y))
    assert ours.cross_entropy(infinite, y) == 0
    masked, masses = torch.tensor([[0.0, -float("inf")]]), torch.tensor([[1.0, 0.0]])
    assert torch.isnan(torch.nn.functional.cross_entropy(masked, masses))
    assert ours.cross_entropy(masked, masses) == 0


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
def test_modules_of_many_classes(name):
    x, y = rows((6, 4), False)
    options = {"weight": CLASSES, "ignore_index": 3, "reduction": "sum"}
    if name == "CrossEntropyLoss":
        options["label_smoothing"] = 0.25
    one, other = (getattr(m, name)(**options) for m in (ours, torch.nn))
    assert one.state_dict().keys() == other.state_dict().keys()
    one.load_state_dict(other.state_dict())
    torch.testing.assert_close(one(x, y), other(x, y), rtol=64 * EPS_OF_ROWS, atol=0)


BAD_ROWS = {
    "float numbers": lambda m: m.cross_entropy(torch.zeros(2, 3), torch.zeros(2)),
    "other rows": lambda m: m.cross_entropy(torch.zeros(2, 3), torch.zeros(3).long()),
    "integer masses": lambda m: m.cross_entropy(
        torch.zeros(2, 3), torch.zeros(2, 3).long()
    ),
    "ignored masses": lambda m: m.cross_entropy(
        torch.zeros(2, 3), torch.zeros(2, 3), ignore_index=1
    ),
    "weights": lambda m: m.cross_entropy(
        torch.zeros(2, 3), torch.zeros(2).long(), torch.ones(2)
    ),
    "smoothing": lambda m: m.cross_entropy(
        torch.zeros(2, 3), torch.zeros(2).long(), label_smoothing=2.0
    ),
    "reduction": lambda m: m.cross_entropy(
        torch.zeros(2, 3), torch.zeros(2).long(), reduction="avg"
    ),
}


@pytest.mark.parametrize("bad", BAD_ROWS.values(), ids=list(BAD_ROWS))
def test_rows_that_both_refuse(bad):
    kinds = (TypeError, ValueError, RuntimeError, IndexError)
    for module in (torch.nn.functional, ours):
        with pytest.raises(kinds):
            bad(module)


def of_row(module):
    """Value and slope by the first logit, of numbers and of masses alike."""

    def value(x, y):
        return module.cross_entropy(torch.tensor(x), torch.tensor(y))

    def slope(x, y):
        logits = torch.tensor(x, requires_grad=True)
        module.cross_entropy(logits, torch.tensor(y)).backward()
        return logits.grad[0, 0]

    return value, slope


(THEIR_VALUE, THEIR_SLOPE), (OUR_VALUE, OUR_SLOPE) = (
    of_row(module) for module in (torch.nn.functional, ours)
)
ROW_DEVIATIONS = common(
    ("cross_entropy", THEIR_VALUE, OUR_VALUE),
    ("cross_entropy", THEIR_VALUE, OUR_VALUE),
    ("cross_entropy", THEIR_SLOPE, OUR_SLOPE),
)


def test_deviations(request):
    check_page(PEER, request.config.getoption("--write-deviations"), ROW_DEVIATIONS)
