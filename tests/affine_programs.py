"""Random loops over elements of vectors and a matrix, at places linear in the loops' indices.

Python's source, so that the same program runs by Python, by the interpreter and compiled. Every
operation is exact in IEEE's sense (no transcendentals): all three give the same bits.
"""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import numpy as np

#: elements of the vectors, and of the matrix's axes
LENGTH, ROWS, COLUMNS = 24, 17, 19
VECTORS = ("a", "b", "c")

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class _Source:
    """A function ``f(a, b, c, m, n)``; n is at most 16."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.lines = [f"def f{seed}(a, b, c, m, n):",
                      "    a, b, c, m, s = a.copy(), b.copy(), c.copy(), m.copy(), 0.5"]
        for _ in range(self.draw.randint(1, 3)):
            self.loop(1, [])
        self.lines.append("    return a, b, c, m, s")

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def loop(self, depth: int, outer: list[str]) -> None:
        """A loop with statements, or with a loop among them."""
        index = "ijk"[depth - 1]
        bounds = ["n", "1, n", "n - 1", "n - 1, -1, -1", "2, n + 1", "0, n, 2", "12", "n - 2, 3"]
        bounds += [f"{o}" for o in outer] + [f"{o} + 1, n" for o in outer]
        bounds += [f"{o}, -1, -1" for o in outer]
        self.line(depth, f"for {index} in range({self.draw.choice(bounds)}):")
        inside = [*outer, index]
        nested = depth < 3 and self.draw.random() < (0.8, 0.5)[depth - 1]
        for _ in range(self.draw.randint(1 - nested, 4 - depth)):
            self.statement(depth + 1, inside)
        if nested:
            self.loop(depth + 1, inside)
            for _ in range(self.draw.randint(0, 1)):
                self.statement(depth + 1, inside)

    def place(self, inside: list[str]) -> str:
        """A place of a vector."""
        i, *others = inside[::-1]
        places = [i, i, i, f"{i} + 1", f"{i} - 1", f"{i} + 3", f"n - 1 - {i}", f"{i} + {i}", "3",
                  f"n - {i}"]
        for o in others:
            places += [o, f"{o} + {i}", f"{o} - {i}", f"{o} - 1 - {i}"]
        found = self.draw.choice(places)
        return f"({found}) % 20" if found.count("i") + found.count("j") > 1 else found

    def element(self, inside: list[str]) -> str:
        """An element of a vector or the matrix."""
        if self.draw.random() < 0.7:
            return f"{self.draw.choice(VECTORS)}[{self.place(inside)}]"
        i, other = inside[-1], self.draw.choice(inside)
        places = [(i, other), (other, i), (other, i), (i, i), (f"{i} - 1", other), (other, "2"),
                  (f"{other} - 1", f"{i} + 1"), (f"n - 1 - {i}", other), ("0", i)]
        return "m[{}, {}]".format(*self.draw.choice(places))

    def term(self, inside: list[str]) -> str:
        """What is added: the sizes of its parts are at most the size of what is read."""
        x, y = self.element(inside), self.element(inside)
        return self.draw.choice([
            f"0.5 * {x}", f"0.25 * ({x} - {y})", f"{x} * {y} * 0.125", f"0.5 / (2 + {x} * {x})",
            "0.5 * s", f"np.sqrt(abs({x})) * 0.25", f"np.minimum({x}, {y}) * 0.5", "0.25", "0.0",
            f"np.where({x} > 0.5, {y}, 0.25) * 0.5", f"s * {x} * 0.125",
        ])

    def statement(self, depth: int, inside: list[str]) -> None:
        """A write of an element, or of the scalar."""
        x, t = self.element(inside), self.term(inside)
        self.line(depth, self.draw.choice([
            f"{x} = {t}", f"{x} = {t} + {self.term(inside)}", f"{x} = 0.5 * {x} + {t}",
            f"{x} -= {t}", f"{x} += {t}", f"{x} -= 0.25 * {x}",
            f"s = 0.5 * s + {t}", f"s += {t}", f"s = np.maximum(s, {t})",
        ]))


def source(seed: int) -> str:
    """The function ``f<seed>``, with ranges that stay loops."""
    text = "\n".join(_Source(seed).lines)
    return text.replace("range(", "gradc.range(")


def load(seeds: range, path: Path) -> ModuleType:
    """A module of the functions of seeds, written to a file: what is compiled must have one."""
    texts = ["import gradc", "import numpy as np", *map(source, seeds)]
    path.write_text("\n\n\n".join(texts) + "\n")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(seed: int) -> tuple[Array, Array, Array, Array, int]:
    """Arguments for the function of a seed."""
    rng = np.random.default_rng(seed)
    vectors = rng.uniform(0.25, 1.0, (3, LENGTH))
    return *vectors, rng.uniform(0.25, 1.0, (ROWS, COLUMNS)), int(rng.integers(0, 17))  # type: ignore[return-value]
