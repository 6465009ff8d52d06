"""Every kernel's text by NVIDIA's own compiler, which needs no GPU: `nox -s nvrtc`."""

import ctypes
import importlib.util
from pathlib import Path

import pytest

from xploss.backends.torch_private import UNFUSED, compiled
from xploss.kernels import cuda
from xploss.kernels.catalogue import kernels, row_kernels
from xploss.kernels.cuda import NUMBER, Version

pytestmark = pytest.mark.library("torch")

# Of logits, and the processor: those of 2018 to 2025.
DTYPES = {
    "float16": "sm_75",
    "bfloat16": "sm_80",
    "float32": "sm_90",
    "float64": "sm_120",
}
ELEMENTS, ROWS = list(kernels()), list(row_kernels())


@pytest.fixture(scope="module")
def nvrtc():
    (folder,) = importlib.util.find_spec("nvidia.cuda_nvrtc").submodule_search_locations
    (path,) = (Path(folder) / "lib").glob("libnvrtc.so.*")
    return ctypes.CDLL(str(path))


def version(kernel, dtype, summed, weighed):
    """Of logits of a dtype, labels of another, weights, and options as numbers."""
    inputs = kernel.traced().inputs
    first, others = f"{cuda.TYPES[dtype]} *", ("long long *", NUMBER)
    kinds = (first, *(others[k > 0] for k, _ in enumerate(inputs[1:])))
    results = kernel.results
    return Version(
        inputs=kinds,
        factors=("float *", NUMBER)[: 2 * weighed],
        where="bool *" if weighed else None,
        outputs=(first,) * results,
        weighed=(True,) * results,
        scaled=(weighed,) * results,
        summed=summed,
        axes=1 + weighed,
        group=0 if kernel.per_row is None else (1, 32)[weighed],
        across=not weighed,
        wide=weighed,
    )


KERNELS = [
    pytest.param(kernel, dtype, id=f"{kernel.name}-{dtype}")
    for place, kernel in enumerate([*ELEMENTS, *ROWS])
    for dtype in list(DTYPES)[place % 2 :: 2]
]


@pytest.mark.parametrize(("kernel", "dtype"), KERNELS)
def test_it_compiles(nvrtc, kernel, dtype):
    """Each in two dtypes, bare in the one, with weights and wide sizes in the other."""
    weighed = dtype in ("float32", "float64")
    text = cuda.text(version(kernel, dtype, kernel in ELEMENTS, weighed), kernel)
    binary = compiled(nvrtc, text, f"--gpu-architecture={DTYPES[dtype]}", UNFUSED)
    assert binary[:4] == b"\x7fELF"
    assert kernel.name.encode() in binary


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_are_merged(nvrtc, dtype):
    text = cuda.merging(f"{cuda.TYPES[dtype]} *")
    assert b"xploss_merging" in compiled(
        nvrtc, text, f"--gpu-architecture={DTYPES[dtype]}"
    )


def test_what_does_not_compile_says_why(nvrtc):
    with pytest.raises(RuntimeError, match='"nonsense" is undefined'):
        compiled(nvrtc, "int f() { return nonsense; }", "--gpu-architecture=sm_90")
