"""Properties of any call of a loss of many classes, attacked: as `test_fuzzing.py`."""

from functools import partial

import hypothesis.strategies as st
import numpy as np
import row_strategies
import strategies
from row_strategies import calls
from test_fuzzing import bitwise, fuzz, run

import xploss

ENTROPY = xploss.softmax_cross_entropy


def results_of(backend, call, functions, *more):
    """As `run` has them, of the call's arguments and more of them."""
    arrays, kept, options = row_strategies.given(backend, call)
    return run(backend, call, functions, ([*arrays, *more], kept, options))


def per_row(loss):
    return partial(loss, reduction="none")


def bound(call, name):
    """In ulp, of a gradient of its larger term; 16-bit numbers are rounded once."""
    if "16" in call.dtype:
        return 0.51 if name == "value" or not call.options else 1.0
    return (4.0 if name == "value" else 6.0)

WORST={}
def is_exact(backend, call, name, result, exact, most=None):
    most = bound(call, name) if most is None else most
    per_class = name != "value"
    assert result.shape == (call.logits.shape if per_class else call.shape)
    rows = call.in_rows(result) if per_class else result.reshape(-1, 1)
    number, unit = exact.of(name), exact.unit(name)
    with np.errstate(all="ignore"):
        distance = strategies.away(
            rows, number, call.dtype, unit, exact.lost(backend.flushes)
        )
    import os
    if os.environ.get("WORST"):
        k=(str(backend),call.dtype,name,tuple(sorted(call.options)))
        d=np.max(distance,initial=0)
        if d>WORST.get(k,(0,))[0]:
            i,j=np.unravel_index(np.argmax(distance),distance.shape)
            WORST[k]=(d,dict(x=call.in_rows(call.logits)[i].tolist(),y=call.label_rows(False)[i],opts=call.options,j=int(j),w=exact.weights[i],got=rows[i,j],exact=number.high[i,j],unit=unit[i,j],lost=exact.lost(backend.flushes)[i],ax=call.class_axis,lay=call.layout,ld=call.label_dtype))
        return
    assert np.all(distance <= most), f"{name}: {np.max(distance)} ulp, not {most}"


def test_rows_equal_the_reference(backend):
    def check(call):
        exact = row_strategies.entropy(call, backend.flushes)
        both, curved = xploss.value_and_grad(per_row(ENTROPY)), xploss.grad_and_hess(ENTROPY)
        alone, pair, second = results_of(backend, call, [per_row(ENTROPY), both, curved])
        for name, result in (
            ("value", alone[0]), ("value", pair[0]), ("gradient", pair[1]),
            ("gradient", second[0]), ("hessian", second[1]),
        ):  # fmt: skip
            is_exact(backend, call, name, result, exact)

    fuzz(backend, check, calls(backend, with_z=True, furthest=True))
