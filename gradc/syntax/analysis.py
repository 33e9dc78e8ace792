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
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_NONE: Names = frozenset()


def in_scope(nodes: Iterable[ast.AST | None]) -> Iterator[ast.AST]:
    """The nodes of one scope. Of nested functions and classes comes only what runs in this one."""
    todo = [node for node in nodes if node is not None]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, _FUNCTIONS):
            todo += [*node.args.defaults, *(x for x in node.args.kw_defaults if x is not None)]
            todo += getattr(node, "decorator_list", [])
        elif isinstance(node, ast.ClassDef):
            todo += [*node.decorator_list, *node.bases, *node.keywords]
        else:
            todo += ast.iter_child_nodes(node)


def _targets_of_comprehensions(nodes: list[ast.AST]) -> set[int]:
    return {
        id(inner)
        for node in nodes
        if isinstance(node, ast.comprehension)
        for inner in ast.walk(node.target)
    }


def stores(nodes: Iterable[ast.AST | None]) -> Names:
    """The names that are bound or deleted, those declared global among them."""
    all_nodes = list(in_scope(nodes))
    own = _targets_of_comprehensions(all_nodes)
    found: set[str] = set()
    for node in all_nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            if id(node) not in own:
                found.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.add(node.rest)
    return frozenset(found)


def loads(nodes: Iterable[ast.AST | None]) -> Names:
    """The names that may be read, in nested functions and classes too."""
    found: set[str] = set()
    for root in nodes:
        for node in ast.walk(root) if root is not None else ():
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
    return frozenset(found)


def captured(body: Iterable[ast.AST]) -> Names:
    """The names that nested functions, generators and classes use, who knows when."""
    found: set[str] = set()
    for node in in_scope(body):
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.GeneratorExp)):
            found |= {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    return frozenset(found)


def set_from_within(body: Iterable[ast.AST]) -> Names:
    """The names that nested functions bind (nonlocal), so that a call may change them."""
    return declared(
        (inner for node in in_scope(body) if isinstance(node, _FUNCTIONS)
         for inner in ast.walk(node)),
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
        walrus = stores(n for n in in_scope([node]) if isinstance(n, ast.NamedExpr))
        return (out - (stores([node]) - walrus)) | loads([node])

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
