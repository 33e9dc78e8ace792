"""Rewriting expressions: conditional ones, ``and``, ``or``, ``not``, chains, calls, subscripts.

What may meet a traced value becomes a call of the runtime (:mod:`gradc.syntax.runtime`), which
gets the operands that may stay unevaluated as lambdas. Nodes are never changed: a rewritten one
is new, and shares what is as it was.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable
from typing import Any

from gradc.syntax.analysis import walk
from gradc.syntax.convert import CALLING, CHOOSING, MEASURING
from gradc.syntax.written import SETTING, WRITING, written_into

#: the variable of rewritten code that holds the runtime
RUNTIME = "gradc__"

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}
#: builtins whose answer is known while tracing
_KNOWN = frozenset(("isinstance", "issubclass", "hasattr", "callable", "len"))
#: what cannot stand in a lambda with the same meaning
_BOUND_TO_PLACE = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
#: what is said of them
_BINDS = "`:=` in a conditional expression, or after an `and` or `or` of one"
#: what a harmless expression is made of
_HARMLESS = (
    ast.Name, ast.Constant, ast.Compare, ast.BoolOp, ast.UnaryOp, ast.Attribute, ast.expr_context,
    ast.cmpop, ast.boolop, ast.unaryop, ast.BinOp, ast.Add, ast.Sub, ast.Mult,
)
#: what an index is made of that is no traced value
_WRITTEN_OUT = (ast.Constant, ast.Slice, ast.Tuple, ast.UnaryOp, ast.unaryop, ast.expr_context)


def hook(name: str, *args: ast.expr, at: ast.AST) -> ast.Call:
    """``gradc__.name(*args)``, at the place of a node."""
    function = ast.Attribute(ast.Name(RUNTIME, ast.Load()), name, ast.Load())
    made: ast.Call = located(ast.Call(function, list(args), []), at)
    return made


def located(made: Any, at: Any) -> Any:
    """A node made by us, with all in it that has no place, at the place of the user's node."""
    end = (at.end_lineno, at.end_col_offset)
    if at.lineno != at.end_lineno:  # a call would be taken to be in the last of its lines
        end = (at.lineno, at.col_offset + 1)
    nodes: list[Any] = walk(made)
    for node in nodes:
        if not hasattr(node, "lineno") and "lineno" in node._attributes:
            node.lineno, node.col_offset = at.lineno, at.col_offset
            node.end_lineno, node.end_col_offset = end
    return made


def _later(value: ast.expr) -> ast.Lambda:
    """``lambda: value``."""
    empty = ast.arguments(
        posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    made: ast.Lambda = located(ast.Lambda(empty, value), value)
    made.of_ours = True  # type: ignore[attr-defined]
    return made


def is_harmless(node: ast.expr) -> bool:
    """Whether an expression has no effect, and cannot fail where it is not wanted."""
    return all(isinstance(inner, _HARMLESS) for inner in walk(node))


def is_static(test: ast.expr) -> bool:
    """Whether a test is known while tracing, whatever values it is about."""
    match test:
        case ast.Constant():
            return True
        case ast.UnaryOp(op=ast.Not()):
            return is_static(test.operand)
        case ast.BoolOp():
            return all(is_static(value) for value in test.values)
        case ast.Compare(ops=[ast.Is() | ast.IsNot()]):
            return not _is_of_a_truth(test)
        case ast.Compare(ops=[_], comparators=[ast.Constant(value=str())]):
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in _KNOWN
    return False


def _is_of_a_truth(node: ast.Compare) -> bool:
    """Whether a comparison is one such as ``x is True``, or of ``np.True_``."""
    return any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops) and any(
        isinstance(one, ast.Constant) and isinstance(one.value, bool)
        or getattr(one, "attr", getattr(one, "id", "")) in ("True_", "False_")
        for one in (node.left, *node.comparators)
    )


class Expressions:
    """Rewrites expressions of one function.

    may_be_users: whether the function that an expression names may be the user's own.
    is_outside: whether a name is one of a function or module around the function that is traced.
    first: the first parameter, which ``super()`` means.
    """

    def __init__(
        self, may_be_users: Callable[[ast.expr], bool], is_outside: Callable[[str], bool],
        first: str | None,
    ) -> None:
        self._may_be_users = may_be_users
        self._is_outside = is_outside
        self._first = first
        #: whether the program catches that an attribute is missing
        self.in_try = False

    def __call__(self, node: ast.expr) -> ast.expr:
        """The expression rewritten; where its value is used."""
        method = getattr(self, f"_{type(node).__name__}", None)
        return method(node) if method is not None else self.inside(node)  # type: ignore[no-any-return]

    def inside(self, node: Any) -> Any:
        """A node with the expressions in it rewritten."""
        changed: dict[str, Any] = {}
        for field, value in ast.iter_fields(node):
            new = self._field(value)
            if new is not value:
                changed[field] = new
        if not changed:
            return node
        fields = {name: changed.get(name, value) for name, value in ast.iter_fields(node)}
        return ast.copy_location(type(node)(**fields), node)

    def _field(self, value: Any) -> Any:
        if isinstance(value, list):
            new = [self._field(one) for one in value]
            return value if all(a is b for a, b in zip(new, value, strict=True)) else new
        if isinstance(value, ast.expr):
            return self(value)
        if isinstance(value, ast.comprehension):
            return self._comprehension(value)
        if isinstance(value, ast.AST) and not isinstance(value, ast.stmt) and value._fields:
            return self.inside(value)
        return value

    def test(self, node: ast.expr) -> ast.expr:
        """An expression of which only the truth matters, rewritten."""
        if is_static(node):
            return self(node)
        if isinstance(node, ast.BoolOp) and not any(map(self._stays, node.values[1:])):
            return self._bool_op(node, "all" if isinstance(node.op, ast.And) else "any", self.test)
        return self(node)

    def _stays(self, node: ast.AST) -> bool:
        return any(isinstance(inner, _BOUND_TO_PLACE) for inner in walk(node))

    def _JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        return node

    def _IfExp(self, node: ast.IfExp) -> ast.expr:
        if is_static(node.test):
            return self.inside(node)  # type: ignore[no-any-return]
        if self._stays(node.body) or self._stays(node.orelse):
            new: ast.IfExp = self.inside(node)
            test = hook("known", new.test, ast.Constant(_BINDS), at=node.test)
            return ast.copy_location(ast.IfExp(test, new.body, new.orelse), node)
        sides = (_later(self(node.body)), _later(self(node.orelse)))
        return hook("either", self.test(node.test), *sides, at=node)

    def _BoolOp(self, node: ast.BoolOp) -> ast.expr:
        if all(map(is_static, node.values[:-1])):
            return self.inside(node)  # type: ignore[no-any-return]
        if any(map(self._stays, node.values[1:])):
            values = [hook("known", self(one), ast.Constant(_BINDS), at=one)
                      for one in node.values[:-1]]
            return ast.copy_location(ast.BoolOp(node.op, [*values, self(node.values[-1])]), node)
        return self._bool_op(node, "both" if isinstance(node.op, ast.And) else "first", self)

    def _bool_op(
        self, node: ast.BoolOp, name: str, operand: Callable[[ast.expr], ast.expr]
    ) -> ast.expr:
        first, *rest = node.values
        call = hook(name, operand(first), *(_later(operand(x)) for x in rest), at=node)
        if all(map(is_harmless, rest)):
            call.keywords.append(ast.keyword("harmless", located(ast.Constant(True), node)))
        return call

    def _UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if not isinstance(node.op, ast.Not) or is_static(node.operand):
            return self.inside(node)  # type: ignore[no-any-return]
        return hook("negate", self.test(node.operand), at=node)

    def _Compare(self, node: ast.Compare) -> ast.expr:
        contained = any(isinstance(op, (ast.In, ast.NotIn)) for op in node.ops)
        alone = len(node.ops) == 1 and not (contained and not is_static(node)) and not (
            _is_of_a_truth(node))
        later = node.comparators[1:]
        if alone or any(map(self._stays, later)):
            return self.inside(node)  # type: ignore[no-any-return]
        pairs: list[ast.expr] = []
        for k, (op, operand) in enumerate(zip(node.ops, node.comparators, strict=True)):
            new = self(operand)
            pairs += [ast.Constant(_COMPARISONS[type(op)]), _later(new) if k else new]
        call = hook("compare", self(node.left), *pairs, at=node)
        if all(map(is_harmless, later)):
            call.keywords.append(ast.keyword("harmless", located(ast.Constant(True), node)))
        return call

    def _comprehension(self, node: ast.comprehension) -> ast.comprehension:
        """Which elements there are has to be known: what is not is refused by name."""
        new: ast.comprehension = self.inside(node)
        tests = [hook("known", one, ast.Constant("the `if` of a comprehension"), at=one)
                 if not is_static(old) else one
                 for one, old in zip(new.ifs, node.ifs, strict=True)]
        over = new.iter
        if isinstance(over, ast.Call) and getattr(over.func, "id", "") == "range":
            what = ast.Constant("a comprehension over a range")
            args: list[ast.expr] = [
                one if isinstance(one, ast.Constant) else hook("known", one, what, at=one)
                for one in over.args]
            over = ast.copy_location(ast.Call(over.func, args, over.keywords), over)
        return ast.comprehension(new.target, over, tests, new.is_async)

    def _Call(self, node: ast.Call) -> ast.expr:
        match node.func:
            case ast.Name(id="super") if not node.args and self._first is not None:
                # The rewritten code may run in a function of another first parameter.
                given = [ast.Name(name, ast.Load()) for name in ("__class__", self._first)]
                made: ast.expr = located(ast.Call(node.func, [*given], []), node)
                return made
            case ast.Name(id=name) if hasattr(builtins, name):
                wrapped = self._may_be_users(node.func) or name in CHOOSING | MEASURING
            case ast.Attribute(attr=name) if name in CALLING:
                wrapped = True
            case _:
                wrapped = self._may_be_users(node.func)
        new: ast.Call = self.inside(node)
        function = new.func
        if isinstance(function, ast.Attribute) and function.attr in WRITING:
            of = hook("written", function.value, at=function.value)
            function = ast.copy_location(ast.Attribute(of, function.attr, function.ctx), function)
        if wrapped:
            function = hook("call", function, at=node.func)
        into = written_into(node)
        if function is new.func and not into:
            return new
        args = [hook("written", one, at=one) if old in into else one
                for one, old in zip(new.args, node.args, strict=True)]
        keywords = [
            ast.keyword(one.arg, hook("written", one.value, at=one.value))
            if old.value in into else one
            for one, old in zip(new.keywords, node.keywords, strict=True)]
        return ast.copy_location(ast.Call(function, args, keywords), node)

    def _Subscript(self, node: ast.Subscript) -> ast.expr:
        new: ast.Subscript = self.inside(node)
        known = all(isinstance(inner, _WRITTEN_OUT) for inner in walk(node.slice))
        if isinstance(node.ctx, ast.Del) or known and isinstance(node.ctx, ast.Load):
            return new
        args: list[ast.expr] = [new.value]
        stored = isinstance(node.ctx, ast.Store)
        if stored and isinstance(node.value, ast.Name) and self._is_outside(node.value.id):
            args.append(ast.Constant(node.value.id))
        table = hook("target" if stored else "table", *args, at=node.value)
        return ast.copy_location(ast.Subscript(table, new.slice, new.ctx), node)

    def _Attribute(self, node: ast.Attribute) -> ast.expr:
        new: ast.Attribute = self.inside(node)
        if isinstance(node.ctx, ast.Store) and node.attr in SETTING:
            value = hook("written", new.value, at=node.value)
        elif isinstance(node.ctx, ast.Load) and self.in_try and not node.attr.startswith("__"):
            value = hook("having", new.value, ast.Constant(node.attr), at=node.value)
        else:
            return new
        return ast.copy_location(ast.Attribute(value, node.attr, new.ctx), node)

    def iterable(self, node: ast.expr) -> ast.expr:
        """What a ``for`` goes over, rewritten: of range, enumerate, zip and reversed too."""
        match node:
            case ast.Call(func=ast.Name(id="range" | "enumerate" | "zip" | "reversed")):
                function = hook("sequence", node.func, at=node.func)
                args = [self.iterable(x) for x in node.args]
                keywords = [self._field(x) for x in node.keywords]
                return ast.copy_location(ast.Call(function, args, keywords), node)
        return self(node)
