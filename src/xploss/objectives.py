"""Gradient-boosting objectives: what XGBoost, LightGBM and CatBoost ask of a loss.

None of these libraries is needed, and none is loaded.  What is returned can be pickled
and copied, as their estimators, `sklearn.base.clone` and their workers on Dask do.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from ._arguments import (
    Anchor,
    anchor,
    backend_of,
    check_least,
    check_number,
    finite,
)
from ._arrays import kind
from ._binary import sigmoid_cross_entropy, sigmoid_focal_loss
from ._categorical import softmax_cross_entropy
from ._derivatives import grad_and_hess, hessian_product, unwrapped
from ._labels import check_labels
from .compat._shared import listed

__all__ = ["catboost", "lightgbm", "xgboost"]


def __dir__() -> list[str]:
    return __all__


CONVEX_FLOOR = 1e-16  # what XGBoost's own binary:logistic has
# On a table with 1% positives, at gamma 1, 2 and 5, within 0.03 of the best average
# precision of all floors tried; by 1e-16 margins go beyond 100, or do not move.
FOCAL_FLOOR = 0.05

Objective = Callable[..., tuple[Any, Any]]
P = ParamSpec("P")
T = TypeVar("T")


# ---- one round -----------------------------------------------------------------------


def _derivatives(
    loss: Callable[..., Any],
    floor: float,
    margins: Any,
    labels: Any,
    weights: Any,
    dtype: Any = np.float32,
) -> tuple[Any, Any]:
    """(gradient, Hessian): computed in float64, weighed, rounded to float32."""
    first = _checked_margins(margins)
    _check_labels(labels)
    xp, weights, labels = first.xp, first.weights(weights), first.labels(labels)
    gradient, hessian = grad_and_hess(loss)(xp.astype(margins, xp.float64), labels)
    pair: tuple[Any, Any] = first.backend.run(
        margins, _rounded, xp, gradient, hessian, weights, floor, dtype
    )
    return pair


def _rounded(
    xp: Any, gradient: Any, hessian: Any, weights: Any, floor: float, dtype: Any
) -> tuple[Any, Any]:
    # A sample of weight 0 counts for nothing, so the floor is that of weight 1.
    hessian = xp.where(hessian < floor, floor, hessian)
    if weights is not None:
        gradient, hessian = gradient * weights, hessian * weights
    return gradient.astype(dtype, copy=False), hessian.astype(dtype, copy=False)


# ---- many classes --------------------------------------------------------------------


def _of_classes(loss: Callable[..., Any]) -> bool:
    return unwrapped(loss)[0] is softmax_cross_entropy


def _class_derivatives(
    loss: Callable[..., Any],
    floor: float,
    scale: Callable[[int], float],
    margins: Any,
    labels: Any,
    weights: Any,
) -> tuple[Any, Any]:
    """(gradient, scale * diagonal of the Hessian), of (n, C) margins; as `_derivatives`
    has them."""
    first = _checked_margins(margins)
    if len(first.shape) != 2:
        raise ValueError(
            f"`margins` must have a column a class; got shape {first.shape}; give the "
            f"booster its number of classes"
        )
    classes, xp = first.shape[1], first.xp
    numbers = _numbers_of_classes(first, labels, classes)
    weights = first.weights(_as_columns(weights))
    gradient, hessian = grad_and_hess(loss)(xp.astype(margins, xp.float64), numbers)
    pair: tuple[Any, Any] = first.backend.run(
        margins, _rounded, xp, gradient, scale(classes) * hessian, weights, floor,
        np.float32,
    )  # fmt: skip
    return pair


def _numbers_of_classes(first: Anchor, labels: Any, classes: int) -> Any:
    """Boosters keep them as floats; masses of the margins' shape stay as they are."""
    first.check_alike("labels", labels)
    if tuple(labels.shape) == first.shape:
        return labels
    numbers = first.xp.astype(labels, first.xp.int64)
    if isinstance(labels, np.ndarray):
        check_labels(numbers, classes=classes)
        if (numbers != labels).any():
            raise ValueError("`labels` must be whole numbers of classes, from 0")
    return numbers


def _checked_margins(margins: Any) -> Anchor:
    first = anchor("margins", margins)
    if not first.backend.taken_by_boosters:
        raise TypeError(
            f"`margins` must be an array of NumPy or CuPy, as boosters take no other; "
            f"got {kind(margins)}; pass `numpy.from_dlpack(...)` of it"
        )
    return first


def _check_labels(labels: Any) -> None:
    """Every round, of which it is a thousandth: labels of -1 would train to nonsense.

    Labels on a device are not looked at, which would wait for it.
    """
    if not isinstance(labels, np.ndarray):
        return
    try:
        check_labels(labels)
    except ValueError as error:
        raise ValueError(
            f"{error}; an objective is of two classes, 0 and 1, or of the probability "
            f"of 1: of labels -1 and 1 pass `(labels + 1) / 2`"
        ) from None


def _unpacked(first: Any, second: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """Margins, labels and weights, of a library's own call or of its estimators'."""
    if not hasattr(second, "get_label"):
        return _together(second, first, sample_weight)
    weights = listed("weight", second.get_weight())
    weights = None if weights is None or not weights.size else weights
    return _together(first, second.get_label(), weights)


def _together(margins: Any, *others: Any) -> tuple[Any, ...]:
    """On the device, if one is: XGBoost may hold some here and some there."""
    names = ("margins", "labels", "weights")
    arrays = tuple(map(_one_column, names, (margins, *others)))
    backends = [backend_of("margins", array) for array in arrays if array is not None]
    on_device = [b.xp for b in backends if b.taken_by_boosters and b.xp is not np]
    if not on_device:
        return arrays
    return tuple(
        None if array is None else on_device[0].asarray(array) for array in arrays
    )


def _one_column(name: str, values: Any) -> Any:
    """An array of what a data set keeps as it was given, a table of one column too."""
    table = hasattr(values, "columns")
    values = listed(name, values)
    return values[:, 0] if table and values.shape[1:] == (1,) else values


def _as_columns(array: Any) -> Any:
    """(n,) as (n, 1)."""
    return array[:, None] if getattr(array, "ndim", None) == 1 else array


def _xgboost(
    loss: Callable[..., Any],
    floor: float,
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
) -> tuple[Any, Any]:
    given = _unpacked(y_true, y_pred, sample_weight)
    if _of_classes(loss):
        return _class_derivatives(loss, floor, lambda classes: 2.0, *given)
    return _derivatives(loss, floor, *map(_as_columns, given))


def _lightgbm(
    loss: Callable[..., Any], floor: float, y_true: Any, y_pred: Any, weight: Any = None
) -> tuple[Any, Any]:
    given = _unpacked(y_true, y_pred, weight)
    if _of_classes(loss):
        return _class_derivatives(loss, floor, lambda n: n / max(n - 1, 1), *given)
    return _derivatives(loss, floor, *given)


class _CatBoost:
    """What CatBoost asks of an objective, as an object."""

    # CatBoost would have numba compile the method, and warn that there is none, or that
    # it cannot: https://catboost.ai/docs/en/concepts/python-usages-examples
    no_jit = True

    def __init__(self, loss: Callable[..., Any], floor: float) -> None:
        self.loss, self.floor = loss, floor

    def __deepcopy__(self, memo: Any) -> Any:
        """Itself, which does not change: `sklearn.base.clone` asks for that."""
        return self

    def calc_ders_range(
        self, approxes: Any, targets: Any, weights: Any
    ) -> list[tuple[float, float]]:
        """Of each object, (der1, der2) of its log-likelihood, which is minus the loss.

        The arrays are CatBoost's own memory, which it uses again after the call.
        """
        margins, labels = np.asarray(approxes), np.asarray(targets)
        weights = None if weights is None else np.asarray(weights)
        given = self.loss, self.floor, margins, labels, weights
        gradient, hessian = (-array for array in _derivatives(*given, np.float64))
        return list(zip(gradient.tolist(), hessian.tolist(), strict=True))

    def calc_ders_multi(
        self, approxes: Any, target: Any, weight: Any
    ) -> tuple[list[float], list[list[float]]]:
        """Of one object of many classes: der1 of each, and the whole matrix der2."""
        margins = np.asarray(approxes, np.float64)[None]
        number, weight = np.asarray([int(target)]), 1.0 if weight is None else weight
        gradient, _ = grad_and_hess(self.loss)(margins, number)
        products = hessian_product(self.loss)
        each = np.eye(margins.shape[1])
        rows = np.broadcast_to(margins, each.shape)
        hessian = products(rows, np.repeat(number, len(each)), each)
        return (-weight * gradient[0]).tolist(), (-weight * hessian).tolist()


# ---- the objectives ------------------------------------------------------------------


def _with_options(loss: Callable[..., Any], options: dict[str, Any]) -> Any:
    """The loss with its options, whose names are checked before a booster calls it."""
    for name in ("weights", "where"):
        if name in options or name in unwrapped(loss)[2]:
            raise TypeError(
                f"an objective takes no `{name}`; a sample's weight is given to the "
                f"booster with the data, and one that is left out has weight 0"
            )
    inspect.signature(grad_and_hess(loss)).bind(None, None, **options)
    return functools.partial(loss, **options)


def _checked_floor(floor: Any, loss: Any) -> float:
    if floor is None:
        focal = unwrapped(loss)[0] is sigmoid_focal_loss
        return FOCAL_FLOOR if focal else CONVEX_FLOOR
    check_number("hessian_floor", floor)
    return float(check_least("hessian_floor", finite("hessian_floor", floor)))


def _objective(
    round_of: Objective, loss: Callable[..., Any], floor: Any, options: dict[str, Any]
) -> Objective:
    checked = _checked_floor(floor, loss)
    return functools.partial(round_of, _with_options(loss, options), checked)


def _factory(make: Callable[P, T]) -> Callable[P, T]:
    """`make`, which a booster that was handed it in place of its result calls too."""

    @functools.wraps(make)
    def factory(*args: P.args, **options: P.kwargs) -> T:
        if len(args) > 1:
            raise _not_made(make.__name__)
        return make(*args, **options)

    return factory


def _not_made(name: str) -> TypeError:
    return TypeError(
        f"`objectives.{name}` makes an objective, and is none: pass "
        f"`objectives.{name}()` to the booster"
    )


@_factory
def xgboost(
    loss: Callable[..., Any] = sigmoid_cross_entropy,
    *,
    hessian_floor: float | None = None,
    **options: Any,
) -> Objective:
    """An objective for `xgboost.train(obj=...)` and its estimators' `objective=`.

    Per row, with weight w, in float64 before both are rounded to float32::

        gradient = w * dL/dx
        Hessian  = w * max(d2L/dx2, hessian_floor)

    Parameters
    ----------
    loss : `xploss.sigmoid_cross_entropy` or `xploss.sigmoid_focal_loss`
        Or a `functools.partial` of one.  With `xploss.softmax_cross_entropy` the
        booster has `num_class` of C, margins are (n, C), and labels numbers of classes;
        the Hessian is 2 * p * (1 - p), as that of "multi:softprob" is.
    hessian_floor : number of at least 0, optional
        By default 1e-16 for the cross-entropy, as XGBoost's own objective has it, and
        0.05 for the focal loss, whose Hessian is negative where it is surely wrong: a
        Newton step there needs a bound.
    **options
        The loss's: `pos_weight`, `label_smoothing`, `gamma`, `alpha`.

    Returns
    -------
    function of (margins, DMatrix), or of (y_true, y_pred, sample_weight=None)
        (gradient, Hessian), each float32 of shape (n, outputs), of NumPy or CuPy as
        the margins or the labels are.  Labels may be soft.

    Raises
    ------
    TypeError
        Another loss, an option that it does not have, `weights` or `where`.
    ValueError
        A floor that is negative or infinite; at the first call, an option out of range,
        labels outside [0, 1], as of three classes, labels or weights of another length.

    Notes
    -----
    XGBoost estimates no `base_score` for an objective that is not its own: give it
    `params["base_score"]`, or `DMatrix(base_margin=...)`.  Where `params["objective"]`
    is "binary:logistic" besides, `Booster.predict` returns probabilities.

    References
    ----------
    T. Chen and C. Guestrin, "XGBoost: A Scalable Tree Boosting System", 2016, section
    2.2: the step of a leaf is -sum(gradient) / (sum(Hessian) + lambda).

    Examples
    --------
    >>> import numpy as np
    >>> objective = xgboost(pos_weight=3.0)
    >>> gradient, hessian = objective(np.array([1.0, 0.0]), np.array([0.0, -60.0]))
    >>> print(gradient.T, hessian.T)
    [[-1.500000e+00  8.756511e-27]] [[7.5e-01 1.0e-16]]
    """
    return _objective(_xgboost, loss, hessian_floor, options)


@_factory
def lightgbm(
    loss: Callable[..., Any] = sigmoid_cross_entropy,
    *,
    hessian_floor: float | None = None,
    **options: Any,
) -> Objective:
    """An objective for LightGBM's `params["objective"]` and estimators' `objective=`.

    Per row, with weight w, in float64 before both are rounded to float32::

        gradient = w * dL/dx
        Hessian  = w * max(d2L/dx2, hessian_floor)

    Parameters
    ----------
    loss, hessian_floor, **options
        As for `xgboost`, and so are the errors.  LightGBM's own objective has no floor.
        With `xploss.softmax_cross_entropy` the Hessian is C / (C - 1) * p * (1 - p), as
        that of "multiclass" is.

    Returns
    -------
    function of (scores, Dataset), or of (y_true, y_pred, weight=None)
        (gradient, Hessian), each float32 of the scores' shape (n,).  Labels may be
        soft; LightGBM's own "binary" takes what is above 0 for 1.

    Notes
    -----
    LightGBM takes no average for a start with an objective that is not its own: give
    it as `Dataset(init_score=...)`, and add it to `predict(raw_score=True)`.

    References
    ----------
    G. Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> objective = lightgbm(label_smoothing=0.1)
    >>> gradient, hessian = objective(np.array([1.0, 0.0]), np.array([0.0, 0.0]))
    >>> print(gradient, hessian)
    [-0.45  0.45] [0.25 0.25]
    """
    return _objective(_lightgbm, loss, hessian_floor, options)


@_factory
def catboost(
    loss: Callable[..., Any] = sigmoid_cross_entropy,
    *,
    hessian_floor: float | None = None,
    **options: Any,
) -> Any:
    """An objective for CatBoost's `loss_function=`.

    Per object, with weight w, in float64, of the log-likelihood, which CatBoost makes
    as large as it can::

        der1 = -w * dL/dx
        der2 = -w * max(d2L/dx2, hessian_floor)

    Parameters
    ----------
    loss, hessian_floor, **options
        As for `xgboost`, and so are the errors.  `xploss.softmax_cross_entropy` is for
        `CatBoostClassifier(classes_count=C)`: its Hessian is the whole one, as that of
        "MultiClass" is, and takes no floor.

    Returns
    -------
    object with the method ``calc_ders_range(approxes, targets, weights)``
        Its result is a list of (der1, der2).  Targets may be soft.  And, for many
        classes, with ``calc_ders_multi(approxes, target, weight)``.

    Notes
    -----
    CatBoost wants an `eval_metric` beside an objective that is not its own, and takes
    one leaf estimation step by default, where its own "Logloss" takes ten.

    References
    ----------
    L. Prokhorenkova et al., "CatBoost: unbiased boosting with categorical features",
    2018.

    Examples
    --------
    >>> import numpy as np
    >>> objective = catboost(pos_weight=3.0)
    >>> objective.calc_ders_range(np.array([0.0, 0.0]), np.array([1.0, 0.0]), None)
    [(1.5, -0.75), (-0.5, -0.25)]
    """
    if hessian_floor is not None and _of_classes(loss):
        raise TypeError(
            "`hessian_floor` is of one number an object; the Hessian of many classes "
            "is a matrix, and takes none"
        )
    return _CatBoost(_with_options(loss, options), _checked_floor(hessian_floor, loss))


def _ders_of_none(approxes: Any, targets: Any, weights: Any) -> None:
    raise _not_made("catboost")


catboost.no_jit = True  # type: ignore[attr-defined]
catboost.calc_ders_range = _ders_of_none  # type: ignore[attr-defined]
