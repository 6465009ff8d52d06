"""The one list of libraries, by the name of their tests: the module of each.

Here by itself, since nox reads it too, which has none of them.
"""

LIBRARIES = {
    "numpy": "numpy",
    "strict": "array_api_strict",
    "torch": "torch",
    "jax": "jax",
    "cupy": "cupy",  # before Dask, which imports CuPy where it finds it
    "dask": "dask",
    "tensorflow": "tensorflow",
}
