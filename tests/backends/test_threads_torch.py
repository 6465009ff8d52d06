"""PyTorch's own threads: the same bits, after a fork, at exit, interrupted."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from xploss import sigmoid_cross_entropy, value_and_grad
from xploss.backends import torch_private
from xploss.backends.compiled import INSTRUCTION_SETS

pytestmark = [
    pytest.mark.library("torch"),
    pytest.mark.skipif(not INSTRUCTION_SETS, reason="nothing is compiled here"),
]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="of PyTorch's OpenMP there")


@pytest.fixture(params=[True, False], ids=["team", "made for the call"])
def team(request, monkeypatch):
    """PyTorch's threads, or those that take their place."""
    if not request.param:
        monkeypatch.setattr(torch_private, "_TEAM", [0])
    before = torch.get_num_threads()
    yield request.param
    torch.set_num_threads(before)


@LINUX
def test_there_is_a_team():
    assert torch_private.team() != 0


def test_bits_do_not_depend_on_threads(team):
    x = torch.linspace(-9, 9, 1_000_003)
    seen = []
    for threads in (1, 2, 8):
        torch.set_num_threads(threads)
        leaf = x.clone().requires_grad_()
        sigmoid_cross_entropy(leaf, x, pos_weight=3.0).backward()
        value, gradient = value_and_grad(sigmoid_cross_entropy)(x, x)
        seen.append((float(value), gradient, leaf.grad))
    for value, gradient, slopes in seen[1:]:
        assert value == seen[0][0]
        assert torch.equal(gradient, seen[0][1])
        assert torch.equal(slopes, seen[0][2])


def test_in_threads_of_the_caller(team):
    torch.set_num_threads(2)
    x = torch.linspace(-9, 9, 300_000)
    with ThreadPoolExecutor(8) as pool:
        results = set(pool.map(lambda _: float(sigmoid_cross_entropy(x, x)), range(64)))
    assert len(results) == 1


LOSS = """
import os, signal, threading
import torch
from xploss import sigmoid_cross_entropy
from xploss.backends import torch_private
torch.set_num_threads(4)
x = torch.linspace(-9, 9, 1 << 20)
loss = lambda: float(sigmoid_cross_entropy(x, x))
torch.exp(x)  # PyTorch's threads are at work
"""


def run(script):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOSS + script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_after_a_fork():
    """GCC's OpenMP would wait in the child for threads that it does not have."""
    script = """
right = loss()
child = os.fork()
if not child:
    os._exit(0 if loss() == right and torch_private.team() == 0 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), loss() == right)
"""
    assert run(script) == ["0", "True"]


def test_at_exit():
    """A thread in the middle of a call is no reason to crash, or to wait.

    The call alone: PyTorch's own, `is_neg` and `item` among them, abort there.
    """
    script = """
import numpy as np
from xploss.backends.compiled import BEST, TYPES, plan_of
from xploss.formulas.sigmoid import CROSS_ENTROPY
x = torch.linspace(-9, 9, 1 << 24)
total, address = np.empty((), np.float32), x.data_ptr()
called_with = (
    plan_of(CROSS_ENTROPY.value, (x, x)), TYPES["float32"], x.numel(),
    (address, address), (), total.ctypes.data, float(x.numel()), 1.0, 4,
    torch_private.team(),
)
def over_and_over():
    while True:
        BEST.flat(*called_with)
right = loss()
threading.Thread(target=over_and_over, daemon=True).start()
BEST.flat(*called_with)
print(float(total) == right)
"""
    for _ in range(3):
        assert run(script) == ["True"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_is_seen_within_a_call():
    script = """
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored without
x = torch.ones(1).expand(1 << 34)  # minutes
print("now", flush=True)
try:
    loss()
except KeyboardInterrupt:
    print("interrupted")
"""
    with subprocess.Popen(
        [sys.executable, "-c", LOSS + script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "now\n"
        threading.Event().wait(1.0)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    assert said == "interrupted\n"
