"""TensorFlow: a namespace of its operations, and eager tensors in memory as NumPy's.

TensorFlow has no array-API namespace, and what is here is no more than what the losses
ask for.  In a graph a formula runs by TensorFlow's operations, under a derivative rule
that keeps its inputs and nothing else.  In eager mode tensors on a CPU are evaluated
through views of their memory, as NumPy's arrays are, under a rule of the whole call.
"""

import operator
import os
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf

# Which tapes and accumulators there are has no public name:
# https://github.com/tensorflow/tensorflow/blob/v2.21.0/tensorflow/python/ops/gradients_util.py
# https://github.com/tensorflow/tensorflow/blob/v2.21.0/tensorflow/python/eager/forwardprop_util.py
from tensorflow.python.eager.forwardprop_util import pack_tangents
from tensorflow.python.ops.gradients_util import PossibleTapeGradientTypes

from .._arrays import computing_dtype, instead_of
from ..formulas.record import Formula
from ..kernels.trace import Node, operations, trace
from .base import Backend, folded
from .classes import Classes
from .compiled import BFLOAT16
from .job import Job, undifferentiated
from .numpy import BACKEND as NUMPY

HALVINGS = 16  # of a sum of a size that is not known: of a million a few terms are left

# ---- the namespace -------------------------------------------------------------------


def _where(condition: Any, x: Any, y: Any) -> Any:
    """A number has the dtype of the tensor beside it, which TensorFlow may not see."""
    dtype = next((a.dtype for a in (x, y) if tf.is_tensor(a)), tf.float32)
    x, y = (tf.convert_to_tensor(a, dtype) for a in (x, y))
    return tf.where(condition, x, y)


def _astype(x: Any, dtype: Any, copy: bool = True) -> Any:
    return tf.cast(x, dtype)


def _asarray(x: Any, dtype: Any = None, device: Any = None) -> Any:
    tensor = tf.convert_to_tensor(x)
    return tensor if dtype is None else tf.cast(tensor, dtype)


def _full(shape: Any, value: Any, dtype: Any = None, device: Any = None) -> Any:
    return tf.constant(value, dtype, shape)


def _arange(start: Any, stop: Any, dtype: Any = None, device: Any = None) -> Any:
    return tf.range(start, stop, dtype=dtype)


def _sum(x: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    return tf.reduce_sum(x if dtype is None else tf.cast(x, dtype), axis, keepdims)


def _max(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return tf.reduce_max(x, axis, keepdims)


def _argmax(x: Any, axis: int = 0, keepdims: bool = False) -> Any:
    number = tf.argmax(x, axis)
    return tf.expand_dims(number, axis) if keepdims else number


def _any(x: Any, axis: Any = None) -> Any:
    return tf.reduce_any(x, axis)


def _default_dtypes(device: Any = None) -> dict[str, Any]:
    return {"real floating": tf.float32}


def _finfo(dtype: Any) -> Any:
    return ml_dtypes.finfo(dtype.as_numpy_dtype)


NAMESPACE = SimpleNamespace(
    __name__="tensorflow",
    __array_namespace_info__=lambda: SimpleNamespace(default_dtypes=_default_dtypes),
    bool=tf.bool,
    int8=tf.int8,
    int32=tf.int32,
    int64=tf.int64,
    float16=tf.float16,
    bfloat16=tf.bfloat16,
    float32=tf.float32,
    float64=tf.float64,
    exp=tf.exp,
    log=tf.math.log,
    log1p=tf.math.log1p,
    isinf=tf.math.is_inf,
    ones_like=tf.ones_like,
    where=_where,
    astype=_astype,
    asarray=_asarray,
    full=_full,
    arange=_arange,
    finfo=_finfo,
    reshape=tf.reshape,
    squeeze=tf.squeeze,
    expand_dims=tf.expand_dims,
    broadcast_to=tf.broadcast_to,
    concat=tf.concat,
    sum=_sum,
    max=_max,
    argmax=_argmax,
    any=_any,
    count_nonzero=tf.math.count_nonzero,
)


class TensorFlow(Backend):
    # ---- its arrays ------------------------------------------------------------------

    def device(self, array: Any) -> Any:
        """TensorFlow brings tensors together itself, and in a graph knows none yet."""
        return None

    def instead_of(self, array: Any) -> str | None:
        if isinstance(array, tf.RaggedTensor):
            return "its rows differ in length; pass `.to_tensor()`, and its mask"
        if isinstance(array, tf.SparseTensor):
            return "it is sparse; pass `tf.sparse.to_dense(...)` of it"
        if array.shape.rank is None:
            return "its rank is not known; pass `tf.ensure_shape(...)` of it"
        return instead_of(array)

    def on_host(self, array: Any) -> Any:
        return array.numpy()

    # ---- running ---------------------------------------------------------------------

    def run(self, like: Any, function: Callable[..., Any], *args: Any) -> Any:
        """On the device of an eager tensor, since TensorFlow would else go to a GPU.

        In a graph it places operations itself, and would write our code anew, which has
        no control flow for it.
        """
        if not tf.executing_eagerly():
            return tf.autograph.experimental.do_not_convert(function)(*args)
        with tf.device(like.device):
            return function(*args)

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        job = job.with_traced(tuple(map(_read, job.traced())))
        if not _are_in_memory(job.traced()):
            return super().evaluate(_with_sizes_compared(job))
        watched = [k for k, a in enumerate(job.traced()) if _is_watched(a)]
        if not watched:
            return _by_views(job)
        if watched == [0] and job.quantity == "value" and job.formula.slopes:
            return (_ruled_by_views(job),)
        return super().evaluate(job)

    def applied(self, job: Job, arguments: tuple[Any, ...]) -> Any:
        """In a graph under the rule, through which TensorFlow has no forward mode.

        Eager operations are differentiated themselves.
        """
        ruled = job.quantity == "value" and job.formula.slopes
        if ruled and not (tf.executing_eagerly() or _have_tangents(arguments)):
            return _ruled(job.formula, arguments)
        return super().applied(job, arguments)

    def carried_out(
        self, function: Any, within: Any, arguments: tuple[Any, ...]
    ) -> Any:
        """Of a graph by operations that a formula does not ask for, where there are."""
        if tf.executing_eagerly() or isinstance(within, Classes):
            return super().carried_out(function, within, arguments)
        return _by_operations(function, arguments)

    def elementwise(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], dtype: Any
    ) -> Any:
        """By NumPy's operations where nobody watches: TensorFlow's write subnormal
        numbers as 0."""
        if not _are_in_memory(arguments) or any(map(_is_watched, arguments)):
            return super().elementwise(function, arguments, dtype)
        views = [_wide(_view(argument)) for argument in arguments]
        return _tensor(NUMPY.run(None, function, np, *views), dtype)

    def within_rows(self, axis: int) -> Classes:
        return _Classes(self, axis)

    # ---- sums ------------------------------------------------------------------------

    def partial_sum(
        self,
        values: Any,
        axis: tuple[int, ...] | None,
        keepdims: bool = False,
        from_16_bits: bool = False,
    ) -> Any:
        """Of float64 in halves of halves, of sizes that are not known too.

        Of float32 in eighths, since casting each takes as long as an exponential.
        """
        if values.dtype == tf.float64:
            for k in range(values.shape.rank) if axis is None else axis:
                values = _folded(values, k)
        elif axis is None and (values.shape.num_elements() or 1) % 8 == 0:
            values = tf.reduce_sum(tf.reshape(values, (8, -1)), 0)
        return _sum(values, axis, tf.float64, keepdims)


def _folded(values: Any, axis: int) -> Any:
    if values.shape[axis] is not None:
        return folded(NAMESPACE, values, axis)
    before = (slice(None),) * axis
    for _ in range(HALVINGS):
        half = tf.shape(values)[axis] // 2
        lower, upper = slice(0, half), slice(half, 2 * half)
        odd = values[(*before, slice(2 * half, None), ...)]
        values = values[(*before, lower, ...)] + values[(*before, upper, ...)]
        values = tf.concat([values, odd], axis)
    return values


class _Classes(Classes):
    """Of as many classes as are there when the graph runs, if that is not known."""

    def class_count(self, logits: Any) -> Any:
        known = logits.shape[self.axis]
        if known is not None:
            return known
        return tf.cast(tf.shape(logits)[self.axis], logits.dtype)

    def argmax(self, logits: Any) -> Any:
        if logits.shape[self.axis] == 1:
            return super().argmax(logits)
        return _argmax(logits, self.axis, keepdims=True)

    def is_class(self, like: Any, numbers: Any) -> Any:
        """In one operation, a third of the time of a comparison that spreads both."""
        if not numbers.shape.rank:
            return super().is_class(like, numbers)
        index = tf.squeeze(tf.cast(numbers, tf.int32), self.axis)
        count = tf.shape(like)[self.axis]
        return tf.one_hot(index, count, True, False, self.axis, tf.bool)

    def pick(self, values: Any, numbers: Any) -> Any:
        """Gathered where rows lie along the last axis."""
        if not numbers.shape.rank or self.axis != values.shape.rank - 1:
            return super().pick(values, numbers)
        last = tf.shape(values)[self.axis] - 1
        index = tf.clip_by_value(tf.cast(numbers, tf.int32), 0, last)
        return tf.gather(values, index, axis=self.axis, batch_dims=self.axis)

    def _index(self, like: Any, dtype: Any) -> Any:
        index = tf.cast(tf.range(tf.shape(like)[self.axis]), dtype)
        shape = [1] * like.shape.rank
        shape[self.axis] = -1
        return tf.reshape(index, shape)


BACKEND = TensorFlow(NAMESPACE)

# ---- tensors -------------------------------------------------------------------------


def _read(argument: Any) -> Any:
    """What a variable holds."""
    is_variable = isinstance(argument, tf.Variable)
    return tf.convert_to_tensor(argument) if is_variable else argument


def _are_in_memory(arguments: tuple[Any, ...]) -> bool:
    return tf.executing_eagerly() and all(
        "CPU:" in a.device for a in arguments if isinstance(a, tf.Tensor)
    )


def _is_watched(argument: Any) -> bool:
    """By a tape, or by an accumulator of forward mode."""
    return _is_floating(argument) and PossibleTapeGradientTypes([argument]) != 0


def _have_tangents(arguments: tuple[Any, ...]) -> bool:
    """Of an accumulator of forward mode."""
    return bool(pack_tangents([a for a in arguments if _is_floating(a)]).tangents)


def _view(argument: Any) -> Any:
    """NumPy's of a tensor."""
    if not isinstance(argument, tf.Tensor):
        return argument
    # A copy of a 0-d one, of which `__array__` may make no array:
    # https://github.com/tensorflow/tensorflow/blob/v2.21.0/tensorflow/python/framework/ops.py
    array = np.asarray(argument if argument.shape.rank else argument.numpy())
    return array.view(BFLOAT16) if argument.dtype == tf.bfloat16 else array


def _tensor(result: Any, dtype: Any) -> Any:
    """Of a result of NumPy's; what was computed wider is rounded once, by NumPy, since
    TensorFlow's operations write subnormal numbers as 0."""
    array, wanted = np.asarray(result), dtype.as_numpy_dtype
    if array.dtype == BFLOAT16:
        array = array.view(wanted)
    return tf.convert_to_tensor(NUMPY.run(None, array.astype, wanted))


def _by_views(job: Job) -> tuple[Any, ...]:
    """The outputs of tensors in memory."""
    traced = tuple(map(_view, job.traced()))
    dtypes = tuple([_numpys(dtype) for dtype in job.dtypes])
    views, made = job.with_traced(traced)._replace(dtypes=dtypes), None
    if NUMPY.compiled is not None and traced[0].ndim and traced[0].size:
        made = NUMPY.compiled.evaluate(views, _threads())
    if made is None:
        made = NUMPY.evaluate(_widened(views))
    return tuple(map(_tensor, made, job.dtypes))


def _numpys(dtype: Any) -> Any:
    return BFLOAT16 if dtype == tf.bfloat16 else dtype.as_numpy_dtype


def _threads() -> int:
    """As many as TensorFlow has."""
    return tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1


def _widened(views: Job) -> Job:
    dtypes = [np.float64 if d is np.float64 else np.float32 for d in views.dtypes]
    traced = tuple(map(_wide, views.traced()))
    return views.with_traced(traced)._replace(dtypes=tuple(dtypes))


def _wide(view: Any) -> Any:
    """Without 16-bit floats, in which NumPy's operations are slow, or are not there."""
    if getattr(view, "dtype", None) not in (np.float16, BFLOAT16):
        return view
    narrow = ml_dtypes.bfloat16 if view.dtype == BFLOAT16 else np.float16
    return view.view(narrow).astype(np.float32)


# ---- a formula by TensorFlow's operations --------------------------------------------


def _minus(mask: Any, y: Any) -> Any:
    return tf.cast(mask, y.dtype) - y


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul,
    "truediv": operator.truediv, "pow": operator.pow,
    "lt": operator.lt, "gt": operator.gt, "ge": operator.ge, "le": operator.le,
    "eq": operator.eq, "ne": operator.ne, "and": operator.and_, "or": operator.or_,
    "neg": operator.neg, "not": operator.invert, "abs": abs,
    "exp": tf.exp, "log": tf.math.log, "log1p": tf.math.log1p,
    "isinf": tf.math.is_inf, "where": _where,
    "minus": _minus, "mul_no_nan": tf.math.multiply_no_nan,
}  # fmt: skip


def _by_operations(function: Any, arguments: tuple[Any, ...]) -> Any:
    """function(*arguments), all of which have one floating dtype.

    The formula is traced, and what TensorFlow has in one operation is found in its
    graph; what it takes the place of no graph keeps.
    """
    names = tuple([None if a is None else str(k) for k, a in enumerate(arguments)])
    traced = trace(function, names)
    made: dict[int, Any] = {}
    for node in operations(traced.outputs):
        if node.operation == "input":
            made[id(node)] = arguments[int(node.operands[0])]
            continue
        operation, operands = _shorter(node) or (node.operation, node.operands)
        operands = tuple([made.get(id(a), a) for a in operands])
        made[id(node)] = OPERATIONS[operation](*operands)
    results = [made.get(id(a), a) for a in traced.outputs]
    like = arguments[0]
    results = [a if tf.is_tensor(a) else a * tf.ones_like(like) for a in results]
    return tuple(results) if len(results) > 1 else results[0]


def _shorter(node: Node) -> Any:
    """where(c, 1 - y, -y), which is c - y; and where(a == 0, 0, a * b)."""
    if node.operation != "where":
        return None
    mask, x, y = node.operands
    if _is(x, "sub", 1.0) and _is(y, "neg", x.operands[1]):
        return "minus", (mask, x.operands[1])
    if _same(x, 0.0) and _is(y, "mul") and _is(mask, "eq", y.operands[0], 0.0):
        return "mul_no_nan", (y.operands[1], y.operands[0])
    return None


def _is(node: Any, operation: str, *operands: Any) -> bool:
    """Such an operation, of such first operands: nodes by identity."""
    if not isinstance(node, Node) or node.operation != operation:
        return False
    pairs = zip(operands, node.operands, strict=False)
    return all(_same(a, b) for a, b in pairs)


def _same(one: Any, other: Any) -> bool:
    """Of nodes `==` draws another."""
    if isinstance(one, Node) or isinstance(other, Node):
        return one is other
    return bool(one == other)


# ---- sizes that are known when a graph runs ------------------------------------------


def _with_sizes_compared(job: Job) -> Job:
    """A size that was not known would be spread in silence where it is 1."""
    names = (*job.formula.traced, "weights", "where")
    first, *others = job.traced()
    traced = [
        _compared(name, a, first) if isinstance(a, tf.Tensor) else a
        for name, a in zip(names[1:], others, strict=True)
    ]
    return job.with_traced((first, *traced))


def _compared(name: str, array: Any, first: Any) -> Any:
    axes = [
        k
        for k, (n, m) in enumerate(zip(array.shape, first.shape, strict=False))
        if n != 1 and (n is None or m is None)
    ]
    if not axes:
        return array
    # Of no elements: what is of another shape is not added, nor compiled by XLA.
    empty = [
        tf.zeros(tf.concat([tf.gather(tf.shape(a), axes), [0]], 0), tf.int32)
        for a in (array, first)
    ]
    nothing = tf.reduce_sum(
        tf.raw_ops.AddN(inputs=empty, name=f"{name}_of_other_sizes")
    )
    compared = array[nothing:]  # needed, or it would be left out
    compared.set_shape(array.shape)
    return compared


# ---- the rule of a graph -------------------------------------------------------------


def _ruled(formula: Formula, arguments: tuple[Any, ...]) -> Any:
    """The value of a formula, which keeps its arguments for a derivative."""
    value = undifferentiated(formula, formula.value)
    return _kept(value, arguments, formula.class_axis, partial(_changes, formula))


def _kept(
    function: Any,
    arguments: tuple[Any, ...],
    axis: int | None,
    changes: Callable[..., list[Any]],
) -> Any:
    """function(*arguments), and its `changes` by those of them that are floating."""
    places = tuple(k for k, a in enumerate(arguments) if _is_floating(a))

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def kept(*arrays: Any) -> Any:
        given = _with(arguments, places, arrays)
        return BACKEND.formula(function, given, axis), partial(changes, given, places)

    return kept(*[tf.identity(arguments[k]) for k in places])


def _is_floating(argument: Any) -> bool:
    return isinstance(argument, tf.Tensor) and argument.dtype.is_floating


def _with(
    arguments: tuple[Any, ...], places: tuple[int, ...], arrays: tuple[Any, ...]
) -> tuple[Any, ...]:
    replaced = dict(zip(places, arrays, strict=True))
    return tuple([replaced.get(k, a) for k, a in enumerate(arguments)])


def _changes(
    formula: Formula, given: tuple[Any, ...], places: tuple[int, ...], upstream: Any
) -> list[Any]:
    """By the first argument in closed form, by the others of the plain formula."""
    plain, axis = formula.slopes[formula.traced[0]], formula.class_axis
    slope = undifferentiated(formula, plain)
    slopes = _kept(slope, given, axis, partial(_changes_of, plain, axis))
    by_first = tf.cast(upstream * slopes, given[0].dtype)
    others = _changes_of(formula.value, axis, given, places[1:], upstream)
    return [by_first, *others]


def _changes_of(
    function: Any,
    axis: int | None,
    given: tuple[Any, ...],
    places: tuple[int, ...],
    upstream: Any,
) -> list[Any]:
    """By the arguments in some places; what is not asked for, no graph keeps."""
    arrays = [given[k] for k in places]
    with tf.GradientTape() as tape:
        tape.watch(arrays)
        again = _with(given, places, tuple(arrays))
        value = BACKEND.formula(function, again, axis)
    changes: list[Any] = tape.gradient(value, arrays, upstream)
    return changes


# ---- the rule of a call of eager tensors ---------------------------------------------


def _ruled_by_views(job: Job) -> Any:
    """Of a value that is differentiated by its first argument alone."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def ruled(first: Any) -> Any:
        given = job.with_traced((first, *job.traced()[1:]))
        return _by_views(given)[0], partial(_gradient, given)

    return ruled(job.arguments[0])


def _gradient(job: Job, upstream: Any) -> Any:
    """upstream / n * slope."""
    first, scale = job.arguments[0], 1.0 / job.n if job.n else 1.0
    if _is_number(upstream):
        return _slopes(job, first.dtype, scale * float(upstream))
    wide = computing_dtype(NAMESPACE, first)
    if job.summed and not job.keepdims:
        for k in sorted(job.axis or ()):
            upstream = tf.expand_dims(upstream, k)
    slopes = tf.cast(upstream, wide) * _slopes(job, wide, scale)
    return tf.cast(slopes, first.dtype)


def _slopes(job: Job, dtype: Any, scale: float) -> Any:
    """By the first argument, weighed and masked as the value, times a number."""
    formula = job.formula._replace(
        value=job.formula.slopes[job.formula.traced[0]], slopes={}, per_class=True
    )
    return BACKEND.evaluate(
        job._replace(
            formula=formula, dtypes=(dtype,), summed=False, axis=None, n=None,
            scales=(scale,),
        )
    )[0]  # fmt: skip


def _is_number(upstream: Any) -> bool:
    """One for all, which is not differentiated again."""
    alone = upstream.shape.rank == 0 and tf.executing_eagerly()
    return alone and not _is_watched(upstream)
