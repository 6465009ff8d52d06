"""Any call of a loss of many classes, attacked as others are in `test_fuzzing.py`."""

from dataclasses import replace
from functools import partial

import hypothesis.strategies as st
import numpy as np
import row_strategies
import strategies
from categorical_reference import softmax
from expected import wide
from mpmath import fsum, mp, mpf
from reference import ulps
from row_strategies import Exact, Row, calls, finite, or_nan
from strategies import Numbers
from test_categorical import exact_product
from test_fuzzing import bitwise, run
from test_fuzzing import fuzz as fuzz_of

import xploss

# Of calls with more to draw more are drawn.
fuzz = partial(fuzz_of, times=3)
ENTROPY, FOCAL = xploss.softmax_cross_entropy, xploss.softmax_focal_loss
OF_PROBABILITIES = xploss.categorical_cross_entropy
PER_CLASS = ("gradient", "hessian", "softmax", "log_softmax", "product")


def results_of(backend, call, functions, *more):
    """As `run` has them, of the call's arguments and more of them."""
    arrays, kept, options = row_strategies.given(backend, call)
    return run(backend, call, functions, ([*arrays, *more], kept, options))


def per_row(loss):
    return partial(loss, reduction="none")


def derived(loss):
    """Value and gradient, gradient and Hessian."""
    return [xploss.value_and_grad(per_row(loss)), xploss.grad_and_hess(loss)]


def bound(call, name):
    """In ulp, of a gradient of its larger term; 16-bit numbers are rounded once.

    Weighed and smoothed masses have been rounded, and a sum of them is in each; with
    z_loss there is one more part to round.
    """
    if "16" in call.dtype:
        return 0.51
    options = ("label_smoothing", "class_weights", "z_loss")
    more = 2.0 if any(name in call.options for name in options) else 0.0
    of_one = name in ("value", "log_softmax", "logsumexp")
    return more + (4.0 if of_one else 6.0)


def is_exact(backend, call, name, result, exact, most=None, share=None):
    """Each within its bound, or `most`, times the row's factor."""
    per_class = name in PER_CLASS
    assert result.shape == (call.logits.shape if per_class else call.shape)
    # NumPy has no bfloat16, of which each is a float32.
    assert result.dtype.name == call.dtype.replace("bfloat16", "float32")
    rows = call.in_rows(result) if per_class else result.reshape(-1, 1)
    most = np.float64(bound(call, name) if most is None else most)
    number, size = exact.of(name), exact.size(name)
    lost = exact.lost(name, backend.flushes)
    with np.errstate(all="ignore"):
        if share is not None:
            # What overflows before it is divided stays infinite; and that product is
            # rounded, which float64's own bound does not know of.
            number = number.overflown(strategies.overflow(wide(call.dtype)))
            number, size, lost = number.times(share), size * share, lost * share
            most = most + (call.dtype == "float64")
        distance = strategies.away(rows, number, call.dtype, size, lost)
    if "16" not in call.dtype:
        most = most * exact.factors()
    assert np.all(distance <= most), f"{name}: {np.max(distance)} ulp, not {most}"


def are_exact(backend, call, names, results, exact, most=None):
    for name, result in zip(names, results, strict=True):
        is_exact(backend, call, name, result, exact, most)


# ---- exact -------------------------------------------------------------------------


def test_rows_equal_the_reference(backend):
    def check(call):
        exact = row_strategies.entropy(call, backend.flushes)
        functions = [per_row(ENTROPY), *derived(ENTROPY)]
        alone, both, second = results_of(backend, call, functions)
        are_exact(backend, call, ("value",), alone, exact)
        are_exact(backend, call, ("value", "gradient"), both, exact)
        are_exact(backend, call, ("gradient", "hessian"), second, exact)

    fuzz(backend, check, calls(backend, with_z=True))


def test_focal_rows_equal_the_reference(backend):
    """Bounds are those of test_categorical_others.py."""

    def check(drawn):
        call, gamma = drawn
        exact = row_strategies.focal(call, backend.flushes, gamma)
        loss = partial(FOCAL, gamma=gamma)
        both, (gradient, hessian) = results_of(backend, call, derived(loss))
        known = call.as_logits(~np.isnan(exact.of("hessian").high))
        hessian = np.where(known, hessian, hessian.dtype.type(np.nan))
        first, second = (1.0, 1.0) if "16" in call.dtype else (8.0, 12.0)
        are_exact(backend, call, ("value", "gradient"), both, exact, first)
        is_exact(backend, call, "gradient", gradient, exact, first)
        is_exact(backend, call, "hessian", hessian, exact, second)

    drawn = st.tuples(calls(backend, most_classes=33), st.sampled_from([0.5, 2.0, 5.0]))
    fuzz(backend, check, drawn)


def test_rows_of_probabilities_equal_the_reference(backend):
    def check(drawn):
        call, eps = drawn
        exact = row_strategies.probabilities(call, backend.flushes, eps)
        loss = per_row(partial(OF_PROBABILITIES, eps=eps))
        alone, both = results_of(backend, call, [loss, xploss.value_and_grad(loss)])
        most = bound(call, "value")
        are_exact(backend, call, ("value",), alone, exact, most)
        are_exact(backend, call, ("value", "gradient"), both, exact, most)

    eps = st.sampled_from([0.0, 0.0, 1e-7, 0.25])
    fuzz(backend, check, st.tuples(calls(backend, of_probabilities=True), eps))


def test_functions_of_rows_equal_the_reference(backend):
    def check(call):
        exact = row_strategies.functions(call, backend.flushes)
        names = ("softmax", "log_softmax", "logsumexp")
        functions = [
            partial(getattr(xploss, name), axis=call.class_axis) for name in names
        ]
        arrays, kept, _ = row_strategies.given(backend, call)
        results = run(backend, call, functions, (arrays[:1], kept, {}))
        are_exact(backend, call, names, [result for (result,) in results], exact)

    fuzz(backend, check, calls(backend, with_options=False))


def test_hessian_product_equals_the_reference(backend):
    """The bound is that of test_categorical.py."""

    def row(x, label, v, z):
        products, terms = exact_product(x, label, v, z)
        f = softmax(x)
        if mp.isinf(f.log_sum):  # all is at one class
            products = [2 * z * p * w for p, w in zip(f.probabilities, v, strict=True)]
            terms = products
        if isinstance(or_nan(label, len(x)), tuple):
            products = [mp.nan] * len(x)
        weighed = max(v) * (1 + 2 * z * max(map(abs, map(finite, x))))
        return Row({"product": products}, {"product": terms}, 1 + weighed)

    @st.composite
    def drawn(draw):
        call = draw(calls(backend, with_z=True, of_numbers=True, most_classes=33))
        names = ("weights", "where", "ignore_index", "z_loss")
        options = {k: v for k, v in call.options.items() if k in names}
        data = draw(st.binary(min_size=call.logits.size, max_size=call.logits.size))
        return replace(call, options=options), vector(call, data)

    def vector(call, data):
        """Of rows that are the same for all classes, or for all but one, or none."""
        table = strategies.label_table(call.dtype)
        places = strategies.placed(data, call.logits.shape, 32)
        rows = call.in_rows(table[places])
        kinds = call.in_rows(places)[:, :1] % 3
        almost = np.where(np.arange(call.classes) == 1, rows, 1.0)
        rows = np.where(kinds == 0, 1.0, np.where(kinds == 1, almost, rows))
        return call.as_logits(rows)

    def check(example):
        call, v = example
        labels = np.broadcast_to(np.asarray(call.labels, object), call.shape)
        call, z = replace(call, labels=labels), call.number("z_loss")
        columns = (
            call.in_rows(call.logits).tolist(), call.label_rows(False),
            call.in_rows(v).tolist(),
        )  # fmt: skip
        exact = Exact(call, [row(*one, z) for one in zip(*columns, strict=True)])
        of_loss = xploss.hessian_product(ENTROPY)
        more = backend.array(v, call.dtype)
        ((product,),) = results_of(backend, call, [of_loss], more)
        most = 1.0 if "16" in call.dtype else 12.0
        is_exact(backend, call, "product", product, exact, most)

    fuzz(backend, check, drawn())


def test_reductions_of_rows_equal_the_reference(backend):
    @st.composite
    def reduced(draw):
        call = draw(calls(backend, with_z=True))
        return call, draw(strategies.reductions(call))

    def check(drawn):
        call, how = drawn
        axis, reduction = how.get("axis"), how["reduction"]
        exact = row_strategies.entropy(call, backend.flushes)
        functions = [partial(ENTROPY, **how)]
        functions.append(xploss.value_and_grad(functions[0]))
        (alone,), (value, gradient) = results_of(backend, call, functions)
        n = divisors(call, reduction, axis)
        by_class = reduction == "weighted_mean" and "class_weights" in call.options
        for result in (alone, value):
            assert result.shape == n.squeeze(axis).shape
            is_total(backend, call, result, exact, n, axis, by_class)
        with np.errstate(all="ignore"):
            share = np.where(n == 0, 0.0, 1.0 / n)
        share = np.broadcast_to(share, call.shape).reshape(-1, 1)
        # Weights of labels are added up, which rounds.
        most = bound(call, "gradient") + by_class * ("16" not in call.dtype)
        is_exact(backend, call, "gradient", gradient, exact, most, share)

    fuzz(backend, check, reduced())


def divisors(call, reduction, axis):
    """By output, its axes kept."""
    shares = np.ones(call.shape)
    if reduction == "weighted_mean":
        shares = call.spread("weights", 1.0) * row_weights(call)
    sums = np.where(call.counts(), shares, 0.0).sum(axis, keepdims=True)
    return np.ones_like(sums) if reduction == "sum" else sums


def row_weights(call):
    """The label's class weight, to 1 ulp of float64."""
    weights = call.class_weights()
    if weights is None:
        return np.ones(call.shape)
    labels = [or_nan(label, call.classes) for label in call.label_rows(False)]
    made = [
        weights[y]
        if isinstance(y, int)
        else float(fsum(map(mpf.__mul__, map(mpf, weights), map(mpf, y))))
        for y in labels
    ]
    return np.array(made).reshape(call.shape)


def is_total(backend, call, result, exact, n, axis, by_class):
    dtype, most = wide(call.dtype), 5.0 + 2.0 * bool(call.options) + by_class
    assert result.dtype.name == dtype
    losses = Numbers(*(part.reshape(call.shape) for part in exact.of("value")))
    sizes = exact.size("value").reshape(call.shape)
    sizes = Numbers(sizes, np.zeros(call.shape))
    lost = float(exact.lost("value", backend.flushes).sum())
    columns = (
        result.ravel().tolist(), strategies.totals(losses, axis),
        strategies.totals(sizes, axis), n.ravel().tolist(),
    )  # fmt: skip
    for number, total, size, count in zip(*columns, strict=True):
        with mp.workprec(200):
            right, unit = (
                (mp.nan, mpf(0)) if count == 0 else (total / count, size / count)
            )
        distance = ulps(number, right, dtype, unit, lost / min(count or 1.0, 1.0))
        assert distance <= most, f"{number!r}, exactly {mp.nstr(right, 20)}: {distance}"


# ---- what must hold beside ---------------------------------------------------------


def test_rows_that_are_left_out_are_0(backend):
    """Even where they are NaN, and what is left in is as it was, bit for bit."""

    @st.composite
    def masked(draw):
        call = draw(calls(backend, with_z=True))
        names = ("class_weights", "label_smoothing", "z_loss")
        options = {k: v for k, v in call.options.items() if k in names}
        size = int(np.prod(call.shape))
        mask = draw(st.binary(min_size=size, max_size=size))
        mask = np.asarray(strategies.placed(mask, call.shape, 2).astype(bool))
        layout = "as made" if call.layout in ("overlapping", "spread") else call.layout
        return replace(call, options=options, layout=layout), mask

    def check(drawn):
        call, mask = drawn

        def of(made, **options):
            made = replace(made, options=made.options | options)
            results = results_of(backend, made, derived(ENTROPY))
            return [array for pair in results for array in pair]

        one, wide_mask = of(call), np.expand_dims(mask, call.class_axis)
        expected = [
            np.where(mask if r.ndim < call.logits.ndim else wide_mask, r, 0.0)
            for r in one
        ]
        hidden = replace(call, logits=np.where(wide_mask, call.logits, np.nan))
        made = [of(hidden, where=mask)]
        if call.of_numbers and not isinstance(call.labels, int):
            # 99 is no class's.
            labels = np.where(mask, call.labels, 99)
            made.append(of(replace(hidden, labels=labels), ignore_index=99))
        for results in made:
            for result, right in zip(results, expected, strict=True):
                np.testing.assert_array_equal(result, right)
        bitwise(of(call, weights=np.ones(call.shape), where=True), one)

    fuzz(backend, check, masked())


def test_gamma_0_of_rows_is_the_cross_entropy(backend):
    """Bit for bit."""

    def check(call):
        losses = (ENTROPY, partial(FOCAL, gamma=0.0))
        plain, ours = (results_of(backend, call, derived(loss)) for loss in losses)
        for result, same in zip(ours, plain, strict=True):
            bitwise(result, same)

    fuzz(backend, check, calls(backend))
