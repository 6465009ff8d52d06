"""Properties of any call, attacked: drawn inputs, exact numbers, and what must hold.

`--hypothesis-profile=long` draws a million calls on NumPy, other ones each time, and
fewer where one takes longer.
"""

from dataclasses import replace
from functools import partial

import hypothesis
import hypothesis.strategies as st
import numpy as np
import strategies
from expected import each, is_like, wide
from mpmath import mp
from reference import FORMATS, ulps
from strategies import away, calls, given, overflow, reductions, units

import xploss
from xploss.backends import numpy as host

cross_entropy = xploss.sigmoid_cross_entropy


def fuzz(backend, check, drawn, times=1):
    """The check, of as many draws as the profile has for this backend."""

    def counted(example):
        strategies.COUNTS[str(backend)] += 1
        check(example)

    strategies.profile(backend, times)(hypothesis.given(drawn)(counted))()


def contents(backend, arrays):
    if backend.immutable:
        return []
    return [backend.numpy(array).tobytes() for array in arrays]


def run(backend, call, functions, arguments=None):
    """Of each function the results: of the logits' kind, and as NumPy's.

    In blocks of a few elements if the call says so.  Inputs stay what they were.
    """
    arrays, kept, options = given(backend, call) if arguments is None else arguments
    before, block = contents(backend, kept), host.BLOCK
    host.BLOCK = 64 if call.small_blocks else block
    try:
        with np.errstate(all="raise"):
            results = [each(backend.call(f, *arrays, **options)) for f in functions]
            numbers = [[backend.numpy(array) for array in r] for r in results]
    finally:
        host.BLOCK = block
    assert contents(backend, kept) == before
    for array in (a for r in results for a in r):
        is_like(arrays[0], array, strategies.dtype_after(array, call), array.shape)
    return numbers


def per_element(call):
    return partial(call.loss, reduction="none")


def bound(call, name):
    """As README.md has it; 16-bit values are rounded once."""
    if any(v is not None and np.any(v) for v in call.options.values()):
        return 8.0
    return 0.51 if name == "value" and "16" in call.dtype else 4.0


def lost(backend, call):
    """How many smallest normal numbers are forgiven: a subnormal exponential is
    rounded, or flushed, before it is weighed."""
    bits, _ = FORMATS[wide(call.dtype)]
    return strategies.GREATEST * (1.0 if backend.flushes else 2.0 ** (1 - bits))


def is_exact(backend, call, name, result, exact, share=None):
    """Within the bound of the exact number, times `share`; gradients, of their term."""
    # That product is rounded, which float64's own bound does not know of.
    most = bound(call, name) + (share is not None and call.dtype == "float64")
    share = 1.0 if share is None else share
    assert result.shape == call.shape
    unit = exact["term" if name == "gradient" else name].high
    with np.errstate(all="ignore"):
        # What overflows before it is divided stays infinite.
        number = exact[name].overflown(overflow(wide(call.dtype))).times(share)
        most_lost = lost(backend, call)
        distance = away(result, number, call.dtype, unit * share, most_lost)
    assert np.all(distance <= most), f"{name}: {np.max(distance)} ulp, not {most}"


# ---- exact -------------------------------------------------------------------------


def test_equals_the_reference(backend):
    def check(call):
        exact = call.exact(backend.flushes)
        derived = xploss.value_and_grad(per_element(call))
        alone, both = run(backend, call, [per_element(call), derived])
        results = [("value", alone[0]), ("value", both[0]), ("gradient", both[1])]
        if call.loss is cross_entropy:
            ((slope, hessian),) = run(backend, call, [xploss.grad_and_hess(call.loss)])
            results += [("gradient", slope), ("hessian", hessian)]
        for name, result in results:
            is_exact(backend, call, name, result, exact)

    fuzz(backend, check, calls(backend))


def test_focal_equals_the_reference(backend):
    """Bounds and what is forgiven are those of test_focal.py."""

    def check(drawn):
        call, k = drawn
        options = strategies.FOCAL[k]
        table = strategies.focal_table(call.dtype, backend.flushes)
        exact = table[call.first, call.labels, np.full(call.shape, k)]
        loss = partial(xploss.sigmoid_focal_loss, **options)
        derived = xploss.value_and_grad(partial(loss, reduction="none"))
        (value, gradient), (slope, hessian) = run(
            backend, call, [derived, xploss.grad_and_hess(loss)]
        )
        amplified = 1.0 + options["gamma"] * exact["power"].high
        forgiven = 1024.0 if call.dtype == "float64" else 128.0
        forgiven *= 1.0 + 2.0 * options["gamma"]
        for name, result in (
            ("value", value), ("gradient", gradient),
            ("gradient", slope), ("hessian", hessian),
        ):  # fmt: skip
            rounded = name == "value" and "16" in call.dtype
            unit = exact[f"{name}_term" if name != "value" else name].high
            with np.errstate(all="ignore"):
                distance = away(result, exact[name], call.dtype, unit, forgiven)
            most = 1.0 if rounded else 16.0 * amplified
            wrong = distance > most
            assert not np.any(wrong), f"{name}: {distance[wrong]} ulp"

    logits = calls(backend, (cross_entropy,), with_options=False)
    fuzz(
        backend, check, st.tuples(logits, st.sampled_from(range(len(strategies.FOCAL))))
    )


def test_reductions_equal_the_reference(backend):
    @st.composite
    def reduced(draw):
        call = draw(calls(backend))
        return call, draw(reductions(call))

    def check(drawn):
        call, how = drawn
        axis, reduction = how.get("axis"), how["reduction"]
        exact = call.exact(backend.flushes)
        derived = xploss.value_and_grad(partial(call.loss, **how))
        (alone,), (value, gradient) = run(
            backend, call, [partial(call.loss, **how), derived]
        )
        n = strategies.divisors(call, reduction, axis)
        expected = list(strategies.totals(exact["value"], axis))
        for result in (alone, value):
            assert result.shape == n.squeeze(axis).shape
            is_total(backend, call, result, expected, n)
        with np.errstate(all="ignore"):
            share = np.where(n == 0, 0.0, 1.0 / n)
        is_exact(backend, call, "gradient", gradient, exact, share)

    fuzz(backend, check, reduced())


def is_total(backend, call, result, expected, n):
    dtype, size = wide(call.dtype), max(1, call.first.size)
    most = bound(call, "sum")
    columns = result.ravel().tolist(), expected, n.ravel().tolist()
    for number, total, count in zip(*columns, strict=True):
        with mp.workprec(200):
            exact = mp.nan if count == 0 else total / count
        forgiven = lost(backend, call) * size
        distance = ulps(number, exact, dtype, lost=forgiven)
        assert distance <= most, f"{number!r}, exactly {mp.nstr(exact, 20)}: {distance}"


# ---- what must hold beside ---------------------------------------------------------


def test_symmetry_bit_for_bit(backend):
    """L(x, 1-y) = L(-x, y) where 1-y is exact, and so for its derivatives."""

    def check(call):
        x, y = call.values()
        rest = strategies.rounded(1.0 - y, call.dtype)
        y = np.where(1.0 - rest == y, y, 0.25)
        derived = xploss.value_and_grad(per_element(call))
        functions = [derived, xploss.grad_and_hess(call.loss)]
        results = []
        for first, numbers in ((x, 1.0 - y), (-x, y)):
            labels = backend.array(call.as_labels(numbers), call.label_dtype)
            arrays = [backend.array(first, call.dtype), labels]
            results.append(run(backend, call, functions, (arrays, arrays, {})))
        (one, slope), (gradient, hessian) = results[0]
        (other, mirrored), (back, bend) = results[1]
        bitwise([one, slope, gradient, hessian], [other, -mirrored, -back, bend])

    fuzz(backend, check, calls(backend, (cross_entropy,), with_options=False))


def test_monotone_for_hard_labels(backend):
    """To the error bound on both sides: no `exp` of a library's is monotone itself."""

    def check(drawn):
        dtype, data, label = drawn
        places = np.frombuffer(data, np.uint8)
        x = np.sort(strategies.logit_table(dtype)[places])
        x = x[~np.isnan(x)]
        loss = partial(cross_entropy, reduction="none")
        array = backend.array(x, dtype)
        with np.errstate(all="raise"):
            losses = backend.numpy(backend.call(partial(loss, labels=label), array))
        losses = losses.astype(np.float64)
        rising = losses if label == 0 else losses[::-1]
        finite = np.isfinite(rising)
        steps = np.diff(rising[finite])
        assert np.all(~finite[:-1] <= ~finite[1:])
        falls = -steps / units(rising[finite][1:], dtype)
        assert np.all(falls <= 2 * (1 if "16" in dtype else 4)), np.max(falls)

    size = 40 if backend.cost > 10 else 64
    data = st.binary(min_size=size, max_size=size)
    drawn = st.tuples(st.sampled_from(backend.dtypes), data, st.sampled_from([0, 1]))
    fuzz(backend, check, drawn)


def test_parts_sum_to_the_whole(backend):
    """Each sum is within its bound of the exact one, of which the parts' ulp together
    are less than 2, and one more is that of their sum."""

    @st.composite
    def cut(draw):
        call = draw(calls(backend).filter(lambda call: call.shape))
        axis = draw(st.integers(0, len(call.shape) - 1))
        return call, axis, draw(st.integers(0, call.shape[axis]))

    def check(drawn):
        call, axis, at = drawn
        total = partial(call.loss, reduction="sum")
        halves = slice(at), slice(at, None)
        made = [call, *(strategies.part(call, axis, half) for half in halves)]
        whole, *parts = (run(backend, c, [total])[0][0] for c in made)
        with np.errstate(all="ignore"):
            together = np.float64(parts[0]) + np.float64(parts[1])
            apart = abs(np.float64(whole) - together)
        if not np.isfinite(together) or not np.isfinite(whole):
            np.testing.assert_equal(float(whole), float(together))
            return
        unit = units(np.float64(whole), wide(call.dtype))
        forgiven = lost(backend, call) * max(1, call.first.size)
        forgiven *= 2.0 ** FORMATS[wide(call.dtype)][1]
        assert apart - forgiven <= 3 * bound(call, "sum") * unit + unit

    fuzz(backend, check, cut())


def test_weights_mean_what_they_say(backend):
    """Bit for bit: of 1 the same however they are given, of 2 twice as much, of 0
    nothing, as where a mask leaves out, and what it leaves in is as it was."""

    @st.composite
    def masked(draw):
        call = draw(calls(backend))
        masses = ("pos_weight", "label_smoothing")
        options = {k: v for k, v in call.options.items() if k in masses}
        data = draw(st.binary(min_size=call.first.size, max_size=call.first.size))
        mask = np.asarray(strategies.placed(data, call.shape, 2).astype(bool))
        return replace(call, options=options), mask

    def check(drawn):
        call, mask = drawn
        derived = xploss.value_and_grad(per_element(call))

        def of(**options):
            made = replace(call, options=call.options | options)
            return run(backend, made, [derived])[0]

        one = of(weights=np.ones(call.shape))
        for same in (of(weights=1.0), of(weights=np.ones(())), of(where=True)):
            bitwise(same, one)
        bitwise(of(where=np.ones(call.shape, bool)), one)
        twos, zeros = of(weights=np.full(call.shape, 2.0)), of(weights=0.0)
        for numbers, twice in zip(one, twos, strict=True):
            is_twice(call, twice, numbers)
        for numbers, nothing in zip(one, zeros, strict=True):
            finite = np.isfinite(numbers)
            np.testing.assert_array_equal(nothing[finite], 0.0)
        for numbers, kept in zip(one, of(where=mask), strict=True):
            np.testing.assert_array_equal(kept, np.where(mask, numbers, 0.0))

    def is_twice(call, twice, numbers):
        with np.errstate(all="ignore"):
            doubled = 2 * numbers
        if "16" in call.dtype:  # a subnormal one was rounded after it was doubled
            least = 2.0 ** FORMATS[call.dtype][1]
            normal = ~(abs(doubled) <= 2 * least)  # NaN too
            twice, doubled = twice[normal], doubled[normal]
        np.testing.assert_array_equal(twice, doubled)

    fuzz(backend, check, masked())


def bitwise(results, others):
    """Equal, and NaN where the other is."""
    for result, other in zip(results, others, strict=True):
        assert result.dtype.name == other.dtype.name  # 0-d: in any byte order
        np.testing.assert_array_equal(result, other)


def detached(array):
    return array.detach() if hasattr(array, "detach") else array


def test_functions_equal_the_losses(backend):
    """sigmoid(x), softplus(x) and log_sigmoid(x) are a slope and two losses."""

    def check(call):
        arrays, kept, _ = given(backend, call)
        first = (arrays[:1], kept, {})
        names = ("sigmoid", "softplus", "log_sigmoid")
        functions = [getattr(xploss, name) for name in names]
        results = [r[0] for r in run(backend, call, functions, first)]
        loss = partial(cross_entropy, reduction="none")
        losses = [
            # Differentiated, it is PyTorch's own operations; the sigmoid has a rule.
            lambda x: xploss.grad_and_hess(cross_entropy)(detached(x), 0)[0],
            partial(loss, labels=0), partial(loss, labels=1),
        ]  # fmt: skip
        slope, zero, one = (r[0] for r in run(backend, call, losses, first))
        bitwise(results, [slope, zero, -one])

    fuzz(backend, check, calls(backend, (cross_entropy,), with_options=False))
