"""Random loops and branches over arrays with several names: NumPy's result, or a refusal."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from gradc.control import branched, counted, repeated
from gradc.errors import GradcError
from tests.control.helpers import run

ARRAYS, NUMBERS = ("a", "b", "c"), ("s", "t")
NAMES = (*ARRAYS, *NUMBERS)


class Program:
    """A program in Python, whose statements are functions of a state, as they are rewritten."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.lines: list[str] = []
        self.fresh = 0

    def line(self, text: str, depth: int) -> None:
        self.lines.append("    " * depth + text)

    def number(self, i: str) -> str:
        pick = self.draw.choice
        return pick([
            "s", "t", "0.5", f"{i} * 0.25", f"{pick(ARRAYS)}[{i} % 3]", f"{pick(ARRAYS)}[1]",
            f"np.sin({pick(ARRAYS)}[2])", f"outer[{i} % 4]", f"view[{i} % 2]",
        ])

    def simple(self, depth: int, i: str) -> None:
        pick = self.draw.choice
        x, y = pick(ARRAYS), pick(ARRAYS)
        self.line(pick([
            f"{x}[{i} % 4] = {self.number(i)}",
            f"{x}[1:3] += {self.number(i)}",
            f"{x}[1:] = 0.5 * {y}[:-1]",
            f"{x} *= 0.75",
            f"{x} = {y} * 0.5 + {self.number(i)}",
            f"{x} = {y}.copy()",
            f"{x}, {y} = {y}, {x}",
            f"outer[{i} % 4] = {self.number(i)}",
            f"view[:] *= {self.number(i)} * 0.5",
            f"np.add(outer, {x}, out=outer)",
            f"s = s * 0.5 + {self.number(i)}",
            f"t = {self.number(i)}",
            f"row = {x}[{i} % 3:{i} % 3 + 2]; row += {self.number(i)}",
            f"np.add.at({x}, [0, 0, {i} % 4], {self.number(i)})",
            f"{x} = {y}" if self.draw.random() < 0.3 else "t = t + 1",
            f"{x} = outer[:]" if self.draw.random() < 0.3 else "s = s - t",
        ]), depth)

    def block(self, depth: int, i: str, level: int) -> None:
        for _ in range(self.draw.randint(1, 4)):
            if level and self.draw.random() < 0.3:
                self.nested(depth, i, level - 1)
            else:
                self.simple(depth, i)

    def function(self, depth: int, header: str, i: str, level: int) -> None:
        self.line(f"def {header}:", depth)
        self.line(f"{', '.join(NAMES)} = state", depth + 1)
        self.block(depth + 1, i, level)
        self.line(f"return {', '.join(NAMES)}", depth + 1)

    def nested(self, depth: int, i: str, level: int) -> None:
        self.fresh += 1
        k, state = self.fresh, f"({', '.join(NAMES)})"
        kind = self.draw.choice(["for", "for", "if", "while"])
        if kind == "for":
            self.function(depth, f"body{k}(i{k}, state)", f"i{k}", level)
            trips = self.draw.choice(["3", "9", "count"])
            call = f"counted({trips}, body{k}, {state}, NAMES, forced={self.draw.random() < 0.7})"
        elif kind == "if":
            self.function(depth, f"yes{k}(state)", i, level)
            self.function(depth, f"no{k}(state)", i, level)
            call = f"branched({self.number(i)} > 0.3, yes{k}, no{k}, {state}, NAMES)"
        else:
            self.line(f"clock{k} = np.zeros(1) + {self.number(i)} * 0", depth)
            self.line(f"def body{k}(state):", depth)
            self.line(f"{', '.join(NAMES)} = state", depth + 1)
            self.line(f"clock{k}[0] += 1", depth + 1)
            self.block(depth + 1, i, level)
            self.line(f"return {', '.join(NAMES)}", depth + 1)
            call = f"repeated(lambda state: clock{k}[0] < 3, body{k}, {state}, NAMES)"
        self.line(f"{', '.join(NAMES)} = {call}", depth)

    def source(self) -> str:
        self.line("def f(x, count):", 0)
        self.line("a, b, c, s, t = x * 1.0, x + 1.0, np.zeros(4), 0.5, x[0]", 1)
        self.line(f"outer = {self.draw.choice(['x * 2.0', 'np.ones(4)', 'c', 'a'])}", 1)
        self.line(f"view = {self.draw.choice(['outer', 'outer', 'b'])}[1:3]", 1)
        self.line("count = count[0]", 1)
        for _ in range(3):
            self.nested(1, "2", 2)
        self.line("return a, b, c, s, t, outer, view", 1)
        return "\n".join(self.lines)


X = np.array([0.5, -1.25, 0.75, 0.125])


@pytest.mark.parametrize("seed", range(150))
def test_random(seed: int) -> None:
    source = Program(seed).source()
    scope: dict[str, Any] = {
        "np": np, "counted": counted, "branched": branched, "repeated": repeated, "NAMES": NAMES,
    }
    exec(source, scope)
    with np.errstate(all="ignore"):
        wanted = scope["f"](X.copy(), np.array([4]))
    try:
        got = run(scope["f"], X, np.array([4]))
    except GradcError:
        return
    for name, a, b in zip((*NAMES, "outer", "view"), got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, err_msg=f"{name} of\n{source}")
