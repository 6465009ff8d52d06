"""`python -m xploss score FILE`: what it says of a table, and of what is none."""

import csv
import functools
import io
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import xploss
from xploss.report import commands, score, tables

drawn = np.random.default_rng(4)
ROWS = 500
LOGITS = drawn.normal(size=ROWS) * 15
LABELS = (drawn.random(ROWS) < 1 / (1 + np.exp(-LOGITS))).astype(int)
WEIGHTS = drawn.integers(0, 5, ROWS) / 4
CLASS_LOGITS = drawn.normal(size=(ROWS, 3)) * 15
CLASSES = (CLASS_LOGITS + drawn.gumbel(size=(ROWS, 3))).argmax(axis=1)
SOFT = np.round(drawn.random(ROWS), 3)

BINARY = {"label": LABELS, "logit": LOGITS, "weight": WEIGHTS}
OF_CLASSES = {"label": CLASSES, **{f"logit_{k}": CLASS_LOGITS[:, k] for k in range(3)}}


# ---- files ---------------------------------------------------------------------------


def to_csv(path, columns):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(
            zip(*(np.asarray(c).tolist() for c in columns.values()), strict=True)
        )


def to_npy(path, columns):
    """A structured array."""
    table = np.zeros(len(columns["label"]), [(n, c.dtype) for n, c in columns.items()])
    for name, column in columns.items():
        table[name] = column
    np.save(path, table)


def to_npz(path, columns):
    np.savez_compressed(path, **columns)


def to_parquet(path, columns):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({name: pyarrow.array(c) for name, c in columns.items()})
    pyarrow.parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow.parquet.write_table(table, path, row_group_size=1000)


WRITERS = {"csv": to_csv, "npy": to_npy, "npz": to_npz, "parquet": to_parquet}


@pytest.fixture(params=WRITERS)
def written(request, tmp_path):
    """Writes columns to a file of some kind, and returns its path."""

    def write(columns, name="table"):
        path = tmp_path / f"{name}.{request.param}"
        WRITERS[request.param](path, columns)
        return str(path)

    return write


def said(capsys, *arguments):
    assert commands.main(["score", *map(str, arguments)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert max(map(len, captured.out.splitlines()[1:])) <= 80
    return captured.out


def row(output, start):
    return next(line for line in output.splitlines() if line.startswith(start))


def number(output, start, place=1):
    return float(row(output, start).removeprefix(start).split()[place - 1])


# ---- numbers -------------------------------------------------------------------------


def test_binary_logits_of_each_kind_of_file(written, capsys):
    output = said(capsys, written(BINARY))
    losses = xploss.sigmoid_cross_entropy(LOGITS, LABELS, reduction="none")
    assert number(output, "xploss") == pytest.approx(losses.mean(), rel=1e-6)
    error = losses.std(ddof=1) / ROWS**0.5
    assert number(output, "xploss", 2) == pytest.approx(error, rel=1e-2)
    assert number(output, "xploss", 3) == 0
    right = ((LOGITS > 0) == LABELS).mean()
    assert f"Accuracy {right:.4f}:" in output
    assert f"{ROWS} rows; labels `label`, logits `logit`\n" in output


def test_many_classes_of_each_kind_of_file(written, capsys):
    output = said(capsys, written(OF_CLASSES))
    losses = xploss.softmax_cross_entropy(CLASS_LOGITS, CLASSES, reduction="none")
    assert number(output, "xploss") == pytest.approx(losses.mean(), rel=1e-6)
    right = (CLASS_LOGITS.argmax(1) == CLASSES).mean()
    assert f"Accuracy {right:.4f}:" in output
    assert "logits `logit_0` to `logit_2`" in output
    assert number(output, "log-softmax: x - max - log(sum(exp))", 2) > 0


def test_weights(written, capsys):
    output = said(capsys, written(BINARY), "--weights", "weight")
    losses = xploss.sigmoid_cross_entropy(LOGITS, LABELS, reduction="none")
    mean = np.average(losses, weights=WEIGHTS)
    assert number(output, "xploss") == pytest.approx(mean, rel=1e-6)
    right = np.average((LOGITS > 0) == LABELS, weights=WEIGHTS)
    assert f"Accuracy {right:.4f}:" in output
    assert f"{np.count_nonzero(WEIGHTS)} rows;" in output
    clipped = np.clip(xploss.sigmoid(LOGITS), 1e-7, 1 - 1e-7)
    clipped = np.where(LABELS == 1, -np.log(clipped), -np.log(1 - clipped))
    expected = np.average(clipped, weights=WEIGHTS)
    assert number(output, "clipped at 1e-7") == pytest.approx(expected, rel=1e-6)


def test_columns_by_name(tmp_path, capsys):
    path = tmp_path / "table.csv"
    to_csv(path, {"id": np.arange(ROWS), "score": xploss.sigmoid(LOGITS), "y": SOFT})
    output = said(capsys, path, "--labels", "y", "--probabilities", "score")
    expected = xploss.binary_cross_entropy(xploss.sigmoid(LOGITS), SOFT)
    assert number(output, "xploss") == pytest.approx(expected, rel=1e-6)


def test_probabilities_of_many_classes_and_a_plain_array(tmp_path, capsys):
    probabilities = xploss.softmax(CLASS_LOGITS)
    arrays = {"labels": CLASSES, "probabilities": probabilities}
    np.savez(tmp_path / "table.npz", **arrays)
    output = said(capsys, tmp_path / "table.npz")
    expected = xploss.softmax_cross_entropy(CLASS_LOGITS, CLASSES)
    assert number(output, "xploss") == pytest.approx(expected, rel=1e-6)

    np.save(tmp_path / "plain.npy", np.column_stack([CLASSES, CLASS_LOGITS]))
    output = said(capsys, tmp_path / "plain.npy")
    assert number(output, "xploss") == pytest.approx(expected, rel=1e-6)

    np.save(tmp_path / "two.npy", np.column_stack([LABELS, LOGITS]).astype("float32"))
    output = said(capsys, tmp_path / "two.npy")
    expected = xploss.sigmoid_cross_entropy(
        LOGITS.astype("float32").astype(float), LABELS
    )
    assert number(output, "xploss") == pytest.approx(expected, rel=1e-6)


def test_one_column_of_classes_is_binary(tmp_path, capsys):
    np.savez(tmp_path / "table.npz", label=LABELS, logit=LOGITS[:, None])
    output = said(capsys, tmp_path / "table.npz")
    expected = xploss.sigmoid_cross_entropy(LOGITS, LABELS)
    assert number(output, "xploss") == pytest.approx(expected, rel=1e-6)


def test_calibration(tmp_path, capsys):
    p = np.array([0.05, 0.05, 0.95, 0.95, 0.95, 1.0])
    y = np.array([0, 1, 1, 1, 0, 1])
    to_csv(tmp_path / "table.csv", {"label": y, "probability": p})
    output = said(capsys, tmp_path / "table.csv")
    assert row(output, "0.0 to 0.1").split()[3:] == ["2", "0.0500", "0.5000"]
    assert row(output, "0.9 to 1.0").split()[3:] == ["4", "0.9625", "0.7500"]
    assert row(output, "0.5 to 0.6").split()[3:] == ["0"]


def test_the_worst_rows_are_the_file_s(tmp_path, capsys, monkeypatch):
    """Counted from 1, over all parts; the first of equals."""
    monkeypatch.setattr(tables, "NUMBERS", 20)
    logits = np.full(100, -1.0)
    logits[[3, 57, 98]] = [40.0, 50.0, 40.0]
    to_csv(tmp_path / "table.csv", {"label": np.zeros(100, int), "logit": logits})
    output = said(capsys, tmp_path / "table.csv")
    listed = output.partition("rows of the largest loss")[2].splitlines()[2:12]
    assert [int(line.split()[0]) for line in listed] == [58, 4, 99, 1, 2, 3, 5, 6, 7, 8]
    assert listed[0].split()[1:] == ["0", "50", "50"]


def test_rows_without_weight_are_not_the_worst(tmp_path, capsys):
    columns = {"label": [0, 0], "logit": [99.0, 1.0], "weight": [0, 1]}
    to_csv(tmp_path / "table.csv", columns)
    output = said(capsys, tmp_path / "table.csv", "--weights", "weight")
    worst = output.partition("rows of the largest loss")[2].splitlines()[2:]
    assert [line.split()[0] for line in worst if line] == ["2", "row:"]


def test_what_others_lose_is_counted(tmp_path, capsys):
    logits = np.array([-800.0, -40.0, -20.0, 1.0, 40.0])
    to_csv(tmp_path / "table.csv", {"label": np.zeros(5, int), "logit": logits})
    output = said(capsys, tmp_path / "table.csv")
    assert row(output, "log(sigmoid(x))").split()[1:] == ["nan", "3"]
    assert number(output, "clipped at 1e-7", 2) == 4
    assert number(output, "max(x, 0) - x*y + log1p(exp(-|x|))", 2) == 0


# ---- in constant memory --------------------------------------------------------------


def test_parts_change_nothing(written, capsys, monkeypatch):
    path = written(OF_CLASSES | {"weight": WEIGHTS})
    whole = said(capsys, path, "--weights", "weight")
    monkeypatch.setattr(tables, "NUMBERS", 35)
    assert said(capsys, path, "--weights", "weight") == whole


def test_four_times_the_rows_take_no_more_memory(written, capsys, monkeypatch):
    monkeypatch.setattr(tables, "NUMBERS", 1 << 12)

    def peak(times):
        columns = {name: np.tile(c, times) for name, c in BINARY.items()}
        path = written(columns, str(times))
        tracemalloc.start()
        try:
            said(capsys, path)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(20)  # what is loaded, or made, the first time
    assert peak(160) < 1.25 * peak(40)


# ---- the bar -------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal_alone(written, monkeypatch):
    monkeypatch.setattr(tables, "NUMBERS", 4000)
    path = written({name: np.tile(column, 20) for name, column in BINARY.items()})
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert commands.main(["score", path]) == 0
    shown = sys.stderr.getvalue()
    assert "[####" in shown
    assert shown.endswith("\r\x1b[K")
    shares = [int(part.split("%")[0].split()[-1]) for part in shown.split("]")[1:]]
    assert shares == sorted(shares)
    assert len(shares) >= 2


# ---- what cannot be scored -----------------------------------------------------------


def refused(capsys, *arguments):
    assert commands.main(["score", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("python -m xploss score: ")
    assert captured.err.count("\n") == 1
    return captured.err


WRONG_TEXT = {
    "no column": ("a,b\n1,2\n", "no column `label` or `labels`; there are: a, b"),
    "no logit": ("label,b\n1,2\n", "no column `logit` or `logit_0` or `logits`"),
    "a gap": (
        "label,logit_0,logit_2\n1,2,3\n",
        "no column `logit_1`, though there is one of a later class",
    ),
    "a word": (
        "label,logit\n1,2\n0,x\n0,y\n",
        "row 2: `logit` must be a number; got 'x'",
    ),
    "nothing": ("label,logit\n1,2\n0,\n", "row 2: `logit` must be a number; got ''"),
    "nan": ("label,logit\n1,2\n0,nan\n", "row 2: `logit` must be a number; got nan"),
    "label": ("label,logit\n1,2\n0,1\n2,1\n", "row 3: `label` must be from 0 to 1; g"),
    "minus": ("label,logit\n-1,2\n", "row 1: `label` must be from 0 to 1; got -1"),
    "class": (
        "label,logit_0,logit_1\n0,1,2\n2,1,2\n",
        "row 2: `label` must be from 0 to 1; got 2",
    ),
    "half a class": (
        "label,logit_0,logit_1,logit_2\n0.5,1,2,3\n",
        "row 1: `label` must be from 0 to 2; got 0.5",
    ),
    "probability": (
        "label,probability\n1,0.5\n1,1.5\n",
        "row 2: `probability` must be from 0 to 1; got 1.5",
    ),
    "short": ("label,logit\n1,2\n1\n", "row 2: 1 values, of 2 columns"),
    "no loss": (
        "label,logit_0,logit_1\n0,inf,inf\n",
        "row 1: no loss, since two logits are inf",
    ),
    "no rows": ("label,logit\n", "no rows"),
    "empty": ("", "no column `label` or `labels`; there are: none"),
}


@pytest.mark.parametrize(("text", "message"), WRONG_TEXT.values(), ids=WRONG_TEXT)
def test_wrong_text_is_refused(tmp_path, capsys, text, message):
    (tmp_path / "table.csv").write_text(text)
    assert message in refused(capsys, tmp_path / "table.csv")


def test_the_row_is_found_in_a_later_part(written, capsys, monkeypatch):
    monkeypatch.setattr(tables, "NUMBERS", 100)
    labels = LABELS.copy()
    labels[321] = 7
    path = written(BINARY | {"label": labels})
    assert "row 322: `label` must be from 0 to 1; got 7" in refused(capsys, path)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_wrong_weights_are_refused(written, capsys, weight):
    path = written(BINARY | {"weight": np.where(np.arange(ROWS) == 9, weight, 1.0)})
    message = refused(capsys, path, "--weights", "weight")
    assert "row 10: `weight` must be finite and at least 0; got" in message


def test_weights_of_0_are_no_rows(written, capsys):
    path = written(BINARY | {"weight": np.zeros(ROWS)})
    assert "or none that weighs anything" in refused(
        capsys, path, "--weights", "weight"
    )


def test_no_such_column_is_refused(written, capsys):
    path = written(BINARY)
    assert "no column `p` or `p_0`" in refused(capsys, path, "--logits", "p")
    assert "no column `w`; there are" in refused(capsys, path, "--weights", "w")


@pytest.mark.parametrize("end", WRITERS)
def test_no_such_file_is_refused(tmp_path, capsys, end):
    if end == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"none.{end}"
    assert f"{path}: No such file or directory" in refused(capsys, path)


@pytest.mark.parametrize("end", WRITERS)
def test_another_kind_of_file_is_refused(tmp_path, capsys, end):
    if end == "parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / f"table.{end}").write_bytes(b"\xff\xfe\x00 spam, spam" * 99)
    refused(capsys, tmp_path / f"table.{end}")


def test_a_damaged_file_is_refused(written, capsys):
    path = written(BINARY)
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) // 2])
    if not path.endswith(".csv"):  # half a table is one
        refused(capsys, path)
    middle = len(whole) // 3
    Path(path).write_bytes(whole[:middle] + b"spam" * 8 + whole[middle + 32 :])
    if path.endswith((".csv", ".npz")):  # in the others any bytes are a number
        refused(capsys, path)


def test_an_unknown_kind_is_refused(tmp_path, capsys):
    (tmp_path / "table.xlsx").write_text("")
    assert "not one of .npy, .npz, .csv, .parq" in refused(
        capsys, tmp_path / "table.xlsx"
    )


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), "an array of shape (3,)"),
        (np.zeros((3, 1)), "an array of shape (3, 1)"),
        (np.array([["a", "b"]]), "row 1: `label` must be a number; got 'a'"),
        (np.zeros((3, 2), complex), "column `label` must have numbers; got complex128"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, capsys, array, message):
    np.save(tmp_path / "table.npy", array)
    assert message in refused(capsys, tmp_path / "table.npy")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"label": np.zeros(3), "logit": np.zeros(4)},
            "one number of rows; got shapes",
        ),
        (
            {"label": np.zeros((3, 1)), "logit": np.zeros(3)},
            "must have one number a row",
        ),
        ({"label": 1, "logit": np.zeros(3)}, "one number of rows; got shapes"),
        (
            {"label": np.zeros(3), "logit": np.zeros((3, 2), order="F")},
            "Fortran's order",
        ),
    ],
)
def test_wrong_shapes_are_refused(tmp_path, capsys, arrays, message):
    np.savez(tmp_path / "table.npz", **arrays)
    assert message in refused(capsys, tmp_path / "table.npz")


def test_objects_are_refused(tmp_path, capsys):
    array = np.array([[0, None]], dtype=object)
    np.save(tmp_path / "table.npy", array)
    assert "not an array of numbers" in refused(capsys, tmp_path / "table.npy")
    np.savez(tmp_path / "table.npz", label=array, logit=array)
    assert "`label` has objects" in refused(capsys, tmp_path / "table.npz")


def test_what_is_missing_or_text_in_parquet_is_refused(tmp_path, capsys):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "table.parquet"
    table = {"label": [1, None], "logit": [0.5, 1.0], "text": ["a", "b"]}
    parquet.write_table(pyarrow.table(table), path)
    assert "row 2: `label` is missing" in refused(capsys, path)
    message = refused(capsys, path, "--labels", "text")
    assert "column `text` must have numbers; got string" in message


def test_parquet_says_what_it_needs(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    message = refused(capsys, tmp_path / "table.parquet")
    assert "needs pyarrow, which is not here: pip install pyarrow" in message


# ---- the command ---------------------------------------------------------------------


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "xploss", *arguments], capture_output=True, text=True
    )


@functools.cache
def helps():
    return run("--help"), run("score", "--help")


def test_help_is_no_report():
    whole, scoring = helps()
    assert whole.returncode == scoring.returncode == 0
    assert "What runs here" not in whole.stdout
    assert whole.stdout.startswith("usage: python -m xploss [-h]")
    assert "score the predictions in a file" in whole.stdout
    for option in ("FILE", "--labels", "--logits", "--probabilities", "--weights"):
        assert option in scoring.stdout
    lines = (whole.stdout + scoring.stdout).splitlines()
    assert max(map(len, lines)) <= 88


def test_a_wrong_call_has_status_2():
    assert run("socre").returncode == run("score").returncode == 2
    missing = run("score", "none.csv")
    assert missing.returncode == 2
    assert missing.stderr.splitlines() == [
        "python -m xploss score: none.csv: No such file or directory"
    ]


def test_every_example_of_the_help_is_a_call():
    lines = [line.split() for line in score.EXAMPLES.splitlines() if "python" in line]
    assert len(lines) == 2
    for _, _, _, *arguments in lines:
        assert commands.parser().parse_args(arguments).command == "score"


# ---- what is odd ---------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(ROWS, 1), (ROWS, 2)])
def test_weights_of_several_columns(shape, tmp_path, capsys):
    path = tmp_path / "table.npz"
    np.savez(path, label=LABELS, logit=LOGITS, w=np.ones(shape))
    assert "`w` must have one number a row" in refused(capsys, path, "--weights", "w")


def test_no_classes(tmp_path, capsys):
    path = tmp_path / "table.npz"
    np.savez(path, label=LABELS, logit=np.ones((ROWS, 0)))
    assert "`logit` has no class" in refused(capsys, path)


def test_two_columns_of_one_name(tmp_path, capsys):
    path = tmp_path / "table.csv"
    path.write_text("label,logit,logit,note\n0,1,2,3\n")
    assert "two columns are called `logit`" in refused(capsys, path)
    path.write_text("label,logit,note,note\n0,1,2,3\n")
    assert "1 rows" in said(capsys, path)


def test_accuracy_is_by_weight(tmp_path, capsys):
    path = tmp_path / "table.csv"
    path.write_text("label,logit,w\n0,.2,5\n1,.3,1\n0,-1,1\n")
    assert "Accuracy 0.6667: share of rows with p and" in said(capsys, path)
    weighted = said(capsys, path, "--weights", "w")
    assert "Accuracy 0.2857: share of rows with p and" in weighted
    assert "by weight." in weighted


def test_probabilities_that_do_not_sum_to_1(tmp_path, capsys):
    path = tmp_path / "table.csv"
    names = "label,probability_0,probability_1\n"
    path.write_text(f"{names}0,.2,.2\n1,.3,.7\n1,1,1\n")
    assert "do not sum to 1: 2." in said(capsys, path)
    path.write_text(f"{names}0,.2,.8\n1,.3,.7\n")
    assert "do not sum to 1" not in said(capsys, path)


@pytest.mark.parametrize(("at", "compressed"), [(300, False), (60, True)])
def test_a_damaged_archive(at, compressed, tmp_path, capsys):
    path = tmp_path / "table.npz"
    (np.savez_compressed if compressed else np.savez)(path, **BINARY)
    raw = bytearray(path.read_bytes())
    raw[at] ^= 255
    path.write_bytes(raw)
    assert refused(capsys, path).count("\n") == 1


def test_an_encrypted_archive(tmp_path, capsys):
    path = tmp_path / "table.npz"
    np.savez(path, **BINARY)
    raw = path.read_bytes()
    for start, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # of files, of their list
        pieces = raw.split(start)
        place = flags - 4
        marked = [
            p[:place] + bytes([p[place] | 1]) + p[place + 1 :] for p in pieces[1:]
        ]
        raw = start.join([pieces[0], *marked])
    path.write_bytes(raw)
    assert "encrypted" in refused(capsys, path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of POSIX")
def test_a_pipe(tmp_path, capsys):
    path = tmp_path / "table.csv"
    os.mkfifo(path)
    both_ends = os.open(path, os.O_RDWR)  # or opening one waits for the other
    try:
        assert "a pipe" in refused(capsys, path)
    finally:
        os.close(both_ends)


@pytest.mark.parametrize("option", ["--labels", "--logits", "--weights"])
def test_an_empty_name(option, tmp_path, capsys):
    path = tmp_path / "table.csv"
    to_csv(path, BINARY)
    assert "no column" in refused(capsys, path, option, "")


def test_many_classes_take_no_square(tmp_path):
    path = tmp_path / "table.npz"
    np.savez(path, label=np.array([1, 5]), logit=np.zeros((2, 20_000)))
    tracemalloc.start()
    try:
        assert commands.main(["score", str(path)]) == 0
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_columns_of_other_shapes(tmp_path, capsys):
    path = tmp_path / "table.npz"
    np.savez(path, label=LABELS, logit_0=LOGITS, logit_1=np.ones((ROWS, 2)))
    assert "`logit_1` must have one number a row" in refused(capsys, path)


def test_what_weighs_nothing_is_not_looked_at(tmp_path, capsys):
    path = tmp_path / "table.csv"
    path.write_text("label,logit,w\n0,nan,0\n1,2,1\n")
    assert "1 rows" in said(capsys, path, "--weights", "w")
    assert "row 1: `logit` must be a number" in refused(capsys, path)


def test_a_cell_without_end(tmp_path, capsys):
    """NumPy would give each of the others as much room."""
    path = tmp_path / "table.csv"
    rows = "1,2\n" * 100_000
    path.write_text(f"label,logit\n{rows}1,{' ' * 100_000}\n")
    assert "row 100001: `logit` must be a number" in refused(capsys, path)
    path.write_text(f"label,logit\n{rows}1,{'7' * 100_000}\n")
    assert "row 100001" in refused(capsys, path)
