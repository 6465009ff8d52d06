"""The closed-form derivatives of a loss, as functions that are made of it."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from ._arrays import AnyArray, kind
from ._call import (
    MadeOf,
    at_once,
    gradient_and_hessian,
    hessian_times,
    value_and_gradient,
)

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A", bound=AnyArray)
L = TypeVar("L")


class Derived:
    # A function that is made of a loss: it has the loss's name, and can be pickled.

    def __init__(
        self,
        transform: Callable[..., Any],
        loss: Callable[..., Any],
        function: Callable[..., Any],
        returns: str,
        without: tuple[str, ...] = (),
        beside: tuple[str, ...] = (),
    ) -> None:
        functools.update_wrapper(
            self, unwrapped(loss)[0], ("__module__", "__name__"), ()
        )
        self._made_of, self._function = (transform, loss), function
        self._returns, self._without, self._beside = returns, without, beside

    # Made when they are asked for: a transform in a step is made anew each time.

    @property
    def __signature__(self) -> inspect.Signature:
        whole = inspect.signature(self._made_of[1])
        names = whole.parameters.keys() - set(self._without)
        kept = [v for k, v in whole.parameters.items() if k in names]
        either = inspect.Parameter.POSITIONAL_OR_KEYWORD
        after = [inspect.Parameter(name, either) for name in self._beside]
        return whole.replace(parameters=[*kept[:2], *after, *kept[2:]])

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        loss = inspect.getdoc(unwrapped(self._made_of[1])[0])
        return f"{self._returns}\n\nThe arguments are those of:\n\n{loss}"

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._function(*args, **options)

    def __repr__(self) -> str:
        transform, loss = self._made_of
        return f"{transform.__name__}({loss!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        transform, loss = self._made_of
        return transform, (loss,)


def unwrapped(loss: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The function of a `functools.partial`, or of one of one, and its arguments."""
    if not isinstance(loss, functools.partial):
        return loss, (), {}
    function, args, keywords = unwrapped(loss.func)
    return function, (*args, *loss.args), keywords | loss.keywords


def taken_apart(
    loss: Any, user: str, quantity: str = "value"
) -> tuple[MadeOf, dict[str, Any]]:
    """What a loss of ours, or a `functools.partial` of one, is made of; and the options
    that it has."""
    function, args, keywords = unwrapped(loss)
    made_of: MadeOf | None = getattr(function, "made_of", None)
    # What wraps a loss, such as `jax.jit`, has its attributes.
    if (
        made_of is None
        or made_of.loss is not function
        or getattr(made_of.formula, quantity) is None
    ):
        raise TypeError(
            f"`{user}` takes {_OF[quantity]}, or a functools.partial of it; "
            f"got {kind(loss)}, {loss!r:.60}"
        )
    if args:
        call = functools.partial(made_of.call, *args)
        made_of = made_of._replace(call=call, numbers=None)
    return made_of, keywords


_OF = {
    "value": "a loss, such as `xploss.sigmoid_cross_entropy`",
    "value_and_slope": "a loss, such as `xploss.sigmoid_cross_entropy`",
    "slope_and_curvature": "a loss of logits, such as `xploss.sigmoid_cross_entropy`",
    "hessian_product": "a loss of logits, such as `xploss.softmax_cross_entropy`",
}


def _at_once(
    made_of: MadeOf,
    quantity: str,
    args: tuple[Any, ...],
    reduction: Any = "mean",
    **options: Any,
) -> tuple[Any, Any] | None:
    """The results of an ordinary call, as `at_once` has them, or None."""
    if made_of.numbers is None or len(args) != 2 or not options.keys() <= made_of.names:
        return None
    numbers = made_of.numbers(**options)
    pair: tuple[Any, Any] | None = at_once(
        made_of.formula, quantity, *args, numbers, reduction
    )
    return pair


def _refuse_reduction(transform: str, options: dict[str, Any]) -> None:
    for option in ("reduction", "axis"):
        if option in options:
            raise TypeError(
                f"`{transform}` is per element and takes no `{option}`, got "
                f"{options[option]!r}; a gradient scaled by 1/N would ruin Newton steps"
            )


def value_and_grad(loss: Callable[P, T]) -> Callable[P, tuple[T, T]]:
    """A function of the same signature that returns (value, gradient).

    The gradient of that value (of its sum, where it is an array) with respect to the
    logits or probabilities, in closed form::

        dL/dx = neg * sigmoid(x) - pos * sigmoid(-x)        logits, of one exponential
        dF/dx = alpha_t * (1 - p_t)**gamma * (dL/dx - gamma * r * L)            focal
        dL/dp = neg / (1 - p) - pos / p                     probabilities
        dL/dx_j = t * p_j - y_j                             many classes

    with ``r = (pos - neg) * p * (1 - p) / (1 - p_t)``, the rate at which
    log(1 - p_t) falls with x, and ``t = sum(y)`` of a row's masses, 1 of an ordinary
    label; derived in `xploss/formulas`.

    Parameters
    ----------
    loss : one of the six losses, such as `sigmoid_cross_entropy`
        Or a `functools.partial` of one; a TypeError for anything else.

    Returns
    -------
    function
        Its value is the loss's; its gradient has the logits' shape and dtype, and is
        0 for what `where` leaves out and for an empty mean.

    Examples
    --------
    >>> import numpy as np
    >>> from xploss import sigmoid_cross_entropy
    >>> value, gradient = value_and_grad(sigmoid_cross_entropy)(np.zeros(4), 1)
    >>> print(value, gradient)
    0.6931471805599453 [-0.125 -0.125 -0.125 -0.125]
    """
    made_of, given = taken_apart(loss, "value_and_grad", "value_and_slope")

    def pair(*args: Any, **options: Any) -> tuple[Any, Any]:
        options = given | options
        made = _at_once(made_of, "value_and_slope", args, **options)
        if made is not None:
            return made
        return value_and_gradient(made_of.call(*args, **options))

    returns = "(value, gradient of that value by the first argument), in closed form."
    return Derived(value_and_grad, loss, pair, returns)


def grad_and_hess(loss: Callable[P, T]) -> Callable[P, tuple[T, T]]:
    """A function of the same signature that returns (gradient, Hessian) per element.

    The first and second derivative of weight times loss by its own logit, never
    scaled by 1/N, as Newton's method and gradient boosting need them::

        dL/dx   = neg * sigmoid(x) - pos * sigmoid(-x)
        d2L/dx2 = (pos + neg) * sigmoid(x) * sigmoid(-x)

    and of the focal loss as derived in `xploss/formulas/focal.py`.  Of losses of many
    classes the second is the *diagonal* of each row's Hessian, as boosting has it:
    ``t * p * (1 - p)`` of `softmax_cross_entropy`, ``t = sum(y)`` of a row's masses, of
    which `hessian_product` has the
    whole, and of the focal loss as in `xploss/formulas/softmax_focal.py`.

    Parameters
    ----------
    loss : `sigmoid_cross_entropy`, `sigmoid_focal_loss`, `softmax_cross_entropy` or \
`softmax_focal_loss`
        Or a `functools.partial` of one; a TypeError for anything else, and for the
        options `axis` and `reduction`.

    Returns
    -------
    function
        Both results have the logits' shape and dtype; 0 for what `where` leaves out.

    Examples
    --------
    >>> import numpy as np
    >>> from xploss import sigmoid_cross_entropy
    >>> gradient, hessian = grad_and_hess(sigmoid_cross_entropy)(np.array([0., 40.]), 1)
    >>> print(gradient, hessian)
    [-5.00000000e-01 -4.24835426e-18] [2.50000000e-01 4.24835426e-18]
    """
    made_of, given = taken_apart(loss, "grad_and_hess", "slope_and_curvature")
    _refuse_reduction("grad_and_hess", given)

    def pair(*args: Any, **options: Any) -> tuple[Any, Any]:
        _refuse_reduction("grad_and_hess", options)
        options = given | options
        made = _at_once(made_of, "slope_and_curvature", args, "none", **options)
        if made is not None:
            return made
        call = made_of.call(*args, reduction="none", **options)
        return gradient_and_hessian(call)

    returns = "(gradient, Hessian) by the first argument, per element, in closed form."
    return Derived(grad_and_hess, loss, pair, returns, without=("reduction", "axis"))


def hessian_product(
    loss: Callable[Concatenate[A, L, P], T],
) -> Callable[Concatenate[A, L, AnyArray, P], T]:
    """A function of (logits, labels, vector) that returns the Hessian times the vector.

    Of the sum of weight times loss, by the logits, never scaled by 1/N, for conjugate
    gradients and Newton's method.  A row of C classes has a Hessian of C x C, of which
    no more than this is made::

        (H v)_j = t * p_j * (v_j - sum(p * v))

    with ``t = sum(y)`` of its masses, taken from the largest logit, so that a `v` that
    is nearly constant keeps its digits.  Of a binary loss it is ``hessian * v``.

    Parameters
    ----------
    loss : `softmax_cross_entropy`, `sigmoid_cross_entropy` or `sigmoid_focal_loss`
        Or a `functools.partial` of one with options; a TypeError for anything else,
        and for the options `axis` and `reduction`.

    Returns
    -------
    function
        Its third argument is a floating array of the logits' shape; so is its result,
        of the logits' dtype, and 0 for what `where` leaves out.

    Examples
    --------
    >>> import numpy as np
    >>> from xploss import softmax_cross_entropy
    >>> product = hessian_product(softmax_cross_entropy)
    >>> print(product(np.zeros((1, 2)), np.array([0]), np.array([[1.0, 0.0]])))
    [[ 0.25 -0.25]]
    """
    made_of, given = taken_apart(loss, "hessian_product", "hessian_product")
    _refuse_reduction("hessian_product", given)

    def product(logits: Any, labels: Any, vector: Any, **options: Any) -> Any:
        _refuse_reduction("hessian_product", options)
        options = given | options
        call = made_of.call(logits, labels, reduction="none", **options)
        return hessian_times(call, vector)

    returns = "The Hessian by the first argument times `vector`, in closed form."
    return Derived(
        hessian_product, loss, product, returns, ("reduction", "axis"), ("vector",)
    )
