"""Test sessions, one per backend; versions come from pyproject.toml.

nox                     lint, every backend's tests, the agreement matrix
nox -t all              more draws, examples, pages, peers, training, scale, wheel,
                        benchmarks, the site, the oldest and the newest versions
nox -s "tests(torch)"   one backend; nox -s tensorflow, which wants its own environment
nox -s "fuzz(numpy)"    a million drawn calls, in an hour or two
nox -s "soak(jax)"      five minutes of calls, in which nothing may grow
nox -s cross            the extension by Clang, for other processors and systems
nox -s newest_libraries the newest of every library, whatever is pinned
nox -s gpu              on an NVIDIA GPU: times into backends.md, and the tests

Sessions that need no versions of their own share one environment, and run their tests
side by side.
"""

import hashlib
import os
import platform
import runpy
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.sessions = ["lint", "tests", "tensorflow", "matrix"]
nox.options.default_venv_backend = "venv"  # uv would fetch torch's CUDA build
nox.options.error_on_missing_interpreters = True

PROJECT = nox.project.load_toml("pyproject.toml")
LIBRARIES = list(runpy.run_path("tests/support/libraries.py")["LIBRARIES"])
BACKENDS = [name for name in LIBRARIES if name != "tensorflow"]
NEWEST = [b for b in BACKENDS if b != "cupy"] + [
    "compat"
]  # CuPy's host is of one version
CUPY_RUNS = (sys.platform, platform.machine()) == ("linux", "x86_64")
OPTIMISED = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off")
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror")
AVX512 = ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma")
SIDE_BY_SIDE = ("-n", "auto", "--dist", "worksteal")
# Of NumPy's variants the compiled one and the plain one: others are the same code.
AS_ELSEWHERE = ("-k", "not avx2 and not baseline and not read-only")
FILE_BY_FILE = ("-n", "auto", "--dist", "loadfile")  # a file's share processes
SUPPORT = {"PYTHONPATH": os.pathsep.join(("tests/support", "tests/reference"))}

# ---- environments --------------------------------------------------------------------


def install(session: nox.Session, *groups: str, package: str = ".") -> None:
    """Into an environment of the session's own."""
    requirements = nox.project.dependency_groups(PROJECT, *groups) if groups else ()
    session.install(package, *requirements)


@nox.session(reuse_venv=True)
def wheel(session: nox.Session) -> None:
    """The wheel of this machine, built from the source distribution, for the others."""
    session.install("build")
    of = built(session) / "sources"
    if of.exists() and of.read_text() == sources():
        session.log("that of these sources is there")
        return
    shutil.rmtree(built(session), ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(built(session)), ".")
    of.write_text(sources())


def sources() -> str:
    """What tells whether a wheel is of the sources that are here."""
    files = [Path("pyproject.toml"), Path("CMakeLists.txt"), Path("README.md")]
    files += sorted(
        p for p in Path("src").rglob("*") if p.suffix not in (".pyc", ".so")
    )
    texts = (path.read_bytes() for path in files if path.is_file())
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def built(session: nox.Session) -> Path:
    """Where the source distribution and its wheel are."""
    return Path(session.cache_dir).resolve().parent / "built"


def built_wheel(session: nox.Session) -> str:
    (path,) = built(session).glob("*.whl")
    return str(path)


@nox.session(reuse_venv=True, requires=["wheel"])
def environment(session: nox.Session) -> None:
    """What other sessions share: the package, and every backend as it is pinned."""
    backends = (b for b in BACKENDS if b != "cupy" or CUPY_RUNS)
    session.run("pip", "uninstall", "-q", "-y", "xploss")  # of the same version
    install(session, "lint", "test", *backends, package=built_wheel(session))


def shared(session: nox.Session, *groups: str) -> str:
    """The Python of the shared environment, in which these groups are as well."""
    folder = Path(session.cache_dir).resolve().parent / "environment"
    places = (folder / "bin" / "python", folder / "Scripts" / "python.exe")
    python = str(next(place for place in places if place.exists()))
    requirements = nox.project.dependency_groups(PROJECT, *groups) if groups else ()
    if requirements:
        session.run(python, "-m", "pip", "install", "-q", *requirements, external=True)
    return python


def run(session: nox.Session, python: str, *command: str, **env: str) -> None:
    session.run(python, "-m", *command, external=True, env=env)


SHARING = {"venv_backend": "none", "requires": ["environment"]}

# ---- sessions ------------------------------------------------------------------------


def skip_cupy(session: nox.Session, backend: str) -> None:
    if backend == "cupy" and not CUPY_RUNS:
        session.skip(
            "without a GPU the CuPy wheel runs on 64-bit x86 Linux only, and "
            f"{sys.platform} {platform.machine()} has none or cannot run it"
        )


def matrix_folder(session: nox.Session) -> Path:
    """Where the tests leave what the matrix is made of."""
    return Path(session.cache_dir).resolve() / "matrix"


@nox.session(**SHARING)
def lint(session: nox.Session) -> None:
    """Style, and types in strict mode."""
    python = shared(session)
    run(session, python, "ruff", "check", ".")
    run(session, python, "ruff", "format", "--check", ".")
    run(session, python, "mypy")


@nox.session(**SHARING)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def tests(session: nox.Session, backend: str) -> None:
    """The tests on one backend; they fail if it is missing.

    What the hostile variants do in every dtype, and most draws, are in `thorough`.
    """
    skip_cupy(session, backend)
    report = matrix_folder(session) / f"{backend}.json"
    report.unlink(missing_ok=True)
    options = [f"--backend={backend}", "--part=first", f"--matrix={report}"]
    options += [*SIDE_BY_SIDE, *session.posargs]
    run(session, shared(session), "pytest", *options)


@nox.session(**SHARING, tags=["all"])
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def thorough(session: nox.Session, backend: str) -> None:
    """What `tests` leaves out on one backend, and other draws."""
    skip_cupy(session, backend)
    options = [f"--backend={backend}", "--part=rest", *SIDE_BY_SIDE, *session.posargs]
    run(session, shared(session), "pytest", *options)


@nox.session(**SHARING)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def fuzz(session: nox.Session, backend: str) -> None:
    """A million drawn calls on NumPy, others each time; fewer on slower libraries."""
    skip_cupy(session, backend)
    options = [f"--backend={backend}", "--hypothesis-profile=long", *session.posargs]
    files = ("tests/families/test_fuzzing.py", "tests/families/test_fuzzing_rows.py")
    run(session, shared(session), "pytest", *files, *options)


@nox.session(**SHARING)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def soak(session: nox.Session, backend: str) -> None:
    """Five minutes of mixed calls on one backend: nothing may grow."""
    skip_cupy(session, backend)
    command = [shared(session), "tests/support/soak.py", f"--backend={backend}"]
    session.run(*command, *session.posargs, external=True, env=SUPPORT)


@nox.session(**SHARING)
def matrix(session: nox.Session) -> None:
    """Every backend against NumPy and the exact values; `-- --write` records it."""
    folder = str(matrix_folder(session))
    skipped = [] if CUPY_RUNS else ["--without=cupy"]
    command = [shared(session), "tests/support/matrix.py", folder, *skipped]
    session.run(*command, *session.posargs, external=True)


@nox.session(requires=["wheel"])
@nox.parametrize(
    "python", [nox.param("3.12", id="3.12"), nox.param("3.13", id="3.13", tags=["all"])]
)
def newest(session: nox.Session) -> None:
    """The NumPy core on newer Pythons, with the newest NumPy; -t all has the last."""
    install(session, "test", package=built_wheel(session))
    options = ["--backend=numpy", "--part=first", *AS_ELSEWHERE, *SIDE_BY_SIDE]
    session.run("pytest", *options)


@nox.session
@nox.parametrize("group", NEWEST, ids=NEWEST)
def newest_libraries(session: nox.Session, group: str) -> None:
    """The tests on the newest of every library: what is to come, and no verdict."""
    pinned = nox.project.dependency_groups(PROJECT, "test", group)
    unpinned = [requirement.partition("==")[0] for requirement in pinned]
    session.install(".", "--upgrade", *unpinned)
    session.run("python", "-m", "pip", "list")
    if group == "compat":
        names = ("torch", "optax", "sklearn", "keras")
        tests = [f"tests/compat/parity/test_{name}.py" for name in names]
        session.run("pytest", *tests, *session.posargs, env={"KERAS_BACKEND": "jax"})
    else:
        session.run("pytest", f"--backend={group}", *session.posargs)


@nox.session(python="3.13t")
def free_threaded(session: nox.Session) -> None:
    """Threads, and the NumPy core, on a Python without its global lock."""
    install(session, "numpy")
    session.install("pytest>=9", "mpmath>=1.3")  # the rest has no such wheels
    names = [
        f"tests/families/test_{name}.py" for name in ("faults", "options", "exactness")
    ]
    session.run("pytest", "--backend=numpy", *names, env={"PYTHON_GIL": "0"})


@nox.session(python="3.11", requires=["wheel"])
@nox.parametrize(
    "backend",
    [
        nox.param("numpy", id="numpy", tags=["all"]),
        nox.param("torch", id="torch"),  # 5 GB: that old, there is none without CUDA
        nox.param("jax", id="jax"),  # 3 minutes of a processor
        nox.param("dask", id="dask"),
    ],
)
def oldest(session: nox.Session, backend: str) -> None:
    """The tests of a backend on the lowest versions that pyproject.toml allows."""
    project = PROJECT["project"]
    extra = project["optional-dependencies"].get(backend, [])
    lowest = [r.replace(">=", "==") for r in [*project["dependencies"], *extra]]
    tools = nox.project.dependency_groups(PROJECT, "test")
    session.install(built_wheel(session), *lowest, *tools)
    options = [f"--backend={backend}", "--part=first", *AS_ELSEWHERE, *SIDE_BY_SIDE]
    session.run("pytest", *options, *session.posargs)


@nox.session(**SHARING, tags=["all"])
def examples(session: nox.Session) -> None:
    """Examples, `python -m xploss`, wrong calls, types: with every backend there."""
    python = shared(session, "types", "parquet")
    run(session, python, "xploss")
    for name in ("replicas", "breast_cancer", "digits"):
        session.run(python, f"examples/{name}.py", external=True)
    names = [f"tests/pages/test_{name}.py" for name in ("examples", "main", "score")]
    run(session, python, "pytest", "--backend=numpy", *names)
    options = ["--backend=numpy", "tests/pages/errors", *session.posargs]
    run(session, python, "pytest", *options)
    # Without the settings for our own sources, which skip the libraries.
    users = ("tests/house/typed_user.py", "tests/house/wrongly_typed_user.py")
    run(session, python, "mypy", "--config-file=", "--strict", *users)
    # It would rather take a .venv that stands beside pyproject.toml.
    checker = ("basedpyright", "--project=pyproject.toml", f"--pythonpath={python}")
    run(session, python, *checker)


@nox.session(**SHARING, tags=["all"])
def compat(session: nox.Session) -> None:
    """Other libraries' losses beside ours by their names, on each Keras backend."""
    python, folder = shared(session, "compat"), "tests/compat/parity"
    peers = [f"{folder}/test_{name}.py" for name in ("torch", "optax", "sklearn")]
    run(session, python, "pytest", *peers, *SIDE_BY_SIDE, *session.posargs)
    moving = [f"{folder}/test_moving.py", "-k", "not TensorFlow", *session.posargs]
    run(session, python, "pytest", *moving, KERAS_BACKEND="jax")
    for backend in ("jax", "torch", "numpy"):
        options = [f"{folder}/test_keras.py", *SIDE_BY_SIDE, *session.posargs]
        run(session, python, "pytest", *options, KERAS_BACKEND=backend)


@nox.session(requires=["wheel"])
def tensorflow(session: nox.Session) -> None:
    """The tests on TensorFlow, in an environment of its own."""
    install(session, "test", "tensorflow", package=built_wheel(session))
    report = matrix_folder(session) / "tensorflow.json"
    report.unlink(missing_ok=True)
    options = ["--backend=tensorflow", "--part=first", f"--matrix={report}"]
    session.run("pytest", *options, *SIDE_BY_SIDE, *session.posargs)


@nox.session(requires=["wheel"], tags=["all"])
def thorough_tensorflow(session: nox.Session) -> None:
    """What `tensorflow` leaves out; its losses and Keras' beside ours; training."""
    install(session, "test", "tensorflow", package=built_wheel(session))
    options = ["--backend=tensorflow", "--part=rest", *SIDE_BY_SIDE, *session.posargs]
    session.run("pytest", *options)
    folder, own = "tests/compat/parity", {"KERAS_BACKEND": "tensorflow"}
    peers = [f"{folder}/test_{name}.py" for name in ("tensorflow", "keras")]
    session.run("pytest", *peers, *SIDE_BY_SIDE, *session.posargs, env=own)
    moving = [f"{folder}/test_moving.py", "-k", "TensorFlow", *session.posargs]
    session.run("pytest", *moving, env=own)
    used = [f"tests/integrations/test_{n}.py" for n in ("keras", "tensors_tensorflow")]
    session.run("pytest", *used, *session.posargs, env=own)


@nox.session(**SHARING, tags=["all"])
def onnx(session: nox.Session) -> None:
    """Every public function exported by PyTorch, and run by onnxruntime."""
    options = ["tests/backends/exported", *SIDE_BY_SIDE, *session.posargs]
    run(session, shared(session, "onnx"), "pytest", *options)


@nox.session(**SHARING, tags=["all"])
def nvrtc(session: nox.Session) -> None:
    """Every kernel's text by NVIDIA's own compiler, for four generations of GPUs."""
    if not CUPY_RUNS:
        session.skip("its wheel is of x86 Linux")
    options = ["tests/backends/device", *SIDE_BY_SIDE, *session.posargs]
    run(session, shared(session, "nvrtc"), "pytest", *options)


@nox.session(**SHARING, tags=["all"])
def integrations(session: nox.Session) -> None:
    """Real training: PyTorch, Flax, Keras, scikit-learn, XGBoost, LightGBM."""
    python, keras = shared(session, "integrations"), "tests/integrations/test_keras.py"
    options = ["tests/integrations", f"--ignore={keras}", *session.posargs]
    run(session, python, "pytest", *options)
    for backend in ("jax", "torch"):
        run(session, python, "pytest", keras, *session.posargs, KERAS_BACKEND=backend)


@nox.session(**SHARING, tags=["all"])
def scale(session: nox.Session) -> None:
    """Clusters, sharded arrays, several processes, arrays larger than memory."""
    options = ["tests/scale", *FILE_BY_FILE, *session.posargs]
    run(session, shared(session, "scale"), "pytest", *options)


@nox.session(**SHARING, tags=["all"])
def docs(session: nox.Session) -> None:
    """Every example in the README, on the site's pages and in the docstrings."""
    # They have no example, and import CuPy, TensorFlow and Keras.
    names = ("backends/cupy", "backends/tensorflow", "compat/keras/_module")
    options = ["--doctest-modules", "--doctest-glob=*.md"]
    options += [f"--ignore=src/xploss/{name}.py" for name in names]
    pages = ("README.md", *map(str, Path("docs").glob("*.md")))
    run(session, shared(session), "pytest", *options, "src/xploss", *pages)


@nox.session(requires=["wheel"], tags=["all"])
def site(session: nox.Session) -> None:
    """The pages of docs/ as a site, into build/site; a warning fails."""
    install(session, "site", package=built_wheel(session))
    strict = ("-W", "--keep-going", "-n", "-E")
    session.run("sphinx-build", *strict, "docs", "build/site", *session.posargs)


@nox.session(tags=["all"], requires=["wheel"])
def build(session: nox.Session) -> None:
    """The wheel, of a compiler's making, by tests of its source distribution.

    It is the one that all sessions have, whose tests are those of the repository.
    What an index would show of the two is checked as well.
    """
    (path,), (source,) = (
        built(session).glob(kind) for kind in ("*-cp311-abi3-*.whl", "*.tar.gz")
    )
    install(session, "test", "numpy", package=str(path))
    session.install("twine==7.0.0")
    session.run("twine", "check", "--strict", str(path), str(source))
    out = Path(session.create_tmp()).resolve()
    shutil.rmtree(out)
    shutil.unpack_archive(source, out)
    with session.chdir(out / source.name.removesuffix(".tar.gz")):
        shutil.rmtree("src")  # what is imported is what is installed
        names = ("tests/house", "tests/backends")
        session.run("pytest", "--backend=numpy", "--part=first", *names, *SIDE_BY_SIDE)


@nox.session(tags=["all"])
def without_compiler(session: nox.Session) -> None:
    """Installed where no C compiler is: it succeeds, says so, and all tests pass."""
    requirements = nox.project.dependency_groups(PROJECT, "test", "numpy")
    session.install(".", *requirements, env={"CC": "no-such-compiler"})
    said = session.run("python", "-m", "xploss", silent=True)
    if "not compiled here" not in str(said):
        session.error("it was compiled, or does not say that it was not")
    session.run("pytest", "--backend=numpy", "--part=first", *SIDE_BY_SIDE)


@nox.session
def cross(session: nox.Session) -> None:
    """The extension's C by Clang, for the processors and systems of the wheels."""
    session.install("ziglang==0.17.1")
    out = Path(session.create_tmp()).resolve()
    folder = "src/xploss/kernels"
    session.run("python", f"{folder}/write.py", str(out))
    x86 = {"avx2": ("-mavx2", "-mfma"), "avx512": AVX512, "baseline": ()}
    for target, sets in {
        "x86_64-linux-musl": x86,
        "x86_64-macos": x86,
        "x86_64-windows-gnu": {"baseline": ()},
        "aarch64-linux-gnu": {"baseline": ()},
        "aarch64-macos": {"baseline": ()},
    }.items():
        compiler = ("python", "-m", "ziglang", "cc", "-target", target, *WARNINGS)
        for name, options in sets.items():
            macro, where = f"-DLOOPS=loops_{name}", str(out / f"{target}-{name}.o")
            sources = ("-I", str(out), f"{folder}/host/loops.c", "-o", where)
            session.run(*compiler, *OPTIMISED, *options, macro, "-c", *sources)
        for name in ("evaluate", "rows", "tasks"):
            where = str(out / f"{target}-{name}.o")
            sources = (f"{folder}/host/{name}.c", "-o", where)
            session.run(*compiler, "-O2", "-c", *sources)


@nox.session(**SHARING, tags=["all"])
def bench(session: nox.Session) -> None:
    """Peers, and what one would write by hand, beside ours; small arrays of them all.

    `nox -s bench -- --whole` has large ones, in half an hour.
    """
    python = shared(session, "compat", "bench")
    for name in ("bench", "host", "rows"):
        session.run(python, f"benchmarks/{name}.py", *session.posargs, external=True)


@nox.session(requires=["wheel"])
def bench_tensorflow(session: nox.Session) -> None:
    """TensorFlow's losses and ours on its own tensors."""
    install(session, "tensorflow", package=built_wheel(session))
    own = {"KERAS_BACKEND": "tensorflow"}
    session.run("python", "benchmarks/tensorflow_tensors.py", env=own)


@nox.session
def errors_of_tensorflow(session: nox.Session) -> None:
    """TensorFlow's part of the figure of errors, which wants its own environment."""
    install(session, "tensorflow")
    session.run("python", "benchmarks/errors.py", "measure", "tensorflow")


@nox.session(requires=["errors_of_tensorflow"])
def figures(session: nox.Session) -> None:
    """The figures of errors, speed and boosting: what is drawn is measured anew."""
    install(session, "integrations", "bench")
    peers = ("textbook", "keras", "torch", "optax", "xploss")
    run = "benchmarks/errors.py"
    session.run("python", run, "measure", *peers, env={"KERAS_BACKEND": "jax"})
    session.run("python", run, "draw", "docs")
    session.run("python", "benchmarks/boosting.py", "docs/boosting.svg")
    session.run("python", "benchmarks/bench.py", "--whole")


@nox.session
def gpu(session: nox.Session) -> None:
    """Every backend's tests on an NVIDIA GPU, and its times there, into backends.md.

    Installs CUDA's wheels of PyTorch, JAX and CuPy: 8 GB.  The part of the tests that
    plain `nox` runs takes 8 minutes at most.
    """
    install(session, "test", "gpu")
    whole = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # which JAX would else take
    session.run("python", "benchmarks/gpu.py", "--write", env=whole)
    backends = [f"--backend={name}" for name in ("torch", "jax", "cupy")]
    options = ["--part=first", *backends, "-n", "8", "--dist", "worksteal"]
    session.run("pytest", *options, *session.posargs, env=whole)
