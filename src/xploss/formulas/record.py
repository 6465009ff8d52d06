"""What a formula tells about itself: all that running and differentiating it needs."""

from typing import Any, NamedTuple, Protocol

Array = Any  # an array of any library; the public functions say which one returns
Scalar = Any  # a number or a 0-d array; None where there is no such option


# Of a row's statistic, where it is known: behind a formula's own arguments.
STATISTIC = ("pivot", "others")


class Function(Protocol):
    def __call__(self, xp: Any, *arguments: Any, **static: Any) -> Any: ...


class Formula(NamedTuple):
    """A value per element, and its derivatives.

    Each function is called as `function(xp, *arguments)`, the arguments in the order of
    `traced`; an option that is absent is None.  All of them are elementwise, in one
    floating dtype, and ask of `xp` only `where`, `exp`, `log1p`, `log`, `isinf`,
    `ones_like` and operators: they run unchanged under automatic differentiation, jit
    and kernel fusion, to every order.  None of them looks at a value.

    What is `traced` is an array or a number that a kernel takes as it comes: a new one
    never compiles anything.  What is `static` changes the operations, and a kernel is
    of one choice; so is whether an option is there at all.
    """

    traced: tuple[str, ...]
    value: Function
    value_and_slope: Function | None = None  # by the first argument, as is what follows
    slope_and_curvature: Function | None = None
    # The derivative of the value by an argument, of those that have one in closed form.
    slopes: dict[str, Function] = {}  # noqa: RUF012  (never written to)
    # Options by keyword, of the value, value_and_slope and the slope by the first
    # argument: "differentiable", of which False spares what autodiff needs.
    static: tuple[str, ...] = ()
    # Options that a kernel has together, or has none of; and what an absent one is as a
    # number, of those that have such a number.
    together: tuple[tuple[str, ...], ...] = ()
    neutral: dict[str, float] = {}  # noqa: RUF012

    # The Hessian times a vector, which is the last argument.
    hessian_product: Function | None = None
    # Of a formula of rows of classes, which asks for sums over a row as well
    # (`backends/classes.py`): the axis along which a row lies, where it is called; and
    # whether the value is one a class.  A value that is one a row, options and labels
    # that are too, have that axis, of size 1.
    class_axis: int | None = None
    per_class: bool = False
    # Which of `traced` are one a row, or one for all; the others are one a class.
    per_row: tuple[str, ...] = ()
    # (value, *statistic), and the slope by the first argument from (*arguments,
    # *statistic): the two numbers of a row that are kept for a derivative.
    value_and_statistic: Function | None = None
    slope_by_statistic: Function | None = None

    def __hash__(self) -> int:
        return hash((self.traced, self.value, self.static, self.class_axis))
