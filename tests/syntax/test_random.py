"""Random programs: rewritten, they do what Python does, on plain numbers and on hidden ones."""

from __future__ import annotations

import importlib.util
import random

import pytest

from gradc.syntax.convert import call
from tests.syntax.standin import Hidden, hidden, reveal  # noqa: F401

NAMES = ("a", "b", "c", "d")


class Program:
    """A function of two numbers, as text: every loop in it ends."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.lines = ["def program(x, y):", "    a = x", "    b = y", "    c = 0", "    d = 1"]
        self.loops = 0
        self.fuel = 14

    def text(self):
        self.block(1, loop=False)
        result = self.random.choice(["a", "b", "a + b", "c - d", "(a, b, c, d)"])
        if self.random.random() < 0.8:
            self.lines = [line.replace("RESULT", result) for line in self.lines]
            self.lines.append(f"    return {result}")
        else:  # ends without a value, everywhere
            self.lines = [line.replace("return RESULT", "return") for line in self.lines]
        return "\n".join(self.lines) + "\n"

    def emit(self, depth, text):
        self.lines.append("    " * depth + text)

    def number(self):
        r = self.random
        return r.choice([
            r.choice(NAMES), str(r.randint(-2, 4)),
            f"{r.choice(NAMES)} {r.choice('+-')} {r.choice((*NAMES, '1', '2'))}",
            f"({r.choice(NAMES)} * 2 + 1) % 7",
            f"({r.choice(NAMES)} if {r.choice(NAMES)} > {r.randint(-2, 4)} else {r.randint(0, 3)})",
            f"max({r.choice(NAMES)}, {r.choice(NAMES)})",
        ])

    def test(self):
        r = self.random
        simple = f"{r.choice(NAMES)} {r.choice(['<', '>', '==', '<=', '!='])} {r.randint(-2, 5)}"
        other = f"{r.choice(NAMES)} % {r.randint(2, 3)} == 0"
        return r.choice([
            simple, other, f"{simple} and {other}", f"not ({simple})", f"{simple} or {other}",
            f"{r.randint(-2, 0)} < {r.choice(NAMES)} <= {r.randint(0, 5)}", r.choice(NAMES),
            f"x > {r.randint(0, 3)}", f"not {r.choice(NAMES)} or {simple} and {other}",
        ])

    def block(self, depth, loop):
        for _ in range(self.random.randint(1, 4)):
            self.statement(depth, loop)
            if self.fuel <= 0:
                break

    def statement(self, depth, loop):
        r = self.random
        self.fuel -= 1
        kinds = ["assign", "augment"]
        if depth < 5 and self.fuel > 0:
            kinds += ["if"] * 4 + ["for", "for", "while", "forever", "over", "inner"]
        if depth > 1:
            kinds += ["return"]
        if loop:
            kinds += ["break", "continue"]
        kind = r.choice(kinds)
        if kind == "assign":
            self.emit(depth, f"{r.choice(NAMES)} = {self.number()}")
        elif kind == "augment":
            self.emit(depth, f"{r.choice(NAMES)} {r.choice('+-')}= {self.number()}")
        elif kind == "inner":
            k = self.loops = self.loops + 1
            self.emit(depth, f"def inner{k}(v):")
            self.emit(depth + 1, "nonlocal c")
            self.emit(depth + 1, f"if v > {r.randint(0, 3)}:")
            self.emit(depth + 2, "c = c + v % 3")
            self.emit(depth + 2, "return v - 1")
            self.emit(depth + 1, "return v + d")
            self.emit(depth, f"{r.choice('abd')} = inner{k}({r.choice(NAMES)})")
        elif kind == "if":
            self.emit(depth, f"if {self.test()}:")
            self.block(depth + 1, loop)
            if r.random() < 0.3:
                self.emit(depth, f"elif {self.test()}:")
                self.block(depth + 1, loop)
            if r.random() < 0.5:
                self.emit(depth, "else:")
                self.block(depth + 1, loop)
        elif kind in ("for", "over"):
            k = self.loops = self.loops + 1
            bound = r.choice(["y % 4", "x % 3 + 1", "abs(a) % 4", "3", "18"])
            over = r.choice([f"range({bound})", f"range(1, {bound})", f"reversed(range({bound}))"])
            if kind == "over":
                over = r.choice(["(a, b)", "[1, c]", "zip(range(4), [a, 2])"])
            target = f"i{k}, b" if over.startswith("zip") else f"i{k}"
            self.emit(depth, f"for {target} in {over}:")
            self.emit(depth + 1, f"d = (d + i{k}) % 50")
            self.block(depth + 1, True)
            self.otherwise(depth, loop)
        elif kind in ("while", "forever"):
            k = self.loops = self.loops + 1
            self.emit(depth, f"t{k} = 0")
            if kind == "while":
                self.emit(depth, f"while t{k} < y % 5 and ({self.test()}):")
                self.emit(depth + 1, f"t{k} += 1")
            else:
                self.emit(depth, "while True:")
                self.emit(depth + 1, f"t{k} += 1")
                self.emit(depth + 1, f"if t{k} > {r.choice(['y % 4', 'x', '2'])}:")
                self.emit(depth + 2, "break")
            self.block(depth + 1, True)
            self.otherwise(depth, loop)
        elif kind == "return":
            self.emit(depth, "return RESULT")
        else:
            self.emit(depth, kind)

    def otherwise(self, depth, loop):
        if self.random.random() < 0.3:
            self.emit(depth, "else:")
            self.block(depth + 1, loop)


def load(text, path):
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.program


@pytest.mark.parametrize("first", range(0, 240, 20))
def test_random_programs(first, tmp_path, hidden):  # noqa: F811
    for seed in range(first, first + 20):
        text = Program(seed).text()
        program = load(text, tmp_path / f"program{seed}.py")
        for x, y in ((0, 0), (1, 2), (3, 7), (-2, 5)):
            expected = program(x, y)
            note = f"seed {seed}, {x, y}\n{text}"
            assert call(program)(x, y) == expected, note
            assert reveal(call(program)(Hidden(x), Hidden(y))) == expected, note
            assert reveal(call(program)(x, Hidden(y))) == expected, note
