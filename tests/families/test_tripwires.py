"""Faults that show on a GPU or under a compiler, each planted in a copy of the
package, and the checks that catch them here."""

import importlib
import itertools
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import backends
import checks
import numpy as np
import pytest
from checks import (
    compiles_strictly,
    leaves_inputs_alone,
    makes_no_copies,
    needs_no_values,
    refuses_other_shapes,
    stays_lazy,
    stays_on_device,
)

import xploss
from xploss.backends.compiled import INSTRUCTION_SETS

MASSES, FORMULA = "formulas/masses.py", "formulas/sigmoid.py"
ARRAYS, ARGUMENTS = "_arrays.py", "_arguments.py"
PLAIN, COMPILED = "backends/base.py", "backends/compiled.py"
CLASSES, ROWS = "backends/classes.py", "formulas/softmax.py"
CAST = "return xp.astype(argument, dtype, copy=False)"
MEAN = "return total / n if n != 0 else total * math.nan"


@dataclass(frozen=True)
class Fault:
    """`planted` in the place of `text`; the checks that catch it, and what they say."""

    name: str
    module: str
    text: str
    planted: str
    caught: dict[Callable[..., None], str]
    options: dict[str, Any] = field(default_factory=lambda: {"reduction": "none"})
    of: str = "sigmoid_cross_entropy"

    def __str__(self) -> str:
        return self.name.replace(" ", "-")

    def loss(self, package: Any) -> checks.Loss:
        return partial(getattr(package, self.of), **self.options)


FAULTS = [
    Fault(
        "host round trip",
        PLAIN,
        CAST,
        "return xp.asarray(\n"
        "            np.asarray(argument), dtype=dtype, device=argument.device\n"
        "        )",
        {
            stays_on_device: "Can't convert array",
            compiles_strictly: "TracerArrayConversionError",
            needs_no_values: "can't convert meta",
        },
    ),
    Fault(
        "numpy on a foreign array",
        FORMULA,
        "decay=xp.exp(",
        "decay=np.exp(",
        {
            stays_on_device: "Can't convert array",
            compiles_strictly: "TracerArrayConversionError",
            needs_no_values: "of type Node",
        },
    ),
    Fault(
        "creation without device",
        PLAIN,
        MEAN,
        "return total / xp.asarray(n, dtype=total.dtype)",
        {stays_on_device: "two different devices"},
        {"reduction": "mean"},
    ),
    Fault(
        "creation without dtype",
        PLAIN,
        MEAN,
        "return total / xp.asarray(n, device=total.device)",
        {stays_on_device: "Only floating-point dtypes"},
        {"reduction": "mean"},
    ),
    Fault(
        "hard float64",
        ARRAYS,
        'return xp.float64 if dtype_name(array) == "float64" else xp.float32',
        "return xp.float64",
        {
            stays_on_device: "does not support dtype",
            compiles_strictly: "UserWarning: Explicitly requested dtype float64",
        },
    ),
    Fault(
        "if any",
        ARGUMENTS,
        'self.check_alike("labels", labels)',
        'self.check_alike("labels", labels)\n'
        "        if self.xp.any(labels > 1.0):\n"
        '            raise ValueError("`labels` must be at most 1")',
        {
            compiles_strictly: "TracerBoolConversionError",
            needs_no_values: "meta tensors",
            stays_lazy: "AssertionError: computed 1 times",
        },
    ),
    Fault(
        "float of an array",
        PLAIN,
        MEAN,
        "return xp.asarray(\n"
        "            float(total) / n, dtype=total.dtype, device=total.device\n"
        "        )",
        {
            compiles_strictly: "ConcretizationTypeError",
            needs_no_values: "meta tensors",
        },
        {"reduction": "mean"},
    ),
    Fault(
        "mask assignment",
        FORMULA,
        "linear = f.xp.where(none, 0.0, f.weighed(f.against * logits))",
        "linear = f.weighed(f.against * logits)\n        linear[none] = 0.0",
        {compiles_strictly: "JAX arrays are immutable"},
    ),
    Fault(
        "writing the input",
        MASSES,
        "pos = pos * (1.0 - smoothing) + smoothing / 2.0",
        "pos *= 1.0 - smoothing\n        pos += smoothing / 2.0",
        {leaves_inputs_alone: "read-only"},
        {"reduction": "none", "label_smoothing": 0.1},
    ),
    Fault(
        "function outside the standard",
        FORMULA,
        "& f.xp.isinf(logits)",
        "& (f.xp.isposinf(logits) | f.xp.isneginf(logits))",
        {stays_on_device: "has no attribute 'isposinf'"},
    ),
    Fault(
        "float times bool",
        FORMULA,
        "against=xp.where(positive, neg, -pos)",
        "against=neg * positive - pos * ~positive",
        {
            stays_on_device: "Only numeric dtypes",
            compiles_strictly: "TypePromotionError",
        },
    ),
    Fault(
        "silent broadcasting",
        ARGUMENTS,
        "if shape and not same_shape(shape, self.shape):",
        "if shape[-1:] != self.shape[-1:]:",
        {refuses_other_shapes: r"nothing of labels \(4,\) with logits \(1, 4\)"},
    ),
    Fault(
        "classes numbered on the default device",
        CLASSES,
        "index = xp.arange(self.start, stop, dtype=dtype, device=device)",
        "index = xp.arange(self.start, stop, dtype=dtype)",
        {stays_on_device: "two different devices"},
        of="softmax_cross_entropy",
    ),
    Fault(
        "if any row",
        ROWS,
        "        others = xp.class_sum(exponential)\n",
        "        others = xp.class_sum(exponential)\n"
        "    if (others > 1e30).any():\n"
        '        raise ValueError("rows are too long")\n',
        {
            compiles_strictly: "TracerBoolConversionError",
            needs_no_values: "meta tensors",
        },
        of="softmax_cross_entropy",
    ),
    Fault(
        "masses of another shape",
        "_categorical.py",
        "if len(got) == len(shape) and same_shape(got, shape):",
        "if len(got) == len(shape):",
        {refuses_other_shapes: "nothing of labels"},
        of="softmax_cross_entropy",
    ),
    Fault(
        "needless copy",
        COMPILED,
        "return given\n",
        "return tuple(a.copy() for a in given)\n",
        {makes_no_copies: r"AssertionError: 3\.\d+ arrays"},
    ),
]

# What values, and gradients where there are any, give away on the CPU.
SEEN_PLAINLY: dict[str, set[str]] = {
    "numpy": set(),
    "torch": {"writing the input"},
}

CLAIMS = [
    pytest.param(
        fault,
        check,
        id=f"{fault}-{check.__name__}",
        marks=pytest.mark.library(checks.LIBRARIES[check]),
    )
    for fault in FAULTS
    for check in fault.caught
]

numbers = itertools.count()


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """A function that imports a copy of the package with a fault in it."""

    def planted(fault: Fault) -> Any:
        copy = tmp_path / f"planted_{next(numbers)}"  # imported once: a name of its own
        source = Path(xploss.__file__).parent
        # What is compiled already has no fault that is planted in a formula.
        left_out = ["__pycache__", *([] if fault.module == COMPILED else ["*.so"])]
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*left_out))
        module = copy / fault.module
        code = module.read_text(encoding="utf-8")
        assert code.count(fault.text) == 1, f"not once in {fault.module}: {fault.text}"
        code = "import numpy as np\n" + code.replace(fault.text, fault.planted)
        module.write_text(code, encoding="utf-8")
        return importlib.import_module(copy.name)

    monkeypatch.syspath_prepend(tmp_path)
    return planted


@pytest.mark.parametrize(("fault", "check"), CLAIMS)
def test_caught(fault, check, plant):
    if fault.module == COMPILED and not INSTRUCTION_SETS:
        pytest.skip("built without a compiler")
    check(fault.loss(xploss))
    loss = fault.loss(plant(fault))
    said = "nothing"
    try:
        check(loss)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    assert re.search(fault.caught[check], said)


def test_every_fault_is_claimed():
    """In a session that exists, by a test that is there."""
    assert len({fault.name for fault in FAULTS}) == 16
    assert all(fault.caught for fault in FAULTS)
    (tests,) = (m.args[1] for m in test_caught.pytestmark if m.name == "parametrize")
    sessions = {test.id: test.marks[0].args[0] for test in tests}
    for fault in FAULTS:
        for check in fault.caught:
            session = sessions.pop(f"{fault}-{check.__name__}")
            assert session == checks.LIBRARIES[check]
            assert session in backends.LIBRARIES
    assert not sessions


def numpy_plainly(loss):
    return [np.asarray(loss(checks.LOGITS.copy(), checks.LABELS.copy()))]


def torch_plainly(loss):
    import torch

    logits, labels = (
        torch.tensor(values, dtype=torch.float32, requires_grad=values is checks.LOGITS)
        for values in (checks.LOGITS, checks.LABELS)
    )
    value = loss(logits, labels)
    value.sum().backward()
    return [value.detach().numpy(), logits.grad.numpy()]


def sees(run, loss, expected):
    try:
        for result, right in zip(run(loss), expected, strict=True):
            # Of what cancels, of the largest: other ways round otherwise.
            few = 8 * np.finfo(right.dtype).eps
            most = few * np.abs(right).max()
            np.testing.assert_allclose(result, right, few, most, strict=True)
    except Exception:
        return True
    return False


@pytest.mark.parametrize(
    ("library", "run"),
    [
        pytest.param("numpy", numpy_plainly, marks=pytest.mark.library("numpy")),
        pytest.param("torch", torch_plainly, marks=pytest.mark.library("torch")),
    ],
    ids=["numpy", "torch"],
)
def test_plain_runs_see_few(library, run, plant):
    """What the checks are for."""
    seen = {
        fault.name
        for fault in FAULTS
        if sees(run, fault.loss(plant(fault)), run(fault.loss(xploss)))
    }
    assert seen == SEEN_PLAINLY[library]
