"""Compiling takes work in proportion to the program, and leaves the collector as it was."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections import Counter
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.collector import AT_REST


def unrolled(steps: int) -> Any:
    def loss(x: Any) -> Any:
        for _ in range(steps):
            x = 0.5 * np.sin(x) + x * 0.25
        return np.sum(x)

    return loss


def normalised(steps: int) -> Any:
    """Every step is a pass of its own, which the rows of the one before feed."""

    def loss(x: Any) -> Any:
        total = 0.0
        for k in range(steps):
            x = np.exp(x - np.max(x)) * (k + 1.0)
            total = total + np.sum(np.sin(x))
        return total

    return loss


def logistic(steps: int) -> Any:
    """Every step is cheap to compute again from the one before."""

    def loss(x: Any) -> Any:
        for _ in range(steps):
            x = 1.5 * x - x * x
        return np.sum(x)

    return loss


def calls(loss: Any) -> Counter[CodeType]:
    """How often each function of Python's is called from trace to LLVM's text."""
    counted: Counter[CodeType] = Counter()

    def count(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            counted[frame.f_code] += 1

    compiled = gradc.compile(loss, rewrite=False)  # which unrolls all loops
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        compiled.ir(np.linspace(0.1, 1, 8), stage="llvm", grad=True)
    finally:
        sys.setprofile(before)
    return counted


@pytest.mark.parametrize(("program", "steps"), [
    (unrolled, 150), (normalised, 40), (logistic, 200),
])
def test_work_grows_with_the_length_of_the_program(program: Any, steps: int) -> None:
    calls(program(2))  # what is done once in a process
    some, many = calls(program(steps)), calls(program(4 * steps))
    assert 3 < many.total() / some.total() < 5
    much = {code.co_qualname: (some[code], n) for code, n in many.items()
            if n > 6 * some[code] + 1000}
    assert not much


@pytest.fixture
def collecting() -> Any:
    before = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if before else gc.disable)()


@pytest.mark.usefixtures("collecting")
def test_the_collector_rests_while_compiling_and_then_goes_on() -> None:
    seen = []

    @gradc.compile
    def square(x: Any) -> Any:
        seen.append(gc.isenabled())
        return x * x

    square(2.0)
    assert seen == [False]
    assert gc.isenabled()

    @gradc.compile
    def wrong(x: Any) -> Any:
        return x @ x

    with pytest.raises(ValueError):
        wrong(2.0)
    assert gc.isenabled()


@pytest.mark.usefixtures("collecting")
def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    gradc.compile(lambda x: x + 1)(2.0)
    assert not gc.isenabled()


@pytest.mark.usefixtures("collecting")
def test_the_collector_waits_for_the_last_thread() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with AT_REST, AT_REST:
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    with AT_REST:
        pass
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.usefixtures("collecting")
@pytest.mark.parametrize("forking_inside", [False, True])
def test_a_child_does_not_wait_for_threads_of_its_parent(forking_inside: bool) -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with AT_REST:
            inside.set()
            leave.wait()

    def child() -> int:
        if not forking_inside:
            return 0 if gc.isenabled() else 1
        resting = not gc.isenabled()
        AT_REST.__exit__()
        return 0 if resting and gc.isenabled() else 1

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    if forking_inside:
        AT_REST.__enter__()
    pid = os.fork()
    if pid == 0:
        status = 2
        try:
            status = child()
        finally:
            os._exit(status)
    if forking_inside:
        AT_REST.__exit__()
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert gc.isenabled()
