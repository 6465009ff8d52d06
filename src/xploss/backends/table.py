"""The one place where a library has a name: by which class its arrays are known, and
which backend is theirs.

Any other array-API library is taken by its own word, and goes the plain way.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._arrays import loaded_class
from .base import Backend
from .numpy import BACKEND as NUMPY


class Library(NamedTuple):
    module: str
    array: str
    backend: Callable[[], Backend]  # loaded where such an array is handed in


# Imports, not names of modules: PyTorch's compiler traces them.


def _torch() -> Backend:
    from .torch import BACKEND

    return BACKEND


def _jax() -> Backend:
    from .jax import BACKEND

    return BACKEND


def _cupy() -> Backend:
    from .cupy import BACKEND

    return BACKEND


def _dask() -> Backend:
    from .dask import Dask

    return Dask(known)


def _tensorflow() -> Backend:
    from .tensorflow import BACKEND

    return BACKEND


TABLE = (
    Library("torch", "Tensor", _torch),
    Library("numpy", "ndarray", lambda: NUMPY),
    Library("jax", "Array", _jax),
    Library("cupy", "ndarray", _cupy),
    Library("dask.array", "Array", _dask),
    *(
        Library("tensorflow", kind, _tensorflow)
        for kind in ("Tensor", "Variable", "RaggedTensor", "SparseTensor")
    ),
)


LOADED: dict[str, Backend] = {}  # an import takes a tenth of a small call each time


def listed(array: Any) -> Backend | None:
    """The backend of an array of a library in the table.

    array_api_compat would ask all that is in `sys.modules`, a module that another
    thread has imported by half too.
    """
    if type(array) is np.ndarray:
        return NUMPY
    for library in TABLE:
        cls = loaded_class(library.module, library.array)
        if cls is not None and isinstance(array, cls):
            backend = LOADED.get(library.module)
            if backend is None:
                backend = LOADED[library.module] = library.backend()
            return backend
    return NUMPY if isinstance(array, np.generic) else None


def known(array: Any) -> Backend | None:
    """The backend of an array of any library, or None of what is none."""
    backend = listed(array)
    if backend is not None:
        return backend
    own = getattr(array, "__array_namespace__", None)
    return None if own is None else Backend(own())
