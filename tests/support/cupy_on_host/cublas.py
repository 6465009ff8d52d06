"""Stands for cupy_backends.cuda.libs.cublas: the product of two matrices, by NumPy.

It is the one call of a library that `x @ y` makes, and it counts as no launch.
"""

import ctypes

import numpy

DTYPES = {0: "f4", 1: "f8", 2: "f2"}  # by cudaDataType
CUBLAS_GEMM_DEFAULT = -1
CUBLAS_GEMM_DEFAULT_TENSOR_OP = 99
CUBLAS_COMPUTE_32F = 68
CUBLAS_COMPUTE_32F_PEDANTIC = 69
CUBLAS_COMPUTE_32F_FAST_TF32 = 77
CUBLAS_COMPUTE_64F = 70


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise NotImplementedError(f"CuPy on the host has no cublas.{name}")


def create():
    return 1


def destroy(handle):
    pass


def matrix(rows, columns, pointer, dtype, stride):
    """Views a matrix that lies column after column, `stride` elements apart."""
    if dtype not in DTYPES:
        raise NotImplementedError(f"CuPy on the host has no cudaDataType {dtype}")
    dtype = numpy.dtype(DTYPES[dtype])
    memory = (ctypes.c_char * (columns * stride * dtype.itemsize)).from_address(pointer)
    return numpy.ndarray((columns, stride), dtype, memory)[:, :rows].T


def operand(transposed, rows, columns, *stored):
    if transposed:
        return matrix(columns, rows, *stored).T
    return matrix(rows, columns, *stored)


def gemmEx(handle, transpose_a, transpose_b, rows, columns, inner, *rest):
    """c = alpha a b + beta c, where `@` always has alpha = 1 and beta = 0."""
    alpha, a, b = rest[0], rest[1:4], rest[4:7]
    beta, c, compute = rest[7], rest[8:11], rest[11]
    scalar = ctypes.c_double if compute == CUBLAS_COMPUTE_64F else ctypes.c_float
    if [scalar.from_address(pointer).value for pointer in (alpha, beta)] != [1, 0]:
        raise NotImplementedError("CuPy on the host has no scaled matrix products")
    left = operand(transpose_a, rows, inner, *a)
    right = operand(transpose_b, inner, columns, *b)
    matrix(rows, columns, *c)[...] = left @ right
