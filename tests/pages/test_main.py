"""`python -m xploss`, run as users run it, and made to fail as it should."""

import importlib.util
import io
import os
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pytest
from libraries import LIBRARIES

import xploss
from xploss.backends.compiled import INSTRUCTION_SETS
from xploss.report import by_hand, comparison, errors, libraries, page
from xploss.report.exact import FORMATS

PACKAGES = {row.name: row.namespace.partition(".")[0] for row in libraries.LIBRARIES}

# TensorFlow logs at its import what it was built for.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}

# An interpreter in which nothing is installed but the hard dependencies.
NUMPY_ALONE = """
import sys

ALLOWED = {"numpy", "array_api_compat", "xploss", *sys.stdlib_module_names}

class Nothing:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in ALLOWED and not root.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nothing())
from xploss.report.page import main
raise SystemExit(main())
"""


def run(*arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        env={key: v for key, v in os.environ.items() if key != "COLUMNS"} | QUIET,
    )


@pytest.fixture(scope="module")
def everything():
    return run("-m", "xploss")


@pytest.fixture(scope="module")
def numpy_alone():
    return run("-c", NUMPY_ALONE)


@pytest.fixture(params=["everything", "numpy_alone"])
def output(request):
    return request.getfixturevalue(request.param).stdout


def row(output, name):
    """The first row of a library: where it runs or how to install it."""
    rows = output.partition("What runs here")[2].splitlines()
    return next(line for line in rows if line.startswith(f"{name} "))


# ---- what it prints ----------------------------------------------------------------


def test_all_is_well(everything):
    assert everything.returncode == 0, everything.stdout + everything.stderr
    assert everything.stderr == ""
    assert everything.stdout.splitlines()[-1].endswith("and all agree.")


def test_it_needs_numpy_alone(numpy_alone):
    assert numpy_alone.returncode == 0, numpy_alone.stdout + numpy_alone.stderr
    assert numpy_alone.stdout.splitlines()[-1].startswith("Run here: 1 of 7 libraries")
    assert "cpu" in row(numpy_alone.stdout, "NumPy")
    for name in list(PACKAGES)[1:]:
        assert "pip install" in row(numpy_alone.stdout, name)


def test_lines_fit_and_carry_no_escape_codes(output):
    assert max(map(len, output.splitlines())) <= 80
    assert "\x1b" not in output


def test_it_says_whether_the_formulas_are_compiled(output):
    said = f"instructions of {INSTRUCTION_SETS[-1]}" if INSTRUCTION_SETS else "slower"
    assert said in output


def test_every_library_that_is_tested_is_a_row():
    assert set(PACKAGES.values()) == set(LIBRARIES.values())


@pytest.mark.parametrize("name", PACKAGES)
def test_each_library_has_its_row(everything, name):
    found = row(everything.stdout, name)
    if importlib.util.find_spec(PACKAGES[name]) is None:
        assert "pip install" in found
    else:
        assert any(character.isdigit() for character in found.split()[1])


@pytest.mark.parametrize(
    "expected",
    [
        "    0   -40            -0!       -1e-07!            0! 4.248354e-18 4.24",
        "    1   inf           nan!       -1e-07!          nan!            0    ",
        "  0.3   800           inf!     11.28267!          560           560    ",
    ],
)
def test_the_job_is_shown_with_wrong_cells_marked(output, expected):
    assert expected in output


def test_ours_is_never_marked_and_each_replica_is(output):
    job = output.partition("What runs here")[0].splitlines()
    rows = [line for line in job if line[:5].strip() in {"0", "1", "0.3"}]
    assert len(rows) == 27
    marks = [sum(line[k] == "!" for line in rows) for k in (25, 39, 53, 67)]
    assert marks[3] == 0
    assert min(marks[:3]) > 0


# ---- when it fails -----------------------------------------------------------------


@pytest.fixture
def few(monkeypatch):
    """NumPy twice over: once for itself, once as another library."""
    numpy = libraries.LIBRARIES[0]
    monkeypatch.setattr(libraries, "LIBRARIES", (numpy, numpy._replace(name="Other")))


def outcome(capsys):
    status = page.main()
    return status, capsys.readouterr().out


def test_what_works_has_status_0(few, capsys):
    status, output = outcome(capsys)
    assert status == 0
    assert "Run here: 2 of 2" in output


def textbook(logits, labels, *, reduction):
    assert reduction == "none"
    return by_hand.max_form(logits, labels)


def slightly_off(logits, labels):
    gradient, hessian = GRAD_AND_HESS(xploss.sigmoid_cross_entropy)(logits, labels)
    return gradient, hessian * (1 + 16 * np.finfo(hessian.dtype).eps)


GRAD_AND_HESS = xploss.grad_and_hess


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_wrong_loss_has_status_1(few, capsys, monkeypatch):
    monkeypatch.setattr(xploss, "sigmoid_cross_entropy", textbook)
    monkeypatch.setattr(xploss, "grad_and_hess", lambda loss: lambda x, y: (x, y))
    status, output = outcome(capsys)
    assert status == 1
    assert "Broken or past the promised errors: NumPy, Other." in output
    assert "! inf" in output


def test_a_hessian_16_ulp_off_has_status_1(few, capsys, monkeypatch):
    monkeypatch.setattr(xploss, "grad_and_hess", lambda loss: slightly_off)
    assert outcome(capsys)[0] == 1


def test_a_library_that_differs_from_numpy_fails():
    assert errors.fails(errors.Report("A", apart=8.1))
    assert not errors.fails(errors.Report("A", apart=8.0))


@pytest.mark.parametrize(
    ("quantity", "dtype", "bound"),
    [
        ("value", "float16", 0.51),
        ("value", "bfloat16", 0.51),
        ("value", "float32", 4.0),
        ("gradient", "float16", 4.0),
        ("Hessian", "float64", 4.0),
    ],
)
def test_the_promised_bounds(quantity, dtype, bound):
    def fails(error):
        return errors.fails(errors.Report("A", errors={(quantity, dtype): error}))

    assert fails(bound * 1.001)
    assert not fails(bound)


@pytest.fixture
def truths():
    return {"float32": errors.truth("float32")}


def library(name):
    return libraries.LIBRARIES[0]._replace(name="A", namespace=name, install="a")


def planted(monkeypatch, tmp_path, source):
    """A library whose import runs `source`."""
    name = f"planted_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    return library(name)


def test_a_library_that_is_missing_is_no_failure(truths):
    report = errors.examine(library("no_such_library"), truths)
    assert report.note == "pip install a"
    assert not errors.fails(report)


@pytest.mark.parametrize(
    ("source", "note"),
    [
        ("raise RuntimeError('no luck\\nat all')", "broken: RuntimeError: no luck"),
        ("raise OSError('x' * 99)", "broken: OSError: " + "x" * 99),
        ("import no_such_part", "broken: ModuleNotFoundError: No module named"),
        ("float32 = 'float32'", "broken: AttributeError: module"),
    ],
)
def test_a_broken_library_is_reported_in_its_row(
    monkeypatch, tmp_path, truths, source, note
):
    report = errors.examine(planted(monkeypatch, tmp_path, source), truths)
    assert report.note.startswith(note)
    assert errors.fails(report)
    assert len(page.library_row(report)) <= 80


def test_a_library_with_nothing_to_run_on_is_no_failure(truths):
    def devices():
        raise libraries.NoDevice("installed, no GPU driver")

    report = errors.examine(libraries.LIBRARIES[0]._replace(devices=devices), truths)
    assert not errors.fails(report)
    assert page.library_row(report).endswith(" installed, no GPU driver")


def test_flushing_excuses_zeros_for_subnormal_numbers_alone():
    def worst(number, flushes):
        exact = Decimal(number)
        return errors.worst("float32", flushes, [0.0], [exact], [exact])

    assert worst("1e-39", flushes=False) > 1e5
    assert worst("2e-38", flushes=True) > 1e5
    assert worst("1e-39", flushes=True) == 0.0


def test_a_closed_pipe_ends_it_without_a_traceback():
    with subprocess.Popen(
        [sys.executable, "-m", "xploss"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


# ---- on a terminal -----------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("no_colour", "coloured"), [("", True), ("1", False)])
def test_colour_on_a_terminal_unless_refused(monkeypatch, no_colour, coloured):
    monkeypatch.setenv("NO_COLOR", no_colour)
    monkeypatch.setattr(sys, "stdout", Terminal())
    comparison.show_job()
    assert ("\x1b[31m" in sys.stdout.getvalue()) == coloured


@pytest.mark.parametrize(
    ("error", "text"),
    [(0.0, "0.00"), (0.5, "0.50"), (31.44, "31.4"), (9.1e15, "9e15"), (1e7, "1e7")],
)
def test_errors_in_four_characters(error, text):
    assert page.brief(error) == text


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_grid_is_of_numbers_of_every_dtype(dtype):
    digits, _ = FORMATS[dtype]
    numbers = np.array(libraries.pairs(dtype))
    significands, _ = np.frexp(numbers[np.isfinite(numbers)])
    assert np.all(significands * 2**digits % 1 == 0)
