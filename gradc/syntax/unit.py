"""Rewritten functions: their code, and how it is tied to variables that exist already.

Variables stay those of the user's function: a block that is compiled by itself, as the side of a
branch or the body of a loop, shares their cells as a nested function would.
"""

from __future__ import annotations

import ast
import builtins
import warnings
from collections.abc import Callable, Iterable, Sequence
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from gradc.syntax import analysis
from gradc.syntax.effects import ASSIGNED
from gradc.syntax.expressions import RUNTIME, located
from gradc.syntax.normal import normal
from gradc.syntax.places import Form, Place, Site, site
from gradc.syntax.rewrite import ITEM, Rewriter
from gradc.syntax.source import Definition, arguments
from gradc.syntax.unchanged import FUTURES, class_of
from gradc.syntax.written import names_written

#: the variable that holds what makes a runtime for a call
MAKER = "gradc__of"
_FACTORY = "gradc__factory"
_FUNCTION = "gradc__function"
#: by this the code of a lambda that we made is told from one of the user's
_LATER = "gradc__later"
_RESUMING = (ast.Yield, ast.YieldFrom, ast.Await)


class Unit:
    """One function, the user's or nested in it: its names, and its statements of interest.

    outer: the names of the functions around it, which are its own unless it binds them.
    """

    def __init__(
        self, node: Definition, family: Family, number: int, outer: frozenset[str]
    ) -> None:
        self.node = node
        self.family = family
        self.number = number
        statements = node.body if isinstance(node, ast.FunctionDef) else []
        body: Sequence[ast.AST] = statements or [node.body]  # type: ignore[list-item]
        parameters = arguments(node)
        self.first = next(iter(parameters), None)
        nodes = analysis.in_scope(body)
        self.globals = analysis.declared(nodes, ast.Global)
        self.nonlocals = analysis.declared(nodes, ast.Nonlocal)
        bound = self.bound = analysis.stores(body) | set(parameters)
        used = analysis.loads(body) | bound
        if "super" in used:
            used |= {"__class__"}
        self.used = used
        self.visible = (outer & used) | (bound - self.globals)
        self.set_within = analysis.set_from_within(nodes) & self.visible
        always = analysis.captured(nodes) | self.nonlocals | self.set_within
        self.live = analysis.Liveness(statements, frozenset(always))
        #: the variables that only statements inside others assign, so that they may have no value
        simple = (one for one in statements if not any(analysis.blocks(one)))
        self.perhaps = bound - set(parameters) - analysis.stores(simple)
        self.written = names_written(node, self.may_be_users)
        self.sites: list[Site] = []
        self.root = Form("the function", statements, self.live.always, is_root=True)

    def may_be_users(self, function: ast.expr) -> bool:
        """Whether what an expression names may be a function of the user's."""
        return self.family.may_be_users(function, self.visible)

    def is_outside(self, name: str) -> bool:
        """Whether a variable is that of a function or module around the one that is rewritten."""
        if name in self.bound:
            return False
        return name not in self.visible or name in self.family.code.co_freevars

    def site(self, node: ast.If | ast.For | ast.While, place: Place, form: Form) -> Site:
        """A statement of a form, noted."""
        with self.family.lock:
            found = site(len(self.sites), node, place, form)
            self.sites.append(found)
        return found

    def bound_in(self, nodes: Iterable[ast.AST | None]) -> frozenset[str]:
        """The variables that statements bind, also by the functions that they call."""
        listed = [node for node in nodes if node is not None]
        calls = self.set_within and any(
            isinstance(inner, ast.Call) for node in listed for inner in analysis.walk(node))
        return (analysis.stores(listed) & self.visible) | (
            self.set_within if calls else frozenset()
        )

    def definition(self) -> tuple[ast.FunctionDef | ast.Lambda, bool]:
        """The function rewritten, without decorators and defaults; whether it has sites."""
        node = self.node
        spec = ast.arguments(
            posonlyargs=_bare(node.args.posonlyargs), args=_bare(node.args.args),
            vararg=next(iter(_bare([node.args.vararg])), None),
            kwonlyargs=_bare(node.args.kwonlyargs),
            kw_defaults=[None] * len(node.args.kwonlyargs),
            kwarg=next(iter(_bare([node.args.kwarg])), None), defaults=[],
        )
        rewriter = Rewriter(self, self.root)
        if isinstance(node, ast.Lambda):
            return ast.copy_location(ast.Lambda(spec, rewriter.expression(node.body)), node), False
        body = rewriter.body()
        made = _declarations(self, frozenset(self.globals), frozenset(self.nonlocals))
        if rewriter.has_sites:
            made.append(self._prologue())
        made = [located(one, node) for one in made]
        function = ast.FunctionDef(
            name=node.name, args=spec, body=[*made, *body], decorator_list=[], returns=None,
            type_comment=None,
        )
        return ast.copy_location(function, node), rewriter.has_sites

    def _prologue(self) -> ast.stmt:
        """``gradc__ = gradc__of(number, lambda: (a, b, ...))``: the lambda has the cells."""
        names = ast.parse(f"lambda: ({''.join(f'{name}, ' for name in sorted(self.visible))})")
        cells = names.body[0].value  # type: ignore[attr-defined]
        for node in ast.walk(cells):
            for attribute in getattr(node, "_attributes", ()):
                if hasattr(node, attribute):
                    delattr(node, attribute)
        made = ast.Call(ast.Name(MAKER, ast.Load()), [ast.Constant(self.number), cells], [])
        return ast.Assign([ast.Name(RUNTIME, ast.Store())], made)

    def compiled(self, form: Form) -> CodeType:
        """The code of a form, made once. Its free variables are the function's."""
        from gradc.syntax.convert import note

        if form.code is None:
            with self.family.lock:
                rewriter = Rewriter(self, form)
                body = rewriter.body()
                nodes = form.nodes()
                bound = analysis.stores(nodes)
                head = _declarations(self, bound & self.globals, bound & self.visible)
                spec = ast.arguments(
                    posonlyargs=[], args=[ast.arg(ITEM)] if form.item is not None else [],
                    kwonlyargs=[], kw_defaults=[], defaults=[],
                )
                function = ast.FunctionDef(
                    name=self.family.code.co_name.strip("<>"), args=spec,
                    body=[*head, *body] or [ast.Pass()], decorator_list=[], returns=None,
                    type_comment=None,
                )
                at = nodes[0] if nodes else self.node
                code = self.family.compile(located(function, at), self.visible, True)
                note(code)
                form.code = code
        return form.code


class Family:
    """A function of the user's and those nested in it, rewritten together."""

    def __init__(self, function: FunctionType, node: Definition, lock: Any) -> None:
        self.code = function.__code__
        self.namespace = function.__globals__
        self.lock = lock
        self.private = class_of(self.code.co_qualname)
        self.units: list[Unit] = []
        self._by_node: dict[ast.AST, Unit] = {}
        for inner in analysis.walk(node):
            if isinstance(inner, ast.Global):
                ASSIGNED.update(inner.names)
        self.unit = self._unit(normal(node), frozenset(self.code.co_freevars))
        definition, _ = self.unit.definition()
        self.definition = definition
        free = frozenset(self.code.co_freevars)
        self.rewritten = self.compile(definition, free, not self.unit.sites)

    def _unit(self, node: Definition, outer: frozenset[str]) -> Unit:
        if node not in self._by_node:
            self._by_node[node] = unit = Unit(node, self, len(self.units), outer)
            self.units.append(unit)
        return self._by_node[node]

    def nested(self, node: ast.FunctionDef, around: Unit) -> ast.FunctionDef:
        """A nested function rewritten: a new node, which has no decorators and defaults yet."""
        resumed = any(isinstance(inner, _RESUMING) for inner in analysis.in_scope(node.body))
        new = node
        if not resumed:
            definition, _ = self._unit(node, around.visible | {"__class__"}).definition()
            assert isinstance(definition, ast.FunctionDef)
            new = definition
        fields: dict[str, Any] = {name: getattr(new, name, None) for name in node._fields}
        return ast.copy_location(type(node)(**fields), node)

    def may_be_users(self, function: ast.expr, local: frozenset[str]) -> bool:
        """Whether an expression may be a user's function: a name of NumPy's or a builtin is not."""
        from gradc.syntax.convert import is_foreign_module

        depth = 0
        while isinstance(function, ast.Attribute):
            function, depth = function.value, depth + 1
        if not isinstance(function, ast.Name) or function.id in local:
            return True
        if function.id not in self.namespace:  # a builtin, or what is yet to be defined
            return depth > 0 or not hasattr(builtins, function.id)
        held = self.namespace[function.id]
        return not (isinstance(held, ModuleType) and is_foreign_module(held))

    def compile(
        self, function: ast.stmt | ast.expr, free: Iterable[str], runtime: bool
    ) -> CodeType:
        """The code of a function whose free variables are among ``free`` and our own."""
        names = sorted({*map(self.mangled, free), MAKER, *((RUNTIME,) if runtime else ())})
        spec = ast.arguments(
            posonlyargs=[], args=[ast.arg(name) for name in names], kwonlyargs=[], kw_defaults=[],
            defaults=[],
        )
        body = function if isinstance(function, ast.stmt) else located(ast.Expr(function), function)
        name = getattr(function, "name", "")
        if isinstance(function, ast.FunctionDef):  # its own name is a global's or a cell's
            function.name = _FUNCTION
        if self.private is not None:
            # A class around it, for the names that begin with two underscores; those before its own
            # name do not count there, and keep it from standing before the user's class.
            body = ast.ClassDef(name=f"{'_' * 9}{self.private}", bases=[], keywords=[], body=[body],
                                decorator_list=[])
        factory = ast.FunctionDef(name=_FACTORY, args=spec, body=[body], decorator_list=[],
                                  returns=None, type_comment=None)
        nodes = analysis.walk(factory)
        ours = [node for node in nodes if "of_ours" in node.__dict__]
        for node in ours:
            node.args.vararg = ast.copy_location(ast.arg(_LATER), node)  # type: ignore[attr-defined]
        for node in nodes:
            if node._attributes and "end_lineno" not in node.__dict__:
                ast.copy_location(node, function)
        module = ast.Module([factory], [])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they were given when the file was imported
            code = compile(module, self.code.co_filename, "exec",
                           flags=self.code.co_flags & FUTURES, dont_inherit=True)
        for node in ours:
            node.args.vararg = None  # type: ignore[attr-defined]
        if isinstance(function, ast.FunctionDef):
            function.name = name
        steps = 3 if self.private is not None else 2
        outer = ""
        for _ in range(steps):
            code = next(one for one in code.co_consts if isinstance(one, CodeType))
            if code.co_qualname != _FACTORY:
                outer = code.co_qualname
        return _renamed(code, outer, self.code)

    def mangled(self, name: str) -> str:
        """A name as code in a class knows it."""
        if self.private is None or not name.startswith("__") or name.endswith("__"):
            return name
        return f"_{self.private.lstrip('_')}{name}"

    def maker(self) -> Callable[[int, Any], Any]:
        """What makes the runtime of a call, of the unit with a number."""
        from gradc.syntax.loops import Frame

        def of(number: int, cells: Any) -> Frame:
            names = cells.__code__.co_freevars
            held = dict(zip(names, cells.__closure__ or (), strict=True))
            return Frame(self.units[number], held, self.namespace)

        return of

    def function(self, original: FunctionType) -> FunctionType:
        """The function that stands for one with this code: with its very cells and globals."""
        from gradc.syntax.loops import Frame

        cells = dict(zip(original.__code__.co_freevars, original.__closure__ or (), strict=True))
        own = {MAKER: self.maker(), RUNTIME: Frame(self.unit, {}, self.namespace)}
        closure = tuple(
            CellType(own[name]) if name in own else cells[name]
            for name in self.rewritten.co_freevars
        )
        made = FunctionType(self.rewritten, original.__globals__, original.__name__,
                            original.__defaults__, closure)
        made.__kwdefaults__ = original.__kwdefaults__
        made.__qualname__ = original.__qualname__
        made.__module__ = original.__module__
        made.__doc__ = original.__doc__
        made.__dict__.update(original.__dict__)
        return made


def _bare(parameters: Iterable[ast.arg | None]) -> list[ast.arg]:
    """Parameters without annotations, which nobody reads again."""
    return [ast.copy_location(ast.arg(one.arg), one) for one in parameters if one is not None]


def _declarations(unit: Unit, outer: frozenset[str], shared: frozenset[str]) -> list[ast.stmt]:
    made: list[ast.stmt] = []
    if outer:
        made.append(ast.Global(sorted(outer)))
    if shared:
        made.append(ast.Nonlocal(sorted(shared)))
    return made


def _renamed(code: CodeType, outer: str, original: CodeType, around: str = "") -> CodeType:
    """Code under the qualified name of the user's function, and so what is nested in it.

    A lambda of ours has the name of the function that it is in.
    """
    name = original.co_name if code.co_qualname == outer else code.co_name
    if code.co_varnames[:1] == (_LATER,):
        name = around
    consts = tuple(
        _renamed(one, outer, original, name) if isinstance(one, CodeType) else one
        for one in code.co_consts
    )
    qualname = original.co_qualname + code.co_qualname.removeprefix(outer)
    return code.replace(co_consts=consts, co_qualname=qualname, co_name=name)
