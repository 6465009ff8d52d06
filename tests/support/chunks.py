"""Dask arrays of arrays of any library."""

import numpy as np


def chunked(array, chunks):
    import dask.array

    return dask.array.from_array(array, chunks=chunks, asarray=False)


def unknown(array, chunks=1):
    """The same rows, of which Dask does not know how many there are."""
    column = array.reshape(len(array), -1)[:, 0]
    rows = chunked(column == column, chunks)  # all of them
    array = chunked(array, (chunks, *array.shape[1:]))[rows]
    assert np.isnan(array.shape[0])
    return array
