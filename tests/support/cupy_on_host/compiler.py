"""What g++ builds: the host runtime, and the kernels whose CUDA C++ CuPy generates."""

import hashlib
import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile

HERE = pathlib.Path(__file__).parent
HEADER = HERE / "include" / "cuda_on_host.h"
SOURCES = [HERE / "runtime.cc", HERE / "grid.cc"]
FLAGS = [
    "-O1",
    "-std=c++17",
    "-fPIC",
    "-w",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-U_FORTIFY_SOURCE",  # some systems' default, and forbids grid.cc's jumps
]
KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(\w+)')
# The size of this memory is known at launch only, so its array becomes a pointer.
DYNAMIC = re.compile(r"extern\s+__shared__\s+([^;\[]+?)\s*\b(\w+)\s*\[\s*\]\s*;")


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def gxx_version() -> str:
    if shutil.which("g++") is None:
        raise RuntimeError("CuPy on the host needs g++, which is not on the PATH")
    return subprocess.check_output(["g++", "--version"], text=True)


def python_headers() -> pathlib.Path:
    folder = pathlib.Path(sysconfig.get_path("include"))
    if not (folder / "Python.h").exists():
        raise RuntimeError(f"CuPy on the host needs Python's headers; none in {folder}")
    return folder


def cupy_headers() -> list[pathlib.Path]:
    """CuPy's own, and those of CUDA's that come with it; found without importing it."""
    cupy = pathlib.Path(importlib.util.find_spec("cupy").origin).parent
    include = cupy / "_core" / "include"
    bundled = include / "cupy" / "_cccl"
    return [include, bundled / "thrust", bundled / "libcudacxx"]


class Compiler:
    """Keeps what it builds in a folder of the cache for this g++, Python and CuPy."""

    def __init__(self, cache: pathlib.Path, version: str) -> None:
        includes = [HEADER.parent, python_headers(), *cupy_headers()]
        texts = [p.read_text() for p in (*SOURCES, *sorted(HEADER.parent.iterdir()))]
        environment = [gxx_version(), sys.version, version, str(includes)]
        self.folder = cache / digest(*texts, *FLAGS, *environment)
        self.folder.mkdir(parents=True, exist_ok=True)
        includes.insert(0, self.folder)
        self.command = ["g++", *FLAGS, *(f"-I{folder}" for folder in includes)]

    def build(self, name: str, *arguments: object, text: str | None = None):
        """Builds a file whole or not at all: another process may build the same."""
        target = self.folder / name
        if target.exists():
            return target
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            output = pathlib.Path(scratch, name)
            command = [*self.command, *arguments, "-o", output]
            run = subprocess.run(command, input=text, capture_output=True, text=True)
            if run.returncode:
                raise RuntimeError(f"CuPy on the host: g++ failed\n{run.stderr}")
            output.replace(target)
        return target

    def build_runtime(self) -> pathlib.Path:
        # Behind the precompiled header a kernel takes half the time.
        self.build(f"{HEADER.name}.gch", "-x", "c++-header", HEADER)
        return self.build("runtime.so", "-shared", "-fvisibility=default", *SOURCES)

    def build_kernels(self, source: str, options: list[str]) -> pathlib.Path:
        text = DYNAMIC.sub(r"\1* \2 = (\1*)dynamic_shared_memory;", source)
        for name in dict.fromkeys(KERNEL.findall(source)):
            text += f"\nLAUNCHABLE({name})"
        name = f"{digest(text, *options)}.so"
        header = ["-include", HEADER.name]
        return self.build(name, "-shared", *options, *header, "-xc++", "-", text=text)

    def compile_module(self, source, options=(), *, name_expressions=None, **unused):
        """Stands for cupy.cuda.compiler._compile_module_with_cache."""
        from cupy.cuda.function import Module

        if name_expressions:
            raise NotImplementedError("CuPy on the host has no name expressions")
        options = [o for o in options if o.startswith(("-D", "-I"))]
        module = Module()
        module.load(bytes(self.build_kernels(source, options)))
        return module
