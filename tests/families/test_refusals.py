"""A wrong call never returns a number: each refusal names the argument, says what it
got and what to pass."""

import functools
import inspect
import re
import types

import expected
import numpy as np
import pytest
from expected import without_address

import xploss
from xploss import binary_cross_entropy, sigmoid_cross_entropy, sigmoid_focal_loss

LOSSES = [loss.function for loss in expected.LOSSES]
LOGIT_LOSSES = [loss.function for loss in expected.LOGIT_LOSSES]
CALLS = [
    *(pytest.param(loss, id=loss.__name__) for loss in LOSSES),
    *(
        pytest.param(xploss.value_and_grad(loss), id=f"value_and_grad-{loss.__name__}")
        for loss in LOSSES
    ),
    *(
        pytest.param(xploss.grad_and_hess(loss), id=f"grad_and_hess-{loss.__name__}")
        for loss in LOGIT_LOSSES
    ),
]
X = np.full((4, 3), 0.25, np.float32)
Y = np.zeros((4, 3), np.float32)
ANY = "`(logits|probs)`"

# labels, options, exception, message
WRONG = {
    "labels-list": (Y.tolist(), {}, TypeError, "`labels` is a list: pass an array"),
    "labels-none": (None, {}, TypeError, "`labels` must be a number or an array of NumPy.*NoneType"),
    "labels-string": ("spam", {}, TypeError, "`labels` must be a number or an array.*str, 'spam'"),
    "labels-complex-number": (1j, {}, TypeError, "`labels` must be a number or an array.*complex"),
    "labels-complex": (Y + 0j, {}, TypeError, "`labels` must be boolean, int.*complex64"),
    "labels-object": (Y.astype(object), {}, TypeError, "`labels` must be.*got object"),
    "labels-text": (Y.astype(str), {}, TypeError, "`labels` must be boolean.*got <U32"),
    "labels-date": (Y.astype("M8[s]"), {}, TypeError, r"`labels` must be.*datetime64\[s\]"),
    "labels-longdouble": (Y.astype(np.longdouble), {}, TypeError, "`labels`.*got float128"),
    "labels-span": (np.timedelta64(1, "s"), {}, TypeError, "`labels` must be.*got timedelta64"),
    "labels-class": (np.ndarray, {}, TypeError, "`labels` is a type: it is a class; pass an array"),
    "labels-masked": (np.ma.array(Y), {}, TypeError, "`labels`.*MaskedArray.*`where=~mask`"),
    "labels-matrix": (Y.view(np.matrix), {}, TypeError, "`labels`.*matrix.*numpy.asarray"),
    "labels-rank": (Y[:, 0], {}, ValueError, r"`labels` must have the shape of.*\(4, 3\).*got shape \(4,\)"),
    "labels-column": (Y[:, :1], {}, ValueError, r"`labels` must have the shape.*got shape \(4, 1\)"),
    "labels-huge": (10**400, {}, ValueError, r"`labels` must be within 1.798e\+308.*1329 bits"),
    "smoothing-large": (Y, {"label_smoothing": 1.5}, ValueError, "`label_smoothing` must be from 0 to 1.*got 1.5"),
    "smoothing-negative": (Y, {"label_smoothing": -0.1}, ValueError, "`label_smoothing`.*got -0.1"),
    "smoothing-nan": (Y, {"label_smoothing": float("nan")}, ValueError, "`label_smoothing`.*got nan"),
    "smoothing-array": (Y, {"label_smoothing": Y}, ValueError, r"`label_smoothing` must be a number or an array of shape \(\); got shape \(4, 3\)"),
    "smoothing-none": (Y, {"label_smoothing": None}, TypeError, "`label_smoothing` must be a number or an array.*NoneType"),
    "smoothing-list": (Y, {"label_smoothing": [0.1]}, TypeError, "`label_smoothing` is a list"),
    "smoothing-complex": (Y, {"label_smoothing": np.array(0j)}, TypeError, "`label_smoothing` must be boolean, integer"),
    "smoothing-huge": (Y, {"label_smoothing": 10**5000}, ValueError, "`label_smoothing` must be within.*16610 bits"),
    "weights-trailing": (Y, {"weights": Y[0]}, ValueError, r"`weights` must.*got shape \(3,\).*`weights\[:, None\]`"),
    "weights-enlarge": (Y[:1], {"weights": Y}, ValueError, r"`weights` must be a number or fit onto"),
    "weights-one": (Y, {"weights": Y[0, :1]}, ValueError, r"`weights`.*got shape \(1,\); one for all is `weights\[0\]`"),
    "weights-infinite": (Y, {"weights": np.inf}, ValueError, "`weights` must be finite; got inf"),
    "weights-nan": (Y, {"weights": np.float32("nan")}, ValueError, "`weights` must be finite; got nan"),
    "weights-huge": (Y, {"weights": -(10**400)}, ValueError, "`weights` must be within"),
    "weights-list": (Y, {"weights": [1.0]}, TypeError, "`weights` is a list"),
    "weights-text": (Y, {"weights": "1"}, TypeError, "`weights` must be a number or an array.*got str, '1'"),
    "weights-span": (Y, {"weights": np.timedelta64(3, "s")}, TypeError, "`weights` must be.*got timedelta64"),
    "weights-complex": (Y, {"weights": Y + 0j}, TypeError, "`weights` must be boolean, integer"),
    "where-float": (Y, {"where": Y}, TypeError, "`where` must be boolean.*comparison.*got float32"),
    "where-integer": (Y, {"where": 1}, TypeError, "`where` must be a boolean or an array.*int, 1"),
    "where-trailing": (Y, {"where": Y[0] > 0}, ValueError, r"`where` must be a boolean or fit.*`where\[:, None\]`"),
    "where-shape": (Y, {"where": np.ones((4, 2), bool)}, ValueError, r"`where` must.*got shape \(4, 2\)"),
    "keyword": (Y, {"label_smothing": 0.1}, TypeError, "label_smothing"),
}  # fmt: skip
REDUCED = {
    "reduction-misspelt": ({"reduction": "maen"}, ValueError, "`reduction` must be one of.*got 'maen'; did you mean 'mean'"),
    "reduction-case": ({"reduction": "SUM"}, ValueError, "`reduction`.*did you mean 'sum'"),
    "reduction-none": ({"reduction": None}, ValueError, "`reduction`.*got None; did you mean 'none'"),
    "reduction-number": ({"reduction": 0}, ValueError, "`reduction` must be one of.*got 0"),
    "reduction-array": ({"reduction": np.array(["sum", "mean"])}, ValueError, "`reduction` must be one of.*got array"),
    "axis-with-none": ({"axis": 0, "reduction": "none"}, ValueError, "`axis`.*axis=0 with reduction='none'"),
    "axis-large": ({"axis": 2}, ValueError, "`axis` must be axes of a 2-d array; got 2"),
    "axis-negative": ({"axis": -3}, ValueError, "`axis` must be axes of a 2-d array; got -3"),
    "axis-repeated": ({"axis": (0, -2)}, ValueError, r"`axis` names an axis twice; got \(0, -2\)"),
    "axis-empty": ({"axis": ()}, ValueError, r"`axis` must be axes of a 2-d array; got \(\)"),
    "axis-float": ({"axis": 1.0}, TypeError, "`axis` must be None, an int or a tuple of ints; got 1.0"),
    "axis-boolean": ({"axis": True}, TypeError, "`axis` must be None, an int or a tuple of ints; got True"),
    "axis-list": ({"axis": [0]}, TypeError, r"`axis` must be None, an int or a tuple.*got \[0\]"),
}  # fmt: skip
FIRST = {
    "list": (X.tolist(), TypeError, f"{ANY} is a list: pass an array"),
    "number": (0.5, TypeError, f"{ANY} must be an array of NumPy.*float, 0.5"),
    "none": (None, TypeError, f"{ANY} must be an array of NumPy.*NoneType"),
    "string": ("spam", TypeError, f"{ANY} must be an array of NumPy.*'spam'"),
    "integer": (X.astype(int), TypeError, f"{ANY} must be float16.*got int64"),
    "boolean": (X > 0, TypeError, f"{ANY} must be float16.*got bool"),
    "complex": (X + 0j, TypeError, f"{ANY} must be float16, bfloat16.*got complex64"),
    "object": (X.astype(object), TypeError, f"{ANY} must be float16.*got object"),
    "text": (X.astype(str), TypeError, f"{ANY} must be float16.*got <U32"),
    "longdouble": (X.astype(np.longdouble), TypeError, f"{ANY} must be.*got float128"),
    "date": (X.astype("M8[s]"), TypeError, f"{ANY} must be float16.*datetime64"),
    "masked": (np.ma.array(X), TypeError, f"{ANY} is a numpy.ma.*where=~mask"),
    "matrix": (X.view(np.matrix), TypeError, f"{ANY} is a numpy.matrix.*numpy.asarray"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", WRONG)
def test_argument(call, case):
    labels, options, error, message = WRONG[case]
    logits = X[:1] if case == "weights-enlarge" else X
    with pytest.raises(error, match=message):
        call(logits, labels, **options)


@pytest.mark.parametrize("call", [c for c in CALLS if "hess" not in c.id])
@pytest.mark.parametrize("case", REDUCED)
def test_reduction(call, case):
    options, error, message = REDUCED[case]
    with pytest.raises(error, match=message):
        call(X, Y, **options)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", FIRST)
def test_first_argument(call, case):
    first, error, message = FIRST[case]
    with pytest.raises(error, match=message):
        call(first, Y)


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "log_sigmoid"])
@pytest.mark.parametrize("case", FIRST)
def test_functions(name, case):
    first, error, message = FIRST[case]
    with pytest.raises(error, match=message.replace(ANY, "`x`")):
        getattr(xploss, name)(first)


@pytest.mark.parametrize("call", CALLS)
def test_options_are_by_keyword(call):
    with pytest.raises(TypeError, match="positional"):
        call(X, Y, 3.0)


@pytest.mark.parametrize(
    ("loss", "name", "value", "error", "message"),
    [
        (sigmoid_cross_entropy, "pos_weight", np.ones(4), ValueError, r"`pos_weight` must be a number, have one value a class.*got shape \(4,\)"),
        (sigmoid_cross_entropy, "pos_weight", np.ones((3, 1)), ValueError, r"`pos_weight`.*got shape \(3, 1\)"),
        (sigmoid_cross_entropy, "pos_weight", [1.0, 2.0, 3.0], TypeError, "`pos_weight` is a list"),
        (binary_cross_entropy, "eps", 0.6, ValueError, "`eps` must be from 0 to 0.5; got 0.6"),
        (binary_cross_entropy, "eps", -1e-7, ValueError, "`eps` must be from 0 to 0.5"),
        (sigmoid_cross_entropy, "pos_weight", np.ones(1), ValueError, r"`pos_weight`.*\(1,\); one for all is `pos_weight\[0\]`"),
        (sigmoid_cross_entropy, "pos_weight", -1.0, ValueError, "`pos_weight` must be at least 0.0; got -1.0"),
        (sigmoid_cross_entropy, "pos_weight", np.inf, ValueError, "`pos_weight` must be finite; got inf"),
        (sigmoid_cross_entropy, "pos_weight", 10**400, ValueError, "`pos_weight` must be within"),
        (binary_cross_entropy, "pos_weight", float("nan"), ValueError, "`pos_weight` must be finite; got nan"),
        (binary_cross_entropy, "eps", np.zeros(3), ValueError, r"`eps` must be a number or an array of shape \(\); got shape \(3,\)"),
        (binary_cross_entropy, "eps", "0", TypeError, "`eps` must be a number or an array"),
        (binary_cross_entropy, "eps", 10**400, ValueError, "`eps` must be within"),
        (sigmoid_focal_loss, "gamma", -1.0, ValueError, "`gamma` must be at least 0.0; got -1.0"),
        (sigmoid_focal_loss, "gamma", float("nan"), ValueError, "`gamma` must be finite; got nan"),
        (sigmoid_focal_loss, "gamma", np.inf, ValueError, "`gamma` must be finite; got inf"),
        (sigmoid_focal_loss, "gamma", 10**400, ValueError, "`gamma` must be within"),
        (sigmoid_focal_loss, "alpha", 10**400, ValueError, "`alpha` must be within"),
        (sigmoid_focal_loss, "gamma", None, TypeError, "`gamma` must be a number or an array; got None"),
        (sigmoid_focal_loss, "gamma", "2", TypeError, "`gamma` must be a number or an array"),
        (sigmoid_focal_loss, "alpha", 1.5, ValueError, "`alpha` must be from 0 to 1"),
        (sigmoid_focal_loss, "alpha", np.ones(2), ValueError, r"`alpha` must.*\(2,\)"),
    ],
)  # fmt: skip
def test_own_option(loss, name, value, error, message):
    with pytest.raises(error, match=message):
        loss(X, Y, **{name: value})


SPREAD = [
    ("pos_weight", (3,), "pos_weight[None, :, None, None]"),
    ("pos_weight", (3, 1, 1), "pos_weight[None]"),
    ("weights", (3,), "weights[:, None, None, None]"),
    ("weights", (3,), "weights[None, :, None, None]"),
    ("weights", (3, 4, 5), "weights[None]"),
    ("weights", (5,), "weights[None, None, None, :]"),
]


@pytest.mark.parametrize(("name", "shape", "hint"), SPREAD)
def test_what_is_hinted_at_beside_images_is_taken(name, shape, hint):
    """(N, C, H, W), with classes on axis 1; what the message says to pass fits."""
    logits, values = np.zeros((2, 3, 4, 5)), np.ones(shape)
    with pytest.raises(ValueError, match=re.escape(f"`{hint}`")):
        sigmoid_cross_entropy(logits, 1.0, **{name: values})
    given = eval(
        hint, {name: np.ones((2,)) if hint.startswith("weights[:") else values}
    )
    assert sigmoid_cross_entropy(logits, 1.0, **{name: given}) == np.log(2.0)


# ---- transforms -------------------------------------------------------------------


@functools.wraps(sigmoid_cross_entropy)
def wrapped(*args, **options):
    return 2 * sigmoid_cross_entropy(*args, **options)


STRANGERS = [
    np.mean,
    wrapped,
    lambda x, y: x,
    xploss.value_and_grad(sigmoid_cross_entropy),
    "sigmoid_cross_entropy",
    None,
]


@pytest.mark.parametrize("transform", [xploss.value_and_grad, xploss.grad_and_hess])
@pytest.mark.parametrize("stranger", STRANGERS, ids=without_address)
def test_strangers(transform, stranger):
    names = f"`{transform.__name__}` takes a loss.*, such as `xploss.sigmoid.*; got"
    with pytest.raises(TypeError, match=names):
        transform(stranger)
    with pytest.raises(TypeError, match=names):
        transform(functools.partial(np.mean, axis=0))


@pytest.mark.library("jax")
def test_a_jitted_loss_is_a_stranger():
    import jax

    with pytest.raises(TypeError, match="`value_and_grad` takes a loss, such as"):
        xploss.value_and_grad(jax.jit(sigmoid_cross_entropy))


@pytest.mark.library("torch")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
def test_a_compiled_loss_is_a_stranger():
    import torch

    with pytest.raises(TypeError, match="`value_and_grad` takes a loss, such as"):
        xploss.value_and_grad(torch.compile(sigmoid_cross_entropy))


@pytest.mark.parametrize("option", ["reduction", "axis"])
def test_hessian_is_per_element(option):
    preset = functools.partial(sigmoid_cross_entropy, **{option: "sum"})
    message = f"`grad_and_hess` is per element and takes no `{option}`, got 'sum'"
    with pytest.raises(TypeError, match=message):
        xploss.grad_and_hess(preset)
    with pytest.raises(TypeError, match=message):
        xploss.grad_and_hess(sigmoid_cross_entropy)(X, Y, **{option: "sum"})


def test_no_hessian_of_probabilities():
    with pytest.raises(
        TypeError, match="`grad_and_hess` takes a loss of logits, such as"
    ):
        xploss.grad_and_hess(binary_cross_entropy)


# ---- libraries and devices ---------------------------------------------------------


class Other:
    """An array of some other array-API library."""

    def __array_namespace__(self, api_version=None):
        return types.SimpleNamespace(__name__="other")


@pytest.mark.parametrize("option", ["labels", "weights", "where", "pos_weight"])
def test_two_libraries(backend, option):
    x = backend.array(X, backend.dtypes[-1])
    pairs = [(x, Other())]
    if backend.library != "numpy":
        pairs += [(x, X), (X, x)]
    for first, foreign in pairs:
        options = {"labels": first, option: foreign}
        message = rf"is an array of \w+ and `{option}` one of \w+; convert one"
        for call in (call.values[0] for call in CALLS):
            if (
                option != "pos_weight"
                or "pos_weight" in inspect.signature(call).parameters
            ):
                with pytest.raises(TypeError, match=message):
                    call(first, **options)


@pytest.mark.library("strict")
@pytest.mark.parametrize("option", ["labels", "weights", "where", "pos_weight"])
def test_two_devices_of_strict(option):
    import array_api_strict as strict

    here, there = (strict.Device(f"device{k}") for k in (1, 2))
    x = strict.asarray(X, device=here)
    other = strict.asarray(X > 0 if option == "where" else X, device=there)
    options = {"labels": x, option: other}
    with pytest.raises(
        ValueError, match=f"`logits` is on.*device1.*`{option}` on.*device2"
    ):
        sigmoid_cross_entropy(x, options.pop("labels"), **options)


@pytest.mark.library("torch")
@pytest.mark.parametrize("option", ["labels", "weights", "where", "pos_weight"])
def test_two_devices_of_torch(option):
    import torch

    x = torch.tensor(X)
    other = torch.ones(4, 3, dtype=torch.bool if option == "where" else x.dtype)
    options = {"labels": x, option: other.to("meta")}
    with pytest.raises(
        ValueError, match=f"`logits` is on device cpu and `{option}` on"
    ):
        sigmoid_cross_entropy(x, options.pop("labels"), **options)


@pytest.mark.library("torch")
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:Warning")
@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors:UserWarning")
@pytest.mark.parametrize(
    "kind", ["coo", "csr", "nested", "masked", "mkldnn", "quantised", "integer"]
)
def test_kinds_of_torch(kind):
    import torch

    x = torch.tensor(X)
    make = {
        "coo": x.to_sparse,
        "csr": x.to_sparse_csr,
        "nested": lambda: torch.nested.nested_tensor([x[0], x[1]]),
        "masked": lambda: torch.masked.masked_tensor(x, x > 0),
        "mkldnn": x.to_mkldnn,
        "quantised": lambda: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),
        "integer": x.long,
    }[kind]
    message = {
        "coo": "`logits` is a torch.Tensor: it is sparse; pass it by `.to_dense",
        "csr": "`logits` is a torch.Tensor: it is sparse; pass it by `.to_dense",
        "nested": "`logits` is a torch.Tensor: it is nested; pass `.to_padded",
        "masked": "`logits` is a torch.masked.*mask would be lost.*get_data.*get_mask",
        "mkldnn": "`logits` is a torch.Tensor: pass `.to_dense",
        "quantised": "`logits` must be float16.*got torch.quint8",
        "integer": "`logits` must be float16.*got torch.int64",
    }[kind]
    with pytest.raises(TypeError, match=message):
        sigmoid_cross_entropy(make(), 1)
    # Beside another such, as an ordinary call has its two, and as labels.
    with pytest.raises(TypeError, match=message):
        sigmoid_cross_entropy(make(), make())
    if kind != "integer":  # which labels may be
        as_labels = message.replace("logits", "labels").partition("must be")[0]
        with pytest.raises(TypeError, match=as_labels):
            sigmoid_cross_entropy(x, make())


def test_sparse_and_frames():
    import scipy.sparse

    class Frame:
        def to_numpy(self):
            return X

    with pytest.raises(
        TypeError,
        match=r"`logits` is a scipy.sparse.*it is sparse; pass it by `.toarray",
    ):
        sigmoid_cross_entropy(scipy.sparse.csr_array(X), 1)
    with pytest.raises(TypeError, match=r"`logits` is a .*Frame: pass `.to_numpy"):
        sigmoid_cross_entropy(Frame(), 1)


@pytest.mark.library("dask")
def test_kinds_of_dask():
    import dask.array as da

    masked = da.ma.masked_greater(da.from_array(X), 1)
    with pytest.raises(
        TypeError, match=r"`logits` is a dask.*mask would be lost.*getdata"
    ):
        sigmoid_cross_entropy(masked, 1)
    with pytest.raises(ValueError, match=r"`labels` must have the shape.*\(4, 1\)"):
        sigmoid_cross_entropy(da.from_array(X), da.from_array(Y[:, :1]))


# ---- what is no array yet, or of an older standard -----------------------------------


@pytest.mark.library("dask")
@pytest.mark.parametrize("name", ["logits", "labels", "weights", "where"])
def test_delayed(name):
    import dask.array

    given = {"logits": dask.array.zeros(3), "labels": 1.0}
    given[name] = dask.delayed(np.zeros)(3)
    with pytest.raises(TypeError, match=rf"`{name}` is a dask.*from_delayed\(\.\.\.\)"):
        sigmoid_cross_entropy(**given)


@pytest.mark.library("strict")
@pytest.mark.filterwarnings("ignore:The 2021.12 version")
@pytest.mark.parametrize(
    "version", ["2021.12", "2022.12", "2023.12", "2024.12", "2025.12"]
)
def test_older_standards(version):
    """Before 2024.12 `where` takes no numbers."""
    import array_api_strict

    with array_api_strict.ArrayAPIStrictFlags(api_version=version):
        logits = array_api_strict.zeros(3)
        calls = [lambda loss=loss: loss(logits, 1.0) for loss in CALLS_OF_ARRAYS]
        calls.append(lambda: xploss.check_labels(logits))
        for call in calls:
            if version >= "2024.12":
                call()
                continue
            message = rf"as of the array API of {version}; pass one as of 2024.12"
            with pytest.raises(TypeError, match=message):
                call()


CALLS_OF_ARRAYS = [xploss.value_and_grad(loss) for loss in LOGIT_LOSSES] + LOSSES
