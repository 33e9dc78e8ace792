"""The reader of dumps: the inverse of ``text.dump``."""

from __future__ import annotations

import ast
import base64
import json
import re
from types import MappingProxyType
from typing import Any

import numpy as np

from gradc.ir.graph import PRIMAL, Builder, Graph, Loc, Node, Role, Value
from gradc.ir.ops import REGISTRY, const
from gradc.ir.text import DEFAULTS, LITERAL, PLAIN_NAME, ParseError, read_literal, scalar
from gradc.ir.types import LONG, TensorType, parse_type

_NAME = re.compile(rf"""(?:%\d+|{PLAIN_NAME.pattern}|"(?:\\.|[^"\\])*")'*""")
_ONE_TYPE = r"(?:bool|[iuf]\d+)\[[\d,?]*\]~?"
_TYPE = re.compile(rf"{_ONE_TYPE}|\((?:{_ONE_TYPE}(?:, )?)*\)")
_REGION = re.compile(r"    (\w+)(\[\d+\])? = (graph .*)")
_ATTRS = re.compile(r"""\{((?:[^'"}]|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")*)\}""")
_GRAPH = re.compile(r'"(?:\\.|[^"\\])*"|[^\s(]+')
_OP = re.compile(r"(\w+)(?:!(\d+))?")
_ARRAY = re.compile(r"data\d+|arange\([^)]*\)|\[[^:#]*\]|true|false|[+-]?[\w.+-]+")
_LOC = re.compile(r"""([^\s,:#]+):(\d+)(?: in ("(?:\\.|[^"\\])*"|[^\s,]+))?""")


class Reader:
    """Reads one graph. Lines are read in order; constants are made where they are first used.

    ``files`` are short names of files that stand further out.
    """

    def __init__(self, text: str, files: dict[str, str] | None = None) -> None:
        self.lines = text.splitlines()
        self.number = 0
        self.line = ""
        self.at = 0
        self.known: dict[str, Value] = {}
        self.derivative_of: list[tuple[int, str]] = []
        self.sections: dict[str, dict[str, str]] = {"data": {}, "files": files or {}}
        self.builder = Builder()

    def graph(self) -> Graph:
        """Read it. Raises ParseError with the line that cannot be read."""
        self._inner()
        self._tail()
        if not self.lines or not self.lines[0].startswith("graph "):
            raise ParseError("a dump starts with 'graph'")
        outputs = self._header()
        role = PRIMAL
        for number, line in enumerate(self.lines[1:], 1):
            self._start(number, line)
            if line.strip().startswith("-- "):
                kind, _, order = line.strip()[3:].partition(" ")
                role = PRIMAL if kind == "primal" else Role(kind, int(order or 1))
            elif line.strip():
                self._equation(role)
        for id_, name in self.derivative_of:
            self._replace(id_, name)
        self._start(0, self.lines[0])
        self.builder.inputs = [self.known[name].id for name in self.inputs]
        return self.builder.build([self._operand_named(name) for name in outputs])

    # -- scanning

    def _start(self, number: int, line: str) -> None:
        self.number, self.line, self.at = number, line, len(line) - len(line.lstrip())

    def _fail(self, problem: str) -> ParseError:
        return ParseError(f"line {self.number + 1}, column {self.at + 1}: {problem}: {self.line}")

    def _match(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        match = pattern.match(self.line, self.at)
        if match is None:
            raise self._fail(f"expected {what}")
        self.at = match.end()
        return match

    def _skip(self, text: str) -> bool:
        """Go past ``text`` and the blanks around it, if it stands here."""
        rest = len(self.line) - len(self.line[self.at :].lstrip())
        if not self.line.startswith(text, rest):
            return False
        self.at = rest + len(text)
        self.at += len(self.line[self.at :]) - len(self.line[self.at :].lstrip())
        return True

    def _expect(self, text: str) -> None:
        if not self._skip(text):
            raise self._fail(f"expected {text!r}")

    # -- the parts

    def _inner(self) -> None:
        """Take the regions out of the lines, each set to the line of its node."""
        self.regions: dict[int, list[tuple[str, bool, list[str]]]] = {}
        outer: list[str] = []
        for line in self.lines:
            match = _REGION.match(line)
            if match is not None:
                found = self.regions.setdefault(len(outer) - 1, [])
                found.append((match[1], match[2] is not None, [match[3]]))
            elif line.startswith("    ") and len(outer) - 1 in self.regions:
                self.regions[len(outer) - 1][-1][2].append(line[4:])
            else:
                outer.append(line)
        self.lines = outer

    def _region_attrs(self) -> dict[str, Any]:
        """The graphs among the attributes of the node of this line."""
        attrs: dict[str, Any] = {}
        for key, many, lines in self.regions.get(self.number, ()):
            graph = Reader("\n".join(lines), self.sections["files"]).graph()
            attrs[key] = (*attrs.get(key, ()), graph) if many else graph
        return attrs

    def _tail(self) -> None:
        """Take the sections after the nodes off the end."""
        body, section = [], None
        for line in self.lines:
            mark = line.strip()
            if mark in ("-- data", "-- files"):
                section = self.sections[mark[3:]]
            elif section is None:
                body.append(line)
            elif mark:
                name, _, value = mark.partition(" = ")
                section[name] = value
        self.lines = body

    def _header(self) -> list[str]:
        self._start(0, self.lines[0])
        self._expect("graph ")
        self.builder.name = _unquoted(self._match(_GRAPH, "a name")[0])
        self._expect("(")
        self.inputs: dict[str, TensorType] = {}
        while not self._skip(")"):
            name = self._match(_NAME, "the name of an input")[0]
            self._expect(":")
            self.inputs[name] = parse_type(self._match(_TYPE, "a type")[0])
            self._skip(",")
        self._expect("->")
        self._expect("(")
        outputs = []
        while not self._skip(")"):
            start = self.at
            self._token()
            outputs.append(self.line[start : self.at])
            self._skip(",")
        written = {line.split(" = ", 1)[0].strip() for line in self.lines[1:] if " = input" in line}
        for name, type_ in self.inputs.items():
            if name not in written:
                self.known[name] = self.builder.input(_unquoted(name.rstrip("'")), type_)
        return outputs

    def _token(self) -> re.Match[str]:
        literal = LITERAL.match(self.line, self.at)
        if literal is not None:
            self.at = literal.end()
            return literal
        return self._match(_NAME, "an operand")

    def _operand_named(self, text: str) -> Value:
        if text in self.known:
            return self.known[text]
        literal = LITERAL.fullmatch(text)
        if literal is None:
            raise self._fail(f"{text} is not defined")
        value, weak = read_literal(literal)
        self.known[text] = const(self.builder, value, weak=weak)
        return self.known[text]

    def _equation(self, role: Role) -> None:
        builder = self.builder
        name = self._match(_NAME, "a name")[0]
        self._expect("=")
        match = self._match(_OP, "an op")
        op = REGISTRY.get(match[1])
        if op is None:
            raise self._fail(f"there is no op {match[1]}")
        self._skip("")
        operands: list[Value] = []
        attrs: dict[str, Any] = {}
        array = ""
        if op.name == "const":
            array = self._match(_ARRAY, "an array")[0]
            attrs = {"weak": True} if self._skip("~") else {}
        elif op.name != "input":
            while self.line[self.at : self.at + 1] not in (":", "{", ""):
                operands.append(self._operand_named(self._token()[0]))
                self._skip(",")
                self._skip("")
            attrs = DEFAULTS.get(op.name, {}) | self._attrs()
            attrs |= self._region_attrs()
        self._expect(":")
        type_ = parse_type(self._match(_TYPE, "a type")[0])
        of, locs = self._comment()
        if op.name == "input":
            attrs = {"name": _unquoted(name.rstrip("'"))}
        else:
            if op.name == "const":
                attrs["value"] = self._array(array, type_)
            try:
                inferred = op.infer([v.type for v in operands], attrs)
            except (TypeError, ValueError, LookupError) as error:
                raise self._fail(str(error)) from error
            if inferred != type_:
                raise self._fail(f"the type is {inferred}")
        frozen = MappingProxyType(dict(sorted(attrs.items())))
        ids = tuple(v.id for v in operands)
        fence = int(match[2] or 0)
        node = Node(len(builder.nodes), op, ids, frozen, type_, locs, role, fence)
        self.known[name] = builder._insert(node)
        if of:
            self.derivative_of.append((node.id, of))

    def _attrs(self) -> dict[str, Any]:
        if self.line[self.at : self.at + 1] != "{":
            return {}
        text = self._match(_ATTRS, "attributes")[1]
        call = ast.parse(f"f({text})", mode="eval").body
        assert isinstance(call, ast.Call)
        return {
            word.arg or "": LONG[word.value.id]
            if isinstance(word.value, ast.Name)
            else ast.literal_eval(word.value)
            for word in call.keywords
        }

    def _array(self, text: str, type_: TensorType) -> np.ndarray[Any, Any]:
        if text in self.sections["data"]:
            raw = base64.b64decode(self.sections["data"][text])
            out = np.frombuffer(raw, type_.dtype.newbyteorder("<")).astype(type_.dtype)
        elif text.startswith("arange"):
            start, stop, step = (int(p) for p in text[7:-1].split(","))
            out = np.arange(start, stop, step, dtype=type_.dtype)
        else:
            parts = [p for p in re.split(r"[\[\],\s]+", text) if p]
            out = np.array([scalar(p, type_.dtype) for p in parts], type_.dtype)
        if out.size != type_.size:
            raise self._fail(f"the constant has {out.size} elements")
        out = out.reshape(type_.shape)
        out.flags.writeable = False
        return out

    def _comment(self) -> tuple[str, tuple[Loc, ...]]:
        if not self._skip("#"):
            return "", ()
        of = ""
        if self._skip("d "):
            of = self._match(_NAME, "a node")[0]
            self._skip(",")
        locs = []
        while self.at < len(self.line.rstrip()):
            file, line, function = self._match(_LOC, "a source line").groups()
            path = self.sections["files"].get(file)
            name = self.builder.name if function is None else _unquoted(function)
            locs.append(Loc(json.loads(path) if path else file, int(line),
                            "" if function == '"?"' else name))
            self._skip(",")
        return of, tuple(locs)

    def _replace(self, id_: int, name: str) -> None:
        """Set the node a node is the derivative of, which may stand below it."""
        builder = self.builder
        if name not in self.known:
            raise ParseError(f"{name} is not defined")
        old = builder.nodes[id_]
        role = old.role._replace(of=self.known[name].id)
        builder.nodes[id_] = old._replace(role=role)


def _unquoted(name: str) -> str:
    return str(json.loads(name)) if name.startswith('"') else name
