"""Tables of predictions in files, some rows at a time.

Of .npy and .npz, .csv and .parquet files.  However large a file is, so many rows are in
memory at once as have NUMBERS numbers.
"""

import csv
import io
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

NUMBERS = 1 << 18
LONGEST = 400  # characters of a number: float64 of all digits has as many at most


def rows_at_once(width: int) -> int:
    return max(NUMBERS // max(width, 1), 1)


class BadTable(Exception):
    """A file that cannot be scored; its message is for the user."""


class Part(NamedTuple):
    """Some rows: how many there were before, and how much of the file has been read."""

    first: int
    done: float  # from 0 to 1
    columns: list[Any]  # arrays of float64: of (rows,), or (rows, classes)


class Table(NamedTuple):
    names: list[str]  # of the columns
    parts: Callable[[Sequence[str]], Iterator[Part]]  # of the columns that are named


def opened(path: str) -> Table:
    """The table of a file, by the end of its name."""
    end = Path(path).suffix.lower()
    if end not in READERS:
        raise BadTable(f"{path}: not one of {', '.join(READERS)}")
    try:
        with Path(path).open("rb") as file:  # each library has another word for it
            if not file.seekable():
                raise BadTable(f"{path}: a pipe; pass a file, which can be read twice")
        return READERS[end](path)
    except OSError as error:
        raise BadTable(f"{path}: {error.strerror or error}") from None


def numbers(name: str, values: Any, first: int) -> Any:
    """As float64; of text, the first row that is no number is named."""
    values = np.asarray(values)
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    if values.dtype.kind not in "US":
        raise BadTable(f"column `{name}` must have numbers; got {values.dtype}")
    try:
        return values.astype(np.float64)
    except ValueError:
        row, text = next(pair for pair in enumerate(values) if not _is_number(pair[1]))
        raise BadTable(
            f"row {first + row + 1}: `{name}` must be a number; got {str(text)!r:.40}"
        ) from None


def _is_number(text: Any) -> bool:
    try:
        np.asarray(text).astype(np.float64)
    except ValueError:
        return False
    return True


# ---- .npy ----------------------------------------------------------------------------


def _npy(path: str) -> Table:
    """A structured array by its names; or columns of a label, and of logits."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise BadTable(f"{path}: not an array of numbers: {error}") from None
    if array.dtype.names:
        names = list(array.dtype.names)

        def by_name(wanted: Sequence[str]) -> Iterator[Part]:
            return _of_arrays([array[name] for name in wanted], wanted)

        return Table(names, by_name)
    if array.ndim != 2 or array.shape[1] < 2:
        raise BadTable(
            f"{path}: an array of shape {array.shape}; pass one of (rows, 2), of "
            f"labels and logits, or of (rows, 1 + classes)"
        )
    names = ["label", *_logit_names(array.shape[1] - 1)]
    places = dict(zip(names, range(len(names)), strict=True))

    def parts(wanted: Sequence[str]) -> Iterator[Part]:
        return _of_arrays([array[:, places[name]] for name in wanted], wanted)

    return Table(names, parts)


def _logit_names(columns: int) -> list[str]:
    return ["logit"] if columns == 1 else [f"logit_{k}" for k in range(columns)]


def _of_arrays(arrays: list[Any], names: Sequence[str]) -> Iterator[Part]:
    shapes = [array.shape for array in arrays]
    for k, rows, size in _cut(names, shapes):
        columns = [
            numbers(name, array[k : k + rows], k)
            for name, array in zip(names, arrays, strict=True)
        ]
        yield Part(k, (k + rows) / size, columns)


def _cut(
    names: Sequence[str], shapes: list[tuple[int, ...]]
) -> Iterator[tuple[int, int, int]]:
    """The first row, and the number, of some at a time; and of all."""
    size = _rows(names, shapes)
    step = rows_at_once(sum(math.prod(shape[1:]) for shape in shapes))
    for k in range(0, size, step):
        yield k, min(step, size - k), size


def _rows(names: Sequence[str], shapes: list[tuple[int, ...]]) -> int:
    """How many all of them have."""
    sizes = {shape[0] if shape else None for shape in shapes}
    if len(sizes) > 1 or None in sizes:
        told = ", ".join(f"`{n}` {s}" for n, s in zip(names, shapes, strict=True))
        raise BadTable(f"arrays must have one number of rows; got shapes {told}")
    return int(sizes.pop() or 0)


# ---- .npz ----------------------------------------------------------------------------


# What `zipfile` raises; a RuntimeError of what is encrypted.
DAMAGED = (
    RuntimeError, NotImplementedError, EOFError, ValueError, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip


def _npz(path: str) -> Table:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise BadTable(f"{path}: {error}") from None
    found = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]

    def parts(wanted: Sequence[str]) -> Iterator[Part]:
        try:
            files = [archive.open(f"{name}.npy") for name in wanted]
        except DAMAGED as error:
            raise BadTable(f"{path}: {error}") from None
        return _of_members(wanted, files)

    return Table(found, parts)


def _of_members(names: Sequence[str], files: list[IO[bytes]]) -> Iterator[Part]:
    """Read as they are unpacked, since what is packed cannot be mapped."""
    headers = [_header(n, file) for n, file in zip(names, files, strict=True)]
    for k, rows, size in _cut(names, [shape for shape, _ in headers]):
        columns = [
            numbers(name, _read(name, file, (rows, *shape[1:]), dtype), k)
            for name, file, (shape, dtype) in zip(names, files, headers, strict=True)
        ]
        yield Part(k, (k + rows) / size, columns)


def _header(name: str, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    except DAMAGED as error:
        raise BadTable(f"`{name}`: {error}") from None
    if dtype.hasobject or (fortran and len(shape) > 1):
        what = "objects" if dtype.hasobject else "Fortran's order"
        raise BadTable(f"`{name}` has {what}; save it by `numpy.ascontiguousarray`")
    return shape, dtype


def _read(
    name: str, file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Any:
    try:
        read = file.read(math.prod(shape) * dtype.itemsize)
        return np.frombuffer(read, dtype).reshape(shape)
    except DAMAGED as error:
        raise BadTable(f"`{name}` is damaged: {error}") from None


# ---- .csv ----------------------------------------------------------------------------


def _csv(path: str) -> Table:
    """With a line of names first, and commas."""
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        try:
            names = next(csv.reader(file), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadTable(f"{path}: not text with commas: {error}") from None
    names = [name.strip() for name in names]
    return Table(names, lambda wanted: _of_lines(path, names, wanted))


def _of_lines(path: str, names: list[str], wanted: Sequence[str]) -> Iterator[Part]:
    places, most = [names.index(name) for name in wanted], rows_at_once(len(wanted))
    size = max(Path(path).stat().st_size, 1)
    with Path(path).open("rb") as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        rows, first = csv.reader(text), 0
        next(rows)
        while cells := _cells(islice(rows, most), places, first, names):
            columns = [
                numbers(name, column, first)
                for name, column in zip(wanted, zip(*cells, strict=True), strict=True)
            ]
            yield Part(first, min(file.tell() / size, 1.0), columns)
            first += len(cells)


def _cells(
    rows: Iterator[list[str]], places: list[int], first: int, names: list[str]
) -> list[list[str]]:
    """Of the next rows, in these places; an empty line is none."""
    cells: list[list[str]] = []
    try:
        for row in rows:
            if not row:
                continue
            if len(row) != len(names):
                raise BadTable(
                    f"row {first + len(cells) + 1}: {len(row)} values, of "
                    f"{len(names)} columns"
                )
            cells.append([_short(row[k].strip()) for k in places])
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadTable(f"row {first + len(cells) + 1}: {error}") from None
    return cells


def _short(text: str) -> str:
    """NumPy gives every cell the room of the longest; a number has no such length."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


# ---- .parquet ------------------------------------------------------------------------


def _parquet(path: str) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadTable(
            f"{path}: needs pyarrow, which is not here: pip install pyarrow"
        ) from None
    damaged = (pyarrow.ArrowException, OSError)
    try:
        # Without these it holds all of a row group, as it lies in the file.
        lean = {"pre_buffer": False, "buffer_size": 1 << 20}
        file = pyarrow.parquet.ParquetFile(path, **lean)
    except damaged as error:
        raise BadTable(f"{path}: {error}") from None

    def parts(wanted: Sequence[str]) -> Iterator[Part]:
        try:
            yield from _of_batches(file, wanted)
        except damaged as error:
            raise BadTable(f"{path}: {error}") from None

    return Table(file.schema_arrow.names, parts)


def _of_batches(file: Any, wanted: Sequence[str]) -> Iterator[Part]:
    size, first, names = file.metadata.num_rows, 0, list(dict.fromkeys(wanted))
    for batch in file.iter_batches(rows_at_once(len(names)), columns=names):
        columns = [_arrow_numbers(name, batch[name], first) for name in wanted]
        yield Part(first, (first + len(batch)) / size, columns)
        first += len(batch)


def _arrow_numbers(name: str, column: Any, first: int) -> Any:
    if column.null_count:
        row = int(np.argmax(np.asarray(column.is_null())))
        raise BadTable(f"row {first + row + 1}: `{name}` is missing")
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "biuf":
        raise BadTable(f"column `{name}` must have numbers; got {column.type}")
    return numbers(name, values, first)


READERS: dict[str, Callable[[str], Table]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
    ".parquet": _parquet,
}
