"""What CuPy does on the host, and what it asks of a GPU there."""

import importlib.metadata
from collections import Counter

import numpy as np
import pytest

import cupy_on_host
from cupy_on_host.compiler import Compiler

pytestmark = [
    pytest.mark.library("cupy"),
    pytest.mark.skipif(cupy_on_host.driver_present(), reason="a GPU is here"),
]


@pytest.fixture(scope="module")
def cupy():
    cupy_on_host.install()
    import cupy

    return cupy


@pytest.fixture
def asked(cupy):
    """Says what a GPU is asked for by a call, which is made once before to compile."""

    def asked(function, *arguments):
        function(*arguments)
        before = cupy_on_host.tally()
        function(*arguments)
        return cupy_on_host.tally() - before

    return asked


@pytest.fixture
def numbers(cupy):
    return cupy.asarray(np.linspace(-2, 2, 24).reshape(4, 6))


def test_sum_is_one_launch(asked, numbers):
    assert asked(lambda a: a + a, numbers) == Counter(launches=1)


def test_fused_function_is_one_launch(asked, cupy, numbers):
    def softplus(x):
        return cupy.where(x > 0, x, 0) + cupy.log1p(cupy.exp(-cupy.abs(x)))

    assert asked(softplus, numbers)["launches"] > 1
    assert asked(cupy.fuse(softplus), numbers) == Counter(launches=1)
    expected = np.logaddexp(0, numbers.get())
    np.testing.assert_allclose(cupy.fuse(softplus)(numbers).get(), expected)


def test_fused_function_has_several_outputs_and_a_sum(asked, cupy, numbers):
    @cupy.fuse
    def squares(x):
        square = x * x
        return square, square > 1, cupy.sum(square, axis=1)

    assert asked(squares, numbers) == Counter(launches=1)
    host = numbers.get()
    for result, expected in zip(
        squares(numbers), (host**2, host**2 > 1, (host**2).sum(1)), strict=True
    ):
        np.testing.assert_allclose(result.get(), expected)


def test_asnumpy_is_one_copy_to_the_host(asked, cupy, numbers):
    expected = Counter(device_to_host=1, device_to_host_bytes=24 * 8)
    assert asked(cupy.asnumpy, numbers) == expected


def test_asarray_is_one_copy_to_the_device(asked, cupy):
    expected = Counter(host_to_device=1, host_to_device_bytes=10 * 4)
    assert asked(cupy.asarray, np.ones(10, np.float32)) == expected


def test_dlpack_copies_nothing(asked, cupy, numbers):
    assert asked(cupy.from_dlpack, numbers) == Counter()
    assert cupy.from_dlpack(numbers).data.ptr == numbers.data.ptr


def test_implicit_conversion_is_refused(numbers):
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(numbers)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_float32_sums_as_float64(cupy, axis):
    # Exact in float64 in any order; in float32 the small terms are lost.
    host = np.full((60, 50), 2.0**-30, np.float32)
    host[:, 0] = host[0] = 1
    total = cupy.asarray(host).sum(axis=axis, dtype=cupy.float64)
    assert total.dtype == np.float64
    np.testing.assert_array_equal(total.get(), host.sum(axis=axis, dtype=np.float64))


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "uint64", "bool"])
def test_astype_is_numpys(cupy, dtype):
    # The last one rounds down if it is rounded to float32 first.
    host = np.array([0.0, 0.1, 1.5, 100.0, 1 + 2.0**-11 + 2.0**-40])
    np.testing.assert_array_equal(
        cupy.asarray(host).astype(dtype).get(), host.astype(dtype)
    )


def test_threads_of_a_block_wait_for_each_other(cupy):
    # Finding the true ones scans with barriers and with exchanges within warps.
    mask = np.random.default_rng(0).random((300, 7)) < 0.5
    np.testing.assert_array_equal(
        cupy.argwhere(cupy.asarray(mask)).get(), np.argwhere(mask)
    )


def test_matrix_times_vector_is_numpys(cupy):
    matrix, vector = np.arange(35.0).reshape(5, 7), np.arange(7.0)
    product = cupy.asarray(matrix) @ cupy.asarray(vector)
    np.testing.assert_array_equal(product.get(), matrix @ vector)


def test_what_is_missing_is_refused(cupy):
    with pytest.raises(NotImplementedError, match="device but 0"):
        cupy.cuda.Device(1).use()
    with pytest.raises(NotImplementedError, match=r"cublas\.gemmStridedBatchedEx"):
        cupy.ones((2, 3, 3)) @ cupy.ones((2, 3, 3))


def test_another_version_of_cupy_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "13.0.0")
    with pytest.raises(RuntimeError, match=r"cupy-cuda12x==14\.2\.0; found 13\.0\.0"):
        cupy_on_host.check_version()


def test_cupy_imported_before_is_refused(cupy, monkeypatch):
    monkeypatch.setattr(cupy_on_host, "_runtime", None)
    with pytest.raises(RuntimeError, match=r"imported before install\(\)"):
        cupy_on_host.install()


def test_missing_compiler_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match=r"needs g\+\+"):
        Compiler(tmp_path, cupy_on_host.VERSION)


def test_missing_python_headers_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(RuntimeError, match="needs Python's headers"):
        Compiler(tmp_path, cupy_on_host.VERSION)
