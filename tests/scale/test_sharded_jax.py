"""Sharded arrays of JAX: XLA adds the sums up and moves nothing else.

Counted in the compiled program of eight devices, on the CPU.  XLA makes one all-reduce
an array axis, over all the mesh axes that cut it, and puts those together that do not
need each other's results.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from scale.model import Collective, collectives, cost

import xploss

jax.config.update("jax_num_cpu_devices", 8)  # which JAX heeds before its first array
jnp = jax.numpy
pytestmark = pytest.mark.library("jax")

cross_entropy = xploss.sigmoid_cross_entropy
focal = xploss.sigmoid_focal_loss
SHAPE = (64, 32)


@pytest.fixture(autouse=True)
def _strictly():
    """No dtype is promoted and no rank: both raise."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


# ---- layouts -----------------------------------------------------------------------


class Layout(NamedTuple):
    sizes: tuple[int, ...]  # of the mesh
    spec: P  # of the logits
    kind: AxisType = AxisType.Auto

    def mesh(self) -> jax.sharding.Mesh:
        names = ("i", "j")[: len(self.sizes)]
        return jax.make_mesh(self.sizes, names, (self.kind,) * len(names))

    def sharding(self, shape: tuple[int, ...]) -> NamedSharding:
        """Of an array that fits onto the logits: cut as they are, where it has size."""
        spec = self.spec[len(self.spec) - len(shape) :]
        cut = (s if n > 1 else None for n, s in zip(shape, spec, strict=True))
        return NamedSharding(self.mesh(), P(*cut))

    def shards(self) -> tuple[int, ...]:
        local = self.sharding(SHAPE).shard_shape(SHAPE)
        return tuple(n // m for n, m in zip(SHAPE, local, strict=True))

    def put(self, array: Any) -> Any:
        return jax.device_put(array, self.sharding(array.shape))


LAYOUTS = {
    "8, batch": Layout((8,), P("i", None)),
    "8, classes": Layout((8,), P(None, "i")),
    "4x2, batch": Layout((4, 2), P("i", None)),
    "4x2, classes": Layout((4, 2), P(None, "j")),
    "4x2, both": Layout((4, 2), P("i", "j")),
}
OTHERS = {
    "4x2, batch by both": Layout((4, 2), P(("i", "j"), None)),
    "4x2, classes by both": Layout((4, 2), P(None, ("j", "i"))),
    "4x2, replicated": Layout((4, 2), P(None, None)),
}
EXPLICIT = Layout((4, 2), P("i", "j"), AxisType.Explicit)
layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


# ---- cases -------------------------------------------------------------------------


def drawn() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 5, SHAPE) / 4
    classes = rng.uniform(0.5, 2.0, SHAPE[1])
    return {
        "logits": rng.normal(0.0, 5.0, SHAPE).astype("float32"),
        "probs": rng.uniform(0.0, 1.0, SHAPE).astype("float32"),
        "labels": labels.astype("float32"),
        "weights": rng.uniform(0.5, 2.0, SHAPE).astype("float32"),
        "mask": rng.random(SHAPE) < 0.75,
        "classes": classes.astype("float32"),
    }


DRAWN = drawn()
WEIGHTS, MASK, CLASSES = DRAWN["weights"], DRAWN["mask"], DRAWN["classes"]


class Case(NamedTuple):
    """A loss with options; arrays among these are sharded as the logits are."""

    loss: Callable[..., Any]
    options: dict[str, Any]
    sums: int = 1
    dtype: str = "float32"

    @property
    def fixed(self) -> dict[str, Any]:
        given = self.options.items()
        return {k: v for k, v in given if not isinstance(v, np.ndarray)}

    def arrays(self) -> list[Any]:
        first = DRAWN["probs" if self.loss is xploss.binary_cross_entropy else "logits"]
        pair = [jnp.asarray(a, self.dtype) for a in (first, DRAWN["labels"])]
        options = [v for v in self.options.values() if isinstance(v, np.ndarray)]
        return [*pair, *map(jnp.asarray, options)]

    def call(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Of all arrays by position."""
        names = [k for k in self.options if k not in self.fixed]

        def called(logits: Any, labels: Any, *options: Any) -> Any:
            arrays = dict(zip(names, options, strict=True))
            return function(logits, labels, **arrays, **self.fixed)

        return called

    def summed(self) -> tuple[int, ...] | None:
        if self.options.get("reduction") == "none":
            return ()
        axis = self.options.get("axis")
        return (axis,) if isinstance(axis, int) else axis


REDUCTIONS = {
    "mean": Case(cross_entropy, {}),
    "sum": Case(cross_entropy, {"reduction": "sum"}),
    "weighted_mean": Case(cross_entropy, {"reduction": "weighted_mean"}),
    "axis=0": Case(cross_entropy, {"axis": 0}),
    "axis=1": Case(cross_entropy, {"axis": 1}),
    "axis=(0, 1)": Case(cross_entropy, {"axis": (0, 1), "reduction": "sum"}),
    "none": Case(cross_entropy, {"reduction": "none"}),
}
WEIGHTED = {"reduction": "weighted_mean"}
OPTIONS = {
    "weights": Case(cross_entropy, {"weights": WEIGHTS}),
    "weights per sample": Case(cross_entropy, {"weights": WEIGHTS[:, :1]}),
    "weights per class": Case(cross_entropy, {"weights": WEIGHTS[:1]}),
    "where": Case(cross_entropy, {"where": MASK}, 2),
    "weighted_mean of weights": Case(
        cross_entropy, {"weights": WEIGHTS, **WEIGHTED}, 2
    ),
    "all along axis 0": Case(
        cross_entropy, {"where": MASK, "weights": WEIGHTS, "axis": 0, **WEIGHTED}, 2
    ),
    "pos_weight per class": Case(cross_entropy, {"pos_weight": CLASSES}),
    "label_smoothing": Case(cross_entropy, {"label_smoothing": 0.125}),
    "focal": Case(focal, {}),
    "focal, alpha per class": Case(focal, {"alpha": CLASSES / 2, "axis": 1}),
    "probabilities": Case(xploss.binary_cross_entropy, {"pos_weight": CLASSES}),
    "bfloat16": Case(cross_entropy, {"pos_weight": CLASSES}, 1, "bfloat16"),
}
HESSIANS = {
    "Hessian": Case(cross_entropy, {}),
    "Hessian, options": Case(
        cross_entropy, {"where": MASK, "weights": WEIGHTS, "pos_weight": CLASSES}
    ),
    "Hessian, focal": Case(focal, {"alpha": CLASSES / 2}),
    "Hessian, bfloat16": Case(cross_entropy, {}, 1, "bfloat16"),
}
CASES = REDUCTIONS | OPTIONS | HESSIANS


def by_jax(f: Callable[..., Any]) -> Callable[..., Any]:
    """Its value and the gradient of that, or of its sum where it is an array."""

    def with_sum(*args: Any) -> Any:
        value = f(*args)
        return value.sum(), value

    def derived(*args: Any) -> Any:
        (_, value), gradient = jax.value_and_grad(with_sum, has_aux=True)(*args)
        return value, gradient

    return derived


WAYS = {
    "value": lambda case: case.call(case.loss),
    "jax.value_and_grad": lambda case: by_jax(case.call(case.loss)),
    "xploss.value_and_grad": lambda case: case.call(xploss.value_and_grad(case.loss)),
    "xploss.grad_and_hess": lambda case: case.call(xploss.grad_and_hess(case.loss)),
}
VALUE, BY_JAX, BY_XPLOSS, HESSIAN = WAYS


# ---- checks ------------------------------------------------------------------------


@cache
def unsharded(case: str, way: str) -> Any:
    return jax.jit(WAYS[way](CASES[case]))(*CASES[case].arrays())


def compiled(function: Callable[..., Any], layout: Layout, arrays: list[Any]) -> Any:
    """What it returns of sharded arrays, and the collectives of that program."""
    with jax.set_mesh(layout.mesh()):
        sharded = [layout.put(a) for a in arrays]
        program = jax.jit(function).lower(*sharded).compile()
        return program(*sharded), collectives(program.as_text())


def all_reduces(*payloads: int) -> list[Collective]:
    return [Collective("all-reduce", payload) for payload in payloads]


def agree(results: Any, expected: Any) -> None:
    """8 eps: a sharded sum is 1 off, one that is not up to 7, as XLA adds in a row."""
    for result, right in zip(
        jax.tree.leaves(results), jax.tree.leaves(expected), strict=True
    ):
        assert (result.dtype, result.shape) == (right.dtype, right.shape)
        pair = (np.asarray(a, "float64") for a in (result, right))
        within = 8 * float(jnp.finfo(result.dtype).eps)
        np.testing.assert_allclose(*pair, rtol=within, atol=0.0)


def check(layout: Layout, case: str, way: str) -> None:
    """The all-reduces of the model and no other collective; results where they are."""
    c = CASES[case]
    results, found = compiled(WAYS[way](c), layout, c.arrays())
    axis = () if way == HESSIAN else c.summed()
    model = cost(SHAPE, layout.shards(), axis, c.sums)
    assert found == all_reduces(*model.payloads)
    for result in jax.tree.leaves(results):
        if result.shape == SHAPE:
            assert result.sharding.is_equivalent_to(layout.sharding(SHAPE), 2)
    agree(results, unsharded(case, way))


@pytest.mark.parametrize("way", [VALUE, BY_JAX, BY_XPLOSS])
@pytest.mark.parametrize("case", REDUCTIONS)
@layouts
def test_reductions(layout, case, way):
    check(layout, case, way)


@pytest.mark.parametrize("way", [BY_JAX, BY_XPLOSS])
@pytest.mark.parametrize("case", OPTIONS)
@layouts
def test_options(layout, case, way):
    check(layout, case, way)


@pytest.mark.parametrize("case", HESSIANS)
@layouts
def test_hessians(layout, case):
    check(layout, case, HESSIAN)


@pytest.mark.parametrize("case", CASES)
def test_shardings_in_types(case):
    """Under explicit axes JAX infers each operation's sharding itself, or raises."""
    check(EXPLICIT, case, HESSIAN if case in HESSIANS else BY_JAX)


@pytest.mark.parametrize("way", [VALUE, BY_JAX, BY_XPLOSS])
@pytest.mark.parametrize("layout", OTHERS.values(), ids=OTHERS)
def test_other_layouts(layout, way):
    """Two mesh axes along one of the array's are one all-reduce; copies need none."""
    check(layout, "mean", way)


@pytest.mark.parametrize("name", ["sigmoid", "log_sigmoid", "softplus"])
def test_functions(name):
    function, logits = getattr(xploss, name), jnp.asarray(DRAWN["logits"])
    layout = LAYOUTS["4x2, both"]
    result, found = compiled(function, layout, [logits])
    assert found == []
    assert result.sharding.is_equivalent_to(layout.sharding(SHAPE), 2)
    agree(result, jax.jit(function)(logits))


# ---- rows of classes ---------------------------------------------------------------
#
# What is sent are a few numbers a row, where its classes are on several devices: the
# largest, its number, the logit of the label, and sums; and of a mean its sum.

softmax_cross_entropy = xploss.softmax_cross_entropy
MANY = (64, 128)
ROW_LABELS = ("numbers", "masses")
ROW_OPTIONS: dict[str, dict[str, Any]] = {
    "mean": {},
    "none": {"reduction": "none"},
    "where": {"where": MASK[:, 0]},
    "class_weights": {"class_weights": np.linspace(0.5, 2.0, 128, dtype="float32")},
    "all": {
        "class_weights": np.linspace(0.5, 2.0, 128, dtype="float32"),
        "weights": WEIGHTS[:, 0],
        "label_smoothing": 0.125,
        "reduction": "weighted_mean",
    },
}
MOST_A_ROW = 6  # numbers of it in one all-reduce, with every option


def drawn_rows(kind: str, shape: tuple[int, int] = MANY) -> tuple[Any, Any]:
    """Terms of a slope do not cancel: a label's mass is 1, or in (0, 1 / 128)."""
    rng = np.random.default_rng(9)
    logits = rng.normal(0.0, 5.0, shape).astype("float32")
    if kind == "numbers":
        return jnp.asarray(logits), jnp.asarray(rng.integers(0, shape[1], shape[:1]))
    masses = rng.dirichlet(np.ones(shape[1]), shape[0])
    return jnp.asarray(logits), jnp.asarray(masses, "float32")


def sharded_rows(layout: Layout, name: str, array: Any) -> Any:
    """Cut as the logits are, along the axes that it has of them."""
    spec = layout.spec
    if array.ndim == 1:
        spec = P(spec[1] if name == "class_weights" else spec[0])
    return jax.device_put(array, NamedSharding(layout.mesh(), spec))


def compiled_rows(
    layout: Layout, function: Callable[..., Any], given: dict[str, Any]
) -> tuple[Any, list[Collective]]:
    with jax.set_mesh(layout.mesh()):
        arrays = {k: sharded_rows(layout, k, a) for k, a in given.items()}
        program = jax.jit(function).lower(arrays).compile()
        return program(arrays), collectives(program.as_text())


def of_rows(way: str, options: dict[str, Any]) -> Callable[..., Any]:
    fixed = {k: v for k, v in options.items() if not isinstance(v, np.ndarray)}

    def called(given: dict[str, Any]) -> Any:
        arrays = {k: a for k, a in given.items() if k not in ("logits", "labels")}

        def loss(logits: Any, labels: Any) -> Any:
            return softmax_cross_entropy(logits, labels, **arrays, **fixed)

        ways = {VALUE: loss, BY_JAX: by_jax(loss)}
        if way == BY_XPLOSS:
            derived = xploss.value_and_grad(softmax_cross_entropy)
            return derived(given["logits"], given["labels"], **arrays, **fixed)
        return ways[way](given["logits"], given["labels"])

    return called


def check_rows(layout: Layout, kind: str, name: str, way: str) -> None:
    options = ROW_OPTIONS[name]
    logits, labels = drawn_rows(kind)
    given = {"logits": logits, "labels": labels} | {
        k: jnp.asarray(v) for k, v in options.items() if isinstance(v, np.ndarray)
    }
    function = of_rows(way, options)
    results, found = compiled_rows(layout, function, given)
    rows = MANY[0] // layout.sizes[0] if layout.spec[0] else MANY[0]
    most = MOST_A_ROW * 4 * rows if layout.spec[1] else 8
    assert all(c.kind == "all-reduce" and c.payload <= most for c in found), found
    if name == "mean" and layout.spec[1] is None:
        assert found == all_reduces(4)
    for result in jax.tree.leaves(results):
        if result.shape == MANY:
            assert result.sharding.is_equivalent_to(layout.sharding(MANY), 2)
    agree_in_terms(results, jax.jit(function)(given))


def agree_in_terms(results: Any, expected: Any) -> None:
    """16 eps, of a unit at most what a mean over the rows leaves of one."""
    for result, right in zip(
        jax.tree.leaves(results), jax.tree.leaves(expected), strict=True
    ):
        pair = (np.asarray(a, "float64") for a in (result, right))
        eps = float(jnp.finfo(result.dtype).eps)
        np.testing.assert_allclose(*pair, rtol=16 * eps, atol=16 * eps / MANY[0])


@pytest.mark.parametrize("way", [BY_JAX, BY_XPLOSS])
@pytest.mark.parametrize("name", ROW_OPTIONS)
@pytest.mark.parametrize("kind", ROW_LABELS)
@layouts
def test_rows(layout, kind, name, way):
    check_rows(layout, kind, name, way)


@pytest.mark.parametrize("kind", ROW_LABELS)
@layouts
def test_values_of_rows(layout, kind):
    check_rows(layout, kind, "mean", VALUE)


@pytest.mark.parametrize("way", [BY_JAX, BY_XPLOSS])
@pytest.mark.parametrize("name", ["mean", "all"])
@pytest.mark.parametrize("kind", ROW_LABELS)
def test_rows_with_shardings_in_types(kind, name, way):
    check_rows(EXPLICIT, kind, name, way)


@pytest.mark.parametrize("classes", [16, 48, 112])
def test_of_more_devices_than_are_here(classes):
    """As a program for a larger machine is made: only the array's type knows them."""
    axes = (AxisType.Explicit,)
    mesh = jax.sharding.AbstractMesh((16,), ("classes",), axis_types=axes)

    def of(shape: tuple[int, ...], spec: Any, dtype: Any) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))

    loss = partial(softmax_cross_entropy, reduction="none")
    logits = of((24, classes), P(None, "classes"), jnp.float32)
    with jax.sharding.use_abstract_mesh(mesh):
        result = jax.eval_shape(loss, logits, of((24,), P(None), jnp.int32))
    assert result.shape == (24,)


@pytest.mark.parametrize("classes", [1000, 4096])
def test_what_is_sent_does_not_grow_with_the_classes(classes):
    logits, labels = drawn_rows("numbers", (64, classes))
    function = of_rows(BY_XPLOSS, {})
    given = {"logits": logits, "labels": labels}
    _, found = compiled_rows(LAYOUTS["8, classes"], function, given)
    assert found == all_reduces(256, 512)


def test_of_masses_of_few_classes_a_number_a_device_is_gathered():
    """Of JAX's own argmax: each device's largest, and its number, of each row."""
    logits, labels = drawn_rows("masses", (64, 32))
    layout = LAYOUTS["8, classes"]
    given = {"logits": logits, "labels": labels}
    _, found = compiled_rows(layout, of_rows(VALUE, {}), given)
    gathered = [c.payload for c in found if c.kind == "all-gather"]
    assert gathered == [4 * 64 * 8] * 2
    assert {c.kind for c in found} == {"all-gather", "all-reduce"}


# ---- by pos_weight -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "payloads"),
    [
        ("8, batch", [4 + 4 * 32]),
        ("8, classes", [4]),
        ("4x2, both", [4, 4 + 4 * 16]),
    ],
)
def test_by_pos_weight(layout, payloads):
    """Its gradient is a sum over the batch: of C/d more numbers, in the same go."""

    def step(logits: Any, labels: Any, pos_weight: Any) -> Any:
        return cross_entropy(logits, labels, pos_weight=pos_weight)

    arrays = CASES["pos_weight per class"].arrays()
    derived = jax.value_and_grad(step, (0, 2))
    results, found = compiled(derived, LAYOUTS[layout], arrays)
    assert found == all_reduces(*payloads)
    agree(results, jax.jit(derived)(*arrays))


# ---- jax.shard_map -----------------------------------------------------------------


def local_gradient(logits: Any, labels: Any, pos_weight: Any) -> Any:
    """Of the mean on a device, turned into that of the whole: nothing to be sent."""
    derived = xploss.value_and_grad(cross_entropy)
    value, gradient = derived(logits, labels, pos_weight=pos_weight)
    return jax.lax.pmean(value, ("i", "j")), gradient / 8.0


def mapped_gradient(logits: Any, labels: Any, pos_weight: Any) -> Any:
    def mean(logits: Any) -> Any:
        value = cross_entropy(logits, labels, pos_weight=pos_weight)
        return jax.lax.pmean(value, ("i", "j"))

    return jax.value_and_grad(mean)(logits)


def mapped_elements(logits: Any, labels: Any, pos_weight: Any) -> Any:
    options = {"pos_weight": pos_weight}
    value = cross_entropy(logits, labels, reduction="none", **options)
    return value, *xploss.grad_and_hess(cross_entropy)(logits, labels, **options)


# What a device runs, what is cut of its results, and what the whole would be.
MAPPED = {
    "xploss.value_and_grad": (local_gradient, (False, True), [4]),
    "jax.value_and_grad": (mapped_gradient, (False, True), [4]),
    "per element": (mapped_elements, (True, True, True), []),
}


@pytest.mark.parametrize(("function", "cut", "payloads"), MAPPED.values(), ids=MAPPED)
def test_shard_map(function, cut, payloads):
    """One all-reduce over both mesh axes, where XLA on its own makes two."""
    layout, case = LAYOUTS["4x2, both"], "pos_weight per class"
    specs = [layout.spec if is_cut else P() for is_cut in cut]
    arrays = CASES[case].arrays()
    mapped = jax.shard_map(
        function,
        mesh=layout.mesh(),
        in_specs=(layout.spec, layout.spec, P("j")),
        out_specs=tuple(specs),
    )
    results, found = compiled(mapped, layout, arrays)
    assert found == all_reduces(*payloads)
    for result, spec in zip(results, specs, strict=True):
        sharding = NamedSharding(layout.mesh(), spec)
        assert result.sharding.is_equivalent_to(sharding, result.ndim)
    whole = jax.jit(function)(*arrays) if cut[0] else unsharded(case, BY_XPLOSS)
    agree(results, whole)


# ---- the counter -------------------------------------------------------------------


BATCH = LAYOUTS["8, batch"]


def moved(a: Any, spec: P) -> Any:
    return jax.lax.with_sharding_constraint(a, Layout((8,), spec).sharding(SHAPE))


def mapped(function: Callable[..., Any], a: Any) -> Any:
    specs = {"in_specs": BATCH.spec, "out_specs": BATCH.spec}
    return jax.shard_map(function, mesh=BATCH.mesh(), **specs)(a)


def permuted(a: Any) -> Any:
    return jax.lax.ppermute(a, "i", [(k, (k + 1) % 8) for k in range(8)])


def scattered(a: Any) -> Any:
    return jax.lax.psum_scatter(a, "i", scatter_dimension=1, tiled=True)


FAULTS = {
    "all-gather": lambda a: moved(a, P(None, None)),
    "all-to-all": lambda a: moved(a, P(None, "i")),
    "collective-permute": lambda a: mapped(permuted, a),
    "reduce-scatter": lambda a: mapped(scattered, a),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_moves_is_counted(kind):
    logits = jnp.asarray(DRAWN["logits"])
    _, found = compiled(FAULTS[kind], BATCH, [logits])
    assert [c.kind for c in found] == [kind]


def test_pairs_are_counted_once():
    """As XLA writes them for GPUs."""
    text = """
  %all-reduce-start = f32[16]{0} all-reduce-start(%sum), replica_groups={}
  ROOT %all-reduce-done = f32[16]{0} all-reduce-done(%all-reduce-start)
  %both = (f32[], /*index=1*/pred[3,2]{1,0}) all-reduce(%a, %b), channel_id=1
"""
    assert collectives(text) == all_reduces(64, 10)
