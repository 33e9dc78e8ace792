"""What the names of a function do: where they are bound and read, and where their values live.

A name is *live* at a place if what it holds there may be read later; a loop carries only such
names, and so do the two sides of a branch. (Aho, Lam, Sethi, Ullman, *Compilers*, 9.2.5: live
variables, a backward problem, solved over the tree.)
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any

Names = frozenset[str]
Loop = (ast.For, ast.While)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
#: the nodes that open a scope
_OPENING = (*_FUNCTIONS, ast.ClassDef)
#: the attribute of a statement that keeps its facts
_KNOWN = "gradc_facts"
#: the types of what a node has that has no nodes under it
_NO_NODES = frozenset((int, str, type(None), ast.Load, ast.Store))
_NONE: Names = frozenset()


def children(node: ast.AST) -> list[ast.AST]:
    """The nodes right under one but for what tells loads from stores, in no order.

    In a fraction of the time that ast's own function takes, and functions are walked often.
    """
    found: list[ast.AST] = []
    for value in node.__dict__.values():
        kind = type(value)
        if kind is list:
            found += [one for one in value if isinstance(one, ast.AST)]
        elif kind not in _NO_NODES and isinstance(value, ast.AST):
            found.append(value)
    return found


def walk(node: ast.AST) -> list[ast.AST]:
    """A node and all under it."""
    found = [node]
    for one in found:
        found += children(one)
    return found


def _within(node: ast.AST) -> list[ast.AST]:
    """The nodes right under one that run in the same scope."""
    if isinstance(node, _FUNCTIONS):
        found: list[ast.AST] = [*node.args.defaults, *getattr(node, "decorator_list", ())]
        return found + [x for x in node.args.kw_defaults if x is not None]
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.bases, *node.keywords]
    return children(node)


def in_scope(nodes: Iterable[ast.AST | None]) -> list[ast.AST]:
    """The nodes of one scope. Of nested functions and classes comes only what runs in this one."""
    found = [node for node in nodes if node is not None]
    for one in found:
        found += _within(one)
    return found


class _Facts:
    """The names that a node binds or deletes in its scope, reads anywhere, binds by ``:=``."""

    __slots__ = ("loads", "stores", "walrus")

    def __init__(self, node: ast.AST) -> None:
        self.stores: set[str] = set()
        self.loads: set[str] = set()
        self.walrus: set[str] = set()
        todo = [(node, True)]
        while todo:
            one, scoped = todo.pop()
            kind: Any = type(one)
            if kind is ast.Name:
                self._name(one, scoped)
            elif scoped and one is not node and isinstance(one, ast.stmt):
                self._add(_facts(one))
            else:
                todo += self._part(one, kind, scoped)

    def _add(self, other: _Facts) -> None:
        self.stores |= other.stores
        self.loads |= other.loads
        self.walrus |= other.walrus

    def _part(self, node: Any, kind: type[ast.AST], scoped: bool) -> list[tuple[ast.AST, bool]]:
        """Note a node; those under it, and whether they are in the same scope."""
        if scoped:
            self._bound(node, kind)
        if kind is ast.AugAssign and type(node.target) is ast.Name:
            self.loads.add(node.target.id)
        if scoped and kind is ast.comprehension:
            rest = [(one, True) for one in (node.iter, *node.ifs)]
            return [(node.target, False), *rest]
        if kind not in _OPENING:
            return [(one, scoped) for one in children(node)]
        found = children(node)
        if kind is not ast.ClassDef:
            found = [one for one in found if one is not node.args] + children(node.args)
        ours = {id(one) for one in _within(node)} if scoped else ()
        return [(one, id(one) in ours) for one in found]

    def _name(self, node: Any, binds: bool) -> None:
        if type(node.ctx) is not ast.Store:
            self.loads.add(node.id)
        if type(node.ctx) is not ast.Load and binds:
            self.stores.add(node.id)

    def _bound(self, node: Any, kind: type[ast.AST]) -> None:
        if kind in (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef):
            self.stores.add(node.name)
        elif kind is ast.NamedExpr:
            self.walrus.add(node.target.id)
        elif kind is ast.alias:
            self.stores.add((node.asname or node.name).partition(".")[0])
        elif kind in (ast.ExceptHandler, ast.MatchAs, ast.MatchStar) and node.name:
            self.stores.add(node.name)
        elif kind is ast.MatchMapping and node.rest:
            self.stores.add(node.rest)


def _facts(node: ast.AST) -> _Facts:
    found: _Facts | None = node.__dict__.get(_KNOWN)
    if found is None:
        found = _Facts(node)
        if isinstance(node, ast.stmt):
            setattr(node, _KNOWN, found)
    return found


def stores(nodes: Iterable[ast.AST | None]) -> Names:
    """The names that are bound or deleted, those declared global among them."""
    return _NONE.union(*(_facts(node).stores for node in nodes if node is not None))


def loads(nodes: Iterable[ast.AST | None]) -> Names:
    """The names that may be read, in nested functions and classes too."""
    return _NONE.union(*(_facts(node).loads for node in nodes if node is not None))


def captured(nodes: Iterable[ast.AST]) -> Names:
    """The names that nested functions, generators and classes of a scope use, who knows when."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.GeneratorExp)):
            found |= {inner.id for inner in walk(node) if isinstance(inner, ast.Name)}
    return frozenset(found)


def set_from_within(nodes: Iterable[ast.AST]) -> Names:
    """The names that nested functions of a scope bind (nonlocal): a call may change them."""
    return declared(
        (inner for node in nodes if isinstance(node, _FUNCTIONS) for inner in walk(node)),
        ast.Nonlocal,
    )


def declared(nodes: Iterable[ast.AST], kind: type[Any]) -> Names:
    """The names in the ``global`` or ``nonlocal`` statements among the nodes."""
    return frozenset(name for node in nodes if isinstance(node, kind) for name in node.names)


def escapes(block: Iterable[ast.stmt], in_loop: bool = False) -> Names:
    """Which of ``break``, ``continue`` and ``return`` leave a block."""
    found: set[str] = set()
    for node in block:
        if isinstance(node, ast.Return):
            found.add("return")
        elif isinstance(node, (ast.Break, ast.Continue)) and not in_loop:
            found.add("break" if isinstance(node, ast.Break) else "continue")
        elif isinstance(node, (*Loop, ast.AsyncFor)):
            found |= escapes(node.body, True) | escapes(node.orelse, in_loop)
        elif not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            for inner in blocks(node):
                found |= escapes(inner, in_loop)
    return frozenset(found)


def blocks(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The blocks of a compound statement that is no definition."""
    for field in ("body", "orelse", "finalbody"):
        yield getattr(node, field, [])
    for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield part.body


def falls(block: list[ast.stmt]) -> bool:
    """Whether a block may reach its end."""
    for node in block:
        if isinstance(node, (ast.Return, ast.Raise, ast.Break, ast.Continue)):
            return False
        if isinstance(node, ast.If) and not falls(node.body) and not falls(node.orelse):
            return False
        if isinstance(node, ast.With) and not falls(node.body):
            return False
        if isinstance(node, ast.While) and "break" not in escapes(node.body):
            test = node.test
            if isinstance(test, ast.Constant) and test.value:
                return False
    return True


class Liveness:
    """Which names are live after each statement, and at the head of each loop."""

    def __init__(self, body: list[ast.stmt], always: Names) -> None:
        #: those that others than this function may read: they are live everywhere
        self.always = always
        self.after: dict[ast.stmt, Names] = {}
        self.head: dict[ast.stmt, Names] = {}
        self._break = self._continue = _NONE
        self._block(body, always)

    def _block(self, block: list[ast.stmt], out: Names) -> Names:
        for node in reversed(block):
            out = self._statement(node, out | self.always)
        return out | self.always

    def _statement(self, node: ast.stmt, out: Names) -> Names:
        self.after[node] = self.after.get(node, _NONE) | out
        match node:
            case ast.If():
                return loads([node.test]) | self._block(node.body, out) | self._block(
                    node.orelse, out)
            case ast.For() | ast.While():
                return self._loop(node, out)
            case ast.Try():
                return self._try(node, out)
            case ast.With():
                inner = self._block(node.body, out)
                return (inner - stores(node.items)) | loads(node.items)
            case ast.Match():
                found = out | loads([node.subject])
                for one in node.cases:
                    found |= self._block(one.body, out) | loads([one.pattern, one.guard])
                return found
            case ast.Return() | ast.Raise():
                return loads([node]) | self.always
            case ast.Break():
                return self._break | self.always
            case ast.Continue():
                return self._continue | self.always
        # A name bound inside an expression may not be reached.
        facts = _facts(node)
        return (out - (facts.stores - facts.walrus)) | facts.loads

    def _loop(self, node: ast.For | ast.While, out: Names) -> Names:
        ended = self._block(node.orelse, out)
        head, before = ended | self.head.get(node, _NONE), (self._break, self._continue)
        if isinstance(node, ast.While):
            head |= loads([node.test])
        while True:
            self._break, self._continue = out, head
            inner = self._block(node.body, head)
            if isinstance(node, ast.For):
                inner = (inner - stores([node.target])) | loads([node.target])
            if inner <= head:
                break
            head |= inner
        self._break, self._continue = before
        self.head[node] = head | out
        return head | loads([node.iter]) if isinstance(node, ast.For) else head

    def _try(self, node: ast.Try, out: Names) -> Names:
        ending = self._block(node.finalbody, out)
        handled = ending
        for handler in node.handlers:
            handled |= self._block(handler.body, ending) | loads([handler.type])
        before, self.always = self.always, self.always | handled
        found = self._block(node.body, self._block(node.orelse, ending))
        self.always = before
        return found
