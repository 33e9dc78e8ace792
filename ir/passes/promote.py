"""An element that a loop reads and writes, always the same one, is a number that it carries.

Scalar promotion of memory (Sastry & Ju, PLDI 1998): of ``a[i, j] -= a[i, k] * a[k, j]`` in a loop
over ``k`` the element ``a[i, j]`` is read once before the loop and written once after it, where
the loops' bounds prove that what else the loop reads of the array are other elements. It is done
before differentiation: reverse mode then keeps one overwritten value and not one of each iteration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradc.ir import ops
from gradc.ir.forms import RULES, Form, index_of, symbol
from gradc.ir.graph import Builder, Graph, Node, Value, frozen
from gradc.ir.passes.calls import Copier
from gradc.ir.types import I64, TensorType

_WRITES = ("scatter_set", "scatter_add")
#: ops on integers that may be done before a loop
_SIMPLE = frozenset(("const", "add", "sub", "mul", "neg"))


def promote(graph: Graph) -> Graph:
    """Carry in numbers the elements that loops, however nested, read and write in place."""
    if not any(node.op.name == "loop" for node in graph.nodes):
        return graph
    return _promoted(graph, {})


def _promoted(graph: Graph, given: Mapping[int, Form]) -> Graph:
    """A graph promoted; ``given`` are the forms of its inputs."""
    forms = _forms(graph, given)
    copier = Copier(graph)
    for node in graph.nodes:
        if node.op.name == "loop":
            with copier.builder.marked(node.role._replace(of=None), node.locs):
                copier.results[node.id] = _Loop(node, forms, copier).results()
            continue
        if node.op.name == "branch":
            branches = tuple(
                _promoted(g, _taken(g.inputs, node.operands[1:], forms))
                for g in node.attrs["branches"]
            )
            node = node._replace(attrs=frozen({**node.attrs, "branches": branches}))
        elif node.op.name == "call" and node.attrs["rule"] == "checkpoint":
            body: Graph = node.attrs["body"]
            body = _promoted(body, _taken(body.inputs, node.operands, forms))
            node = node._replace(attrs=frozen({**node.attrs, "body": body}))
        copier.copy(node)
    return copier.build()


def _forms(graph: Graph, given: Mapping[int, Form]) -> dict[int, Form]:
    """What is known of the integers of a graph."""
    found = dict(given)
    for node in graph.nodes:
        if node.id in found or node.type.items or node.type.shape or node.type.dtype != I64:
            continue
        if node.op.name == "const":
            found[node.id] = Form(int(node.attrs["value"]))
            continue
        rule = RULES.get(node.op.name)
        form = rule(*(found[i] for i in node.operands)) if rule and all(
            i in found for i in node.operands) else None
        found[node.id] = symbol() if form is None else form
    return found


def _taken(
    inputs: Sequence[int], operands: Sequence[int], forms: Mapping[int, Form]
) -> dict[int, Form]:
    """The forms of a region's inputs."""
    return {i: forms[j] for i, j in zip(inputs, operands, strict=True) if j in forms}


def _at_least(form: Form, number: int) -> bool:
    least = form.least()
    return least is not None and least >= number


class _Loop:
    """One loop on its way into the new graph."""

    def __init__(self, node: Node, forms: Mapping[int, Form], copier: Copier) -> None:
        self.node = node
        self.attrs = attrs = node.attrs
        self.builder = copier.builder
        self.count: int = attrs["carries"]
        self.parts = ops.LoopParts(copier.operands(node), attrs)
        old = ops.LoopParts(node.operands, attrs)
        trips = None
        if attrs["test"] is None:
            trips = Form(attrs["length"]) if old.trips is None else forms.get(old.trips)
        body: Graph = attrs["body"]
        known = {body.inputs[0]: Form(0, {index_of(trips): 1})}
        self.at_captures = len(body.inputs) - len(old.captures)
        known |= _taken(body.inputs[self.at_captures :], old.captures, forms)
        positions = {body.inputs.index(i): form for i, form in known.items()}
        self.body = _promoted(body, known)
        self.forms = _forms(self.body, {self.body.inputs[k]: f for k, f in positions.items()})
        self.steady = set(self.body.inputs[self.at_captures :])
        for n in self.body.nodes:
            if n.op.name in _SIMPLE and n.type.dtype == I64 and self.steady.issuperset(n.operands):
                self.steady.add(n.id)
        self.certain = trips is not None and not trips.terms and trips.constant > 0
        #: the carries that become numbers, and the writes
        self.places = {k: write for k in range(self.count) if (write := self._write(k))}

    # -- which are promoted ----------------------------------------------------------------------

    def _write(self, k: int) -> Node | None:
        """The write of a carry, if it is one of always the same element."""
        graph = self.body
        first, last = graph.inputs[1 + k], graph.outputs[k]
        write = graph.nodes[last]
        if self.attrs["test"] is not None or write.op.name not in _WRITES:
            return None
        indices = write.operands[2:]
        if write.operands[0] != first or not self._element(write) or not self._there(write):
            return None
        if first in graph.outputs or graph.outputs.count(last) > 1 or last in graph.effects:
            return None
        for node in graph.nodes:
            if node.id == last or not {first, last} & set(node.operands):
                continue
            other = node.operands[1:]
            if node.op.name != "gather" or not self._element(node):
                return None
            if not self._same(indices, other) and not self._apart(indices, other):
                return None
        return write

    def _element(self, access: Node) -> bool:
        """Whether an access is of one element."""
        indices = access.operands[1 + (access.op.name in _WRITES) :]
        array = self.body.nodes[access.operands[0]].type
        return len(indices) == array.rank and all(i in self.forms for i in indices)

    def _there(self, write: Node) -> bool:
        """Whether the element may be accessed outside of the loop: it is inside, or is in any case.

        Its indices are the same in every iteration.
        """
        shape, indices = write.type.shape, write.operands[2:]
        inside = all(
            form.exact() and _at_least(form, 0) and _at_least(Form(extent - 1).plus(form, -1), 0)
            for form, extent in zip(map(self.forms.__getitem__, indices), shape, strict=True)
        )
        return self.steady.issuperset(indices) and (self.certain or inside)

    def _same(self, one: Sequence[int], other: Sequence[int]) -> bool:
        return all(
            a == b or self.forms[a].plus(self.forms[b], -1).is_zero()
            for a, b in zip(one, other, strict=True)
        )

    def _apart(self, one: Sequence[int], other: Sequence[int]) -> bool:
        """Whether two elements are surely not the same; negative indices count from the end."""
        for a, b in zip(one, other, strict=True):
            pair = self.forms[a], self.forms[b]
            plain = all(form.exact() and _at_least(form, 0) for form in pair)
            if plain and pair[0].plus(pair[1], -1).is_zero() is False:
                return True
        return False

    # -- the new loop ----------------------------------------------------------------------------

    def results(self) -> list[Value | None]:
        """What stands for the loop's results."""
        parts, attrs, builder = self.parts, self.attrs, self.builder
        indices = {k: self._outside(write.operands[2:]) for k, write in self.places.items()}
        carries = list(parts.carries)
        for k, write in self.places.items():
            with builder.marked(write.role._replace(of=None), write.locs):
                carries[k] = ops.gather(parts.carries[k], *indices[k])
        body = self._inside()
        found: list[Value | None] = list(ops.loop(
            builder, body, carries=carries, xs=parts.xs,
            captures=[*parts.captures, *(parts.carries[k] for k in self.places)],
            length=attrs["length"], trips=parts.trips, test=attrs["test"],
            reverse=attrs["reverse"], limit=attrs["limit"],
        ))
        for k, write in self.places.items():
            number = found[k]
            assert number is not None
            with builder.marked(write.role._replace(of=None), write.locs):
                found[k] = ops.scatter_set(parts.carries[k], number, *indices[k])
        return found

    def _outside(self, indices: Sequence[int]) -> list[Value]:
        """Indices of the body before the loop."""
        graph = self.body
        made = Copier(Graph(graph.name, graph.nodes, (), (), ()))
        made.builder = self.builder
        made.values = dict(zip(
            graph.inputs[self.at_captures :], self.parts.captures, strict=True))
        cone = set(indices)
        for node in reversed(graph.nodes):
            if node.id in cone and node.id not in made.values:
                cone.update(node.operands)
        for id_ in sorted(cone - made.values.keys()):
            made.copy(graph.nodes[id_])
        return [made.values[i] for i in indices]

    def _inside(self) -> Graph:
        """The body that carries numbers."""
        graph = self.body
        if not self.places:
            return graph
        builder = Builder(graph.name)
        copier = Copier(Graph(graph.name, graph.nodes, (), graph.outputs, ()))
        copier.builder = builder
        numbers: dict[int, Value] = {}
        arrays: dict[int, Value] = {}
        for k, id_ in enumerate(graph.inputs, -1):
            given = graph.nodes[id_]
            name, type_ = given.attrs["name"], given.type
            with builder.marked(given.role._replace(of=None), given.locs):
                if k in self.places:
                    numbers[id_] = builder.input(name, TensorType(type_.dtype))
                else:
                    copier.values[id_] = builder.input(name, type_)
        writes = {write.id: write for write in self.places.values()}
        for write in writes.values():
            of = graph.nodes[write.operands[0]]
            with builder.marked(of.role._replace(of=None), of.locs):
                arrays[of.id] = builder.input(f"{of.attrs['name']}_before", of.type)
            arrays[write.id] = arrays[of.id]
        places = {id_: write for write in self.places.values() for id_ in (
            write.id, write.operands[0])}
        for node in graph.nodes:
            operands = [copier.values[i] for i in node.operands if i not in places]
            with builder.marked(node.role._replace(of=None), node.locs):
                if node.id in writes:
                    add = node.op.name == "scatter_add"
                    value = numbers[node.operands[0]] + operands[0] if add else operands[0]
                    numbers[node.id] = copier.values[node.id] = value
                elif node.operands and node.operands[0] in places:
                    array = node.operands[0]
                    same = self._same(places[array].operands[2:], node.operands[1:])
                    copier.values[node.id] = numbers[array] if same else ops.gather(
                        arrays[array], *operands)
            if node.id not in numbers:
                copier.copy(node)
        return copier.build()
