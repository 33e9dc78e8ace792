"""Statements in terms of simpler ones, where what they do depends on a traced value.

A test that binds a name by ``:=`` after an ``and`` or ``or``, or of a ``while``, becomes statements
that bind it; a ``match`` against values becomes a chain of ``if``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, TypeVar

from gradc.syntax.analysis import walk

Node = TypeVar("Node", bound=ast.AST)


def normal(function: Node) -> Node:
    """The node of a function in such terms: a new one if anything changes."""
    if not any(isinstance(inner, (ast.Match, ast.NamedExpr)) for inner in walk(function)):
        return function
    made: Node = _Normal().visit(function)
    return made


class _Normal(ast.NodeTransformer):
    def __init__(self) -> None:
        self._names = 0

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"gradc__{kind}{self._names}"

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """A node with those in it in simpler terms; the node that was given stays as it is."""
        fields: dict[str, Any] = {}
        for field, value in ast.iter_fields(node):
            if isinstance(value, list):
                fields[field] = [one for item in value for one in self._visited(item)]
            else:
                fields[field] = self.visit(value) if isinstance(value, ast.AST) else value
        return ast.copy_location(type(node)(**fields), node)

    def _visited(self, item: Any) -> list[Any]:
        if not isinstance(item, ast.AST):
            return [item]
        new = self.visit(item)
        return new if isinstance(new, list) else [new]

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return node

    def visit_If(self, node: ast.If) -> list[ast.stmt] | ast.AST:
        if not _binds_later(node.test):
            return self.generic_visit(node)
        name = self._name("test")
        body = [one for item in node.body for one in self._visited(item)]
        orelse = [one for item in node.orelse for one in self._visited(item)]
        chosen = ast.copy_location(ast.If(_load(name, node.test), body, orelse), node)
        return [*_told(name, node.test), chosen]

    def visit_While(self, node: ast.While) -> ast.AST:
        if node.orelse or not any(_bound(node.test)):
            return self.generic_visit(node)
        name, at = self._name("test"), node.test
        left = ast.If(
            _at(ast.UnaryOp(ast.Not(), _load(name, at)), at), [_at(ast.Break(), at)], [])
        body = [one for item in node.body for one in self._visited(item)]
        new = ast.While(
            _at(ast.Constant(True), at), [*_told(name, node.test), _at(left, at), *body], [])
        return ast.copy_location(new, node)

    def visit_Match(self, node: ast.Match) -> list[ast.stmt] | ast.AST:
        if not all(map(_is_simple, node.cases)):
            return self.generic_visit(node)
        name = self._name("subject")
        subject = _at(ast.Assign([_at(ast.Name(name, ast.Store()), node.subject)],
                                 self.visit(node.subject)), node.subject)
        rest: list[ast.stmt] = []
        for case in reversed(node.cases):
            body = [one for item in case.body for one in self._visited(item)]
            test, binding = _test(case.pattern, name)
            if case.guard is not None:
                test = case.guard if test is None else _at(
                    ast.BoolOp(ast.And(), [test, case.guard]), case.guard)
            if test is not None:
                body = [_at(ast.If(test, body, rest), case.pattern)]
            rest = [*binding, *body]
        return [subject, *rest]


def _bound(node: ast.AST) -> Iterator[ast.NamedExpr]:
    """The names that an expression binds in the scope that it stands in."""
    if isinstance(node, ast.NamedExpr):
        yield node
    if not isinstance(node, ast.Lambda):
        for inner in ast.iter_child_nodes(node):
            yield from _bound(inner)


def _binds_later(test: ast.expr) -> bool:
    """Whether a test binds a name only if its first operands do not decide it."""
    match test:
        case ast.BoolOp(values=[first, *rest]):
            return any(any(_bound(one)) for one in rest) or _binds_later(first)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _binds_later(operand)
    return False


def _told(name: str, test: ast.expr) -> list[ast.stmt]:
    """Statements that assign the truth of a test to a variable."""
    match test:
        case ast.BoolOp(op=op, values=[first, *rest]) if _binds_later(test):
            made = _told(name, first)
            inner: list[ast.stmt] = []
            for one in reversed(rest):
                goes_on: ast.expr = _load(name, one)
                if isinstance(op, ast.Or):
                    goes_on = _at(ast.UnaryOp(ast.Not(), goes_on), one)
                inner = [_at(ast.If(goes_on, [*_told(name, one), *inner], []), one)]
            return [*made, *inner]
        case ast.UnaryOp(op=ast.Not(), operand=operand) if _binds_later(operand):
            negated = _at(ast.UnaryOp(ast.Not(), _load(name, test)), test)
            return [*_told(name, operand), _assigned(name, negated, test)]
    truth = _at(ast.UnaryOp(ast.Not(), _at(ast.UnaryOp(ast.Not(), test), test)), test)
    return [_assigned(name, truth, test)]


def _is_simple(case: ast.match_case) -> bool:
    """Whether a case compares with values, or takes all."""
    match case.pattern:
        case ast.MatchValue() | ast.MatchSingleton() | ast.MatchAs(pattern=None):
            return True
        case ast.MatchOr(patterns=patterns):
            return all(isinstance(one, (ast.MatchValue, ast.MatchSingleton)) for one in patterns)
    return False


def _test(pattern: ast.pattern, name: str) -> tuple[ast.expr | None, list[ast.stmt]]:
    """The test of a case, None if it takes all; and what it binds."""
    subject = _load(name, pattern)
    match pattern:
        case ast.MatchValue(value=value):
            return _at(ast.Compare(subject, [ast.Eq()], [value]), pattern), []
        case ast.MatchSingleton(value=value):
            constant = _at(ast.Constant(value), pattern)
            return _at(ast.Compare(subject, [ast.Is()], [constant]), pattern), []
        case ast.MatchOr(patterns=patterns):
            tests = [test for one in patterns if (test := _test(one, name)[0]) is not None]
            return _at(ast.BoolOp(ast.Or(), tests), pattern), []
        case ast.MatchAs(name=str(bound)):
            return None, [_assigned(bound, subject, pattern)]
    return None, []


def _load(name: str, at: ast.AST) -> ast.expr:
    loaded: ast.expr = _at(ast.Name(name, ast.Load()), at)
    return loaded


def _assigned(name: str, value: ast.expr, at: ast.AST) -> ast.stmt:
    made: ast.stmt = _at(ast.Assign([_at(ast.Name(name, ast.Store()), at)], value), at)
    return made


def _at(made: Any, at: Any) -> Any:
    return ast.copy_location(made, at)
