"""Rewriting statements: what may meet a traced value gets a hook.

The statements stay in place, so that code in which nothing is traced runs as it was written. An
``if`` is given a third way, for a test that is traced; a loop goes over what the runtime makes of
its iterable or its test, which is nothing once the loop has been compiled:

    gradc__test = gradc__.truth(x > 0)
    if gradc__test is True:
        ...
    elif gradc__test is False:
        ...
    else:
        gradc__.branch(0, gradc__test)

    for i in gradc__.loop(1, gradc__.sequence(range)(n)):
        ...

(The compilers of Python's syntax trees that this learned from are TensorFlow's AutoGraph, Moldovan
et al., *AutoGraph: Imperative-style coding with graph-based performance*, 2019, and Tangent, van
Merriënboer et al., 2018.)
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from gradc.raising import CAUGHT
from gradc.syntax.analysis import blocks, escapes
from gradc.syntax.expressions import (
    RUNTIME,
    Expressions,
    hook,
    is_harmless,
    is_static,
    located,
)
from gradc.syntax.places import Form, Place, Site

if TYPE_CHECKING:
    from gradc.syntax.unit import Unit

#: the variable that holds a test until it is told
TEST = "gradc__test"
#: the parameter of a loop's body
ITEM = "gradc__item"


#: exceptions that say, or may say, that an attribute is missing
_CATCH_ATTRIBUTES = frozenset(("AttributeError", "Exception", "BaseException"))


class Rewriter:
    """Rewrites the statements of one form."""

    def __init__(self, unit: Unit, form: Form) -> None:
        self.unit = unit
        self.form = form
        self.expression = Expressions(unit.may_be_users, unit.is_outside, unit.first)
        #: whether the code needs the runtime of its own call
        self.has_sites = False

    def body(self) -> list[ast.stmt]:
        """The statements of the form's function."""
        form = self.form
        made: list[ast.stmt] = []
        if form.item is not None:
            target = self.expression(form.item)
            item = ast.Name(ITEM, ast.Load())
            made.append(located(ast.Assign([target], item), form.item))
        made += self.block(Place(form.block, of=form))
        if form.value is not None:
            value = self.expression.test(form.value)
            made.append(located(ast.Return(value), form.value))
        return made

    def block(self, place: Place) -> list[ast.stmt]:
        """The statements of a block, from a place on."""
        made: list[ast.stmt] = []
        for index in range(place.index, len(place.block)):
            made += self._statement(place.block[index], place.at(index))
        return made

    def _statement(self, node: ast.stmt, place: Place) -> list[ast.stmt]:
        method = getattr(self, f"_{type(node).__name__}", None)
        if method is not None:
            return method(node, place)  # type: ignore[no-any-return]
        return [self.expression.inside(node)]

    def _inner(
        self, block: list[ast.stmt], place: Place, loop: Site | None = None,
        wall: ast.stmt | None = None,
    ) -> list[ast.stmt]:
        """A block of the statement at a place."""
        return self.block(Place(block, 0, place, loop, wall))

    def _site(self, node: ast.If | ast.For | ast.While, place: Place) -> Site:
        self.has_sites = True
        return self.unit.site(node, place, self.form)

    def _hook(self, name: str, site: Site, *args: ast.expr) -> ast.expr:
        return hook(name, ast.Constant(site.number), *args, at=site.node)

    def _left(self, site: Site, call: ast.expr) -> list[ast.stmt]:
        """A hook that has run what the statement is, and what follows if a jump may leave it."""
        if site.leaves == "return":
            return [located(ast.Return(call), site.node)]
        done = [located(ast.Expr(call), site.node)]
        return [*done, located(ast.Break(), site.node)] if site.leaves else done

    # -- branches and loops ------------------------------------------------------------------

    def _If(self, node: ast.If, place: Place) -> list[ast.stmt]:
        if is_static(node.test):
            same = ast.If(self.expression(node.test), self._inner(node.body, place),
                          self._inner(node.orelse, place))
            return [ast.copy_location(same, node)]
        site = self._site(node, place)
        at, test = node.test, ast.Name(TEST, ast.Load())
        assign = ast.Assign([ast.Name(TEST, ast.Store())],
                            hook("truth", self.expression.test(node.test), at=at))
        name = "escape" if site.leaves else "branch"
        otherwise = ast.If(
            ast.Compare(test, [ast.Is()], [ast.Constant(False)]),
            self._inner(node.orelse, place) or [ast.Pass()],
            self._left(site, self._hook(name, site, test)),
        )
        chosen = ast.If(
            ast.Compare(test, [ast.Is()], [ast.Constant(True)]),
            self._inner(node.body, place), [otherwise],
        )
        return [located(assign, at), located(ast.copy_location(chosen, node), at)]

    def _For(self, node: ast.For, place: Place) -> list[ast.stmt]:
        site = self._site(node, place)
        new = ast.For(
            self.expression(node.target),
            self._hook("loop", site, self.expression.iterable(node.iter)),
            self._inner(node.body, place, loop=site),
            self._after_loop(site, node, place),
        )
        return [ast.copy_location(new, node)]

    def _While(self, node: ast.While, place: Place) -> list[ast.stmt]:
        site = self._site(node, place)
        new = ast.While(
            self._hook("going", site, self.expression.test(node.test)),
            self._inner(node.body, place, loop=site),
            self._after_loop(site, node, place),
        )
        begin = located(ast.Expr(self._hook("begin", site)), node)
        return [begin, ast.copy_location(new, node)]

    def _after_loop(self, site: Site, node: ast.For | ast.While, place: Place) -> list[ast.stmt]:
        """What stands under ``else``: there the loop may have been run by its hook."""
        orelse = self._inner(node.orelse, place)
        if not site.escapes and not (node.orelse and "break" in escapes(node.body)):
            return orelse
        finish = self._left(site, self._hook("finish", site))
        return [located(ast.If(self._hook("ran", site), finish, orelse), node)]

    # -- assignments -------------------------------------------------------------------------

    def _Assign(self, node: ast.Assign, place: Place) -> list[ast.stmt]:
        new: ast.Assign = self.expression.inside(node)
        return [self._owning(new, {one.id for target in node.targets for one in ast.walk(target)
                                   if isinstance(one, ast.Name)})]

    def _AnnAssign(self, node: ast.AnnAssign, place: Place) -> list[ast.stmt]:
        new: ast.AnnAssign = self.expression.inside(node)
        own = isinstance(node.target, ast.Name) and new.value is not None
        return [self._owning(new, {node.target.id})] if own else [new]  # type: ignore[union-attr]

    def _AugAssign(self, node: ast.AugAssign, place: Place) -> list[ast.stmt]:
        new: ast.AugAssign = self.expression.inside(node)
        if isinstance(node.target, ast.Subscript) or not is_harmless(node.target):
            return [new]
        read: Any = type(node.target)(**{**dict(ast.iter_fields(node.target)), "ctx": ast.Load()})
        ast.copy_location(read, node.target)
        instead = f"{ast.unparse(read)} = {ast.unparse(ast.BinOp(read, node.op, node.value))}"
        check = hook("written", read, ast.Constant(instead), at=node)
        return [located(ast.Expr(check), node), new]

    def _owning(self, node: Any, names: set[str]) -> ast.stmt:
        """An assignment whose value becomes the trace's if it is a new array to be written into."""
        if names.isdisjoint(self.unit.written):
            return node  # type: ignore[no-any-return]
        if isinstance(node.value, (ast.Tuple, ast.List)):
            parts = [self._owned(one) for one in node.value.elts]
            value: ast.expr = type(node.value)(parts, node.value.ctx)
        else:
            value = self._owned(node.value)
        fields = {name: getattr(node, name, None) for name in node._fields} | {
            "value": ast.copy_location(value, node.value)}
        made: ast.stmt = ast.copy_location(type(node)(**fields), node)
        return made

    @classmethod
    def _owned(cls, value: ast.expr) -> ast.expr:
        if isinstance(value, ast.ListComp):
            rows = ast.ListComp(cls._owned(value.elt), value.generators)
            return ast.copy_location(rows, value)
        made = (ast.Call, ast.BinOp, ast.UnaryOp, ast.Subscript, ast.IfExp)
        return hook("owned", value, at=value) if isinstance(value, made) else value

    # -- jumps -------------------------------------------------------------------------------

    def _Return(self, node: ast.Return, place: Place) -> list[ast.stmt]:
        if self.form.is_root:
            new: ast.Return = self.expression.inside(node)
            if new.value is not None and not self.unit.perhaps.isdisjoint(_handed_on(node.value)):
                new = ast.copy_location(ast.Return(hook("read", new.value, at=node)), node)
            return [new]
        value = self.expression(node.value or located(ast.Constant(None), node))
        return [located(ast.Return(hook("returned", value, at=node)), node)]

    def _Break(self, node: ast.Break, place: Place) -> list[ast.stmt]:
        if place.enclosing_loop() is not None:
            return [node]
        broken = ast.Attribute(ast.Name(RUNTIME, ast.Load()), "BREAK", ast.Load())
        return [located(ast.Return(broken), node)]

    def _Continue(self, node: ast.Continue, place: Place) -> list[ast.stmt]:
        if place.enclosing_loop() is not None:
            return [node]
        passed = ast.Attribute(ast.Name(RUNTIME, ast.Load()), "CONTINUE", ast.Load())
        return [located(ast.Return(passed), node)]

    # -- other statements that hold blocks, or names ------------------------------------------

    def _With(self, node: ast.With, place: Place) -> list[ast.stmt]:
        items = [self.expression.inside(item) for item in node.items]
        body = self._inner(node.body, place, wall=node)
        calls = [one.context_expr for one in node.items if isinstance(one.context_expr, ast.Call)]
        caught = {_name(kind) for call in calls if _name(call.func) == "suppress"
                  for kind in call.args}
        return [ast.copy_location(ast.With(items, _minded(body, caught, node)), node)]

    def _Try(self, node: ast.Try, place: Place) -> list[ast.stmt]:
        return [self._guarded(node, place)]

    def _TryStar(self, node: Any, place: Place) -> list[ast.stmt]:
        return [self._guarded(node, place)]

    def _guarded(self, node: Any, place: Place) -> ast.stmt:
        before = self.expression.in_try
        self.expression.in_try = before or not _CATCH_ATTRIBUTES.isdisjoint(caught(node))
        body = self._inner(node.body, place, wall=node)
        self.expression.in_try = before
        body = _minded(body, caught(node), node)
        orelse, final = (
            self._inner(block, place, wall=node) for block in (node.orelse, node.finalbody)
        )
        handlers = [
            ast.copy_location(
                ast.ExceptHandler(one.type, one.name, self._inner(one.body, place, wall=node)), one)
            for one in node.handlers
        ]
        new: ast.stmt = type(node)(body, handlers, orelse, final)
        return ast.copy_location(new, node)

    def _Match(self, node: ast.Match, place: Place) -> list[ast.stmt]:
        cases = [
            ast.match_case(one.pattern, one.guard, self._inner(one.body, place))
            for one in node.cases
        ]
        new = ast.Match(self.expression(node.subject), cases)
        return [ast.copy_location(new, node)]

    def _Assert(self, node: ast.Assert, place: Place) -> list[ast.stmt]:
        new: ast.Assert = self.expression.inside(node)
        if is_static(node.test):
            return [new]
        test = hook("known", new.test, ast.Constant("`assert`"), at=node.test)
        return [ast.copy_location(ast.Assert(test, new.msg), node)]

    def _Global(self, node: ast.Global, place: Place) -> list[ast.stmt]:
        return [located(ast.Pass(), node)]  # declared at the top of the form

    def _Nonlocal(self, node: ast.Nonlocal, place: Place) -> list[ast.stmt]:
        return [located(ast.Pass(), node)]

    def _FunctionDef(self, node: ast.FunctionDef, place: Place) -> list[ast.stmt]:
        new = self.unit.family.nested(node, self.unit)
        new.decorator_list = [self.expression(one) for one in node.decorator_list]
        new.args = self.expression.inside(node.args)
        return [new]

    def _AsyncFunctionDef(self, node: ast.AsyncFunctionDef, place: Place) -> list[ast.stmt]:
        return [node]

    def _AsyncFor(self, node: ast.AsyncFor, place: Place) -> list[ast.stmt]:
        raise AssertionError("a coroutine is not rewritten")

    def _ClassDef(self, node: ast.ClassDef, place: Place) -> list[ast.stmt]:
        return [node]


def _handed_on(value: ast.expr | None) -> set[str]:
    """The variables that an expression gives as they are, without reading them."""
    match value:
        case ast.Name(id=name):
            return {name}
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Dict(values=parts):
            return {name for part in parts for name in _handed_on(part)}
    return set()


def caught(node: Any) -> set[str]:
    """The names of the exceptions that a ``try`` catches."""
    found: set[str] = set()
    for handler in node.handlers:
        kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        found |= {"BaseException" if kind is None else _name(kind) for kind in kinds}
    return found


def _name(kind: ast.expr) -> str:
    """The last part of a name with dots."""
    return str(getattr(kind, "attr", getattr(kind, "id", "")))


def _minded(body: list[ast.stmt], names: set[str], at: ast.stmt) -> list[ast.stmt]:
    """A block in which some exceptions are caught: of arithmetic, they are watched for."""
    known = sorted(names & CAUGHT)
    if not known:
        return body
    guard = hook("guarding", *map(ast.Constant, known), at=at)
    return [located(ast.With([ast.withitem(guard)], body), at)]


def has_raise(block: list[ast.stmt]) -> bool:
    """Whether a block raises an exception itself."""
    for node in block:
        if isinstance(node, ast.Raise):
            return True
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and any(
            has_raise(inner) for inner in blocks(node)
        ):
            return True
    return False
