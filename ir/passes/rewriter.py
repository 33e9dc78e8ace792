"""The optimising builder: it conses, folds and applies local rules as nodes are emitted.

A pass walks a graph once and emits each node into a :class:`Rewriter`. What comes back is a node
that no rule applies to, so a rule sees operands that are already in their final form, and one
walk does what a sequence of passes repeated to a fixed point would do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradc.ir import ops
from gradc.ir.graph import Attrs, Builder, Graph, Loc, Node, Role, Value, attr_key, frozen
from gradc.ir.ops import Op
from gradc.ir.types import TensorType

#: a folded result has at most so many elements (or no more than its operands)
FOLD_LIMIT = 4096
#: a constant that exists only as a broadcast is spread out for folding up to so many elements
SPREAD_LIMIT = 1 << 16
#: constants above this many bytes are merged by identity alone
HASH_LIMIT = 1 << 16
#: rules may emit nodes to which rules apply, this deep
MAX_DEPTH = 40
#: a node remembers at most so many of the user's lines
MAX_LOCS = 4

#: operands in either order are the same value, to the bit
COMMUTATIVE = frozenset("add mul eq ne bit_and bit_or bit_xor".split())


Instead = Callable[[Node, Value], Value | None]
#: for each operand the op it must be, NUMBER for the same number in every element, None for any
Heads = tuple[str | None, ...]
NUMBER = "a number"


class Draft(NamedTuple):
    """A node about to be emitted, as rules see it."""

    builder: Rewriter
    op: Op
    operands: list[Value]
    attrs: Attrs
    type: TensorType


class Rule(NamedTuple):
    """A named local rewrite of nodes of one op.

    relaxed: may change a NaN, an infinity, a signed zero or the rounding; off unless asked for.
    accurate: replaces an overflow, a NaN or a loss of all digits by the true value.
    pattern, kinds: what it was made from, if it is data (see ``patterns.rule``).
    heads: alternatives for the operands, one of which must hold for the rule to apply at all; it is
    only tried where one does. Without any it always is.
    """

    name: str
    op: str
    apply: Callable[[Draft], Value | None]
    relaxed: bool = False
    accurate: bool = False
    pattern: Any = None
    kinds: str = "biuf"
    heads: tuple[Heads, ...] = ()

    def may_apply(self, kind: str, operands: Sequence[tuple[str, bool]]) -> bool:
        """Whether it could apply to operands of these ops, each a number or not."""
        return kind in self.kinds and (not self.heads or any(
            all(wanted is None or (is_number if wanted == NUMBER else wanted == name)
                for wanted, (name, is_number) in zip(heads, operands, strict=False))
            for heads in self.heads
        ))


class Rewriter(Builder):
    """A builder that hash-conses and rewrites. ``fired`` counts the rules that applied.

    ``keep_weak`` keeps the mark of Python scalars on constants, for graphs that are still to be
    traced into others; without it equal constants merge whatever they came from.
    """

    def __init__(self, name: str, rules: Iterable[Rule] = (), *, keep_weak: bool = False) -> None:
        super().__init__(name)
        self.keep_weak = keep_weak
        self.fired: Counter[str] = Counter()
        #: the number a node has in every element, or None
        self.numbers: list[Any] = []
        #: whether a node may be a constant, as it is or spread out
        self._constants: list[bool] = []
        #: how many different values of the graph being rewritten use what became this node
        self.uses: Counter[int] = Counter()
        #: what is a term of a sum or difference in the graph being rewritten
        self.terms: set[int] = set()
        self.locs: tuple[Loc, ...] = ()
        self.locate = lambda: self.locs
        self._depth = 0
        self._emitted: dict[tuple[Any, ...], int] = {}
        self._more_locs: dict[int, tuple[Loc, ...]] = {}
        self._rules: dict[str, list[Rule]] = {}
        for rule in rules:
            self._rules.setdefault(rule.op, []).append(rule)
        #: of those, the ones that may apply to an op by what its operands are
        self._applicable: dict[tuple[Any, ...], list[Rule]] = {}

    # -- emission

    def _append(
        self, op: Op, operands: tuple[int, ...], attrs: Attrs, type_: TensorType
    ) -> Value:
        if op.name == "input":
            return super()._append(op, operands, attrs, type_)
        return self.value(self.emit(op, operands, attrs, type_))

    def emit(
        self, op: Op, operands: tuple[int, ...], attrs: Attrs, type_: TensorType, fence: int = 0
    ) -> int:
        """The id of a node with this meaning: an old one, a simpler one, or a new one."""
        if op.name == "const" and not self.keep_weak and type_.weak:
            attrs, type_ = {"value": attrs["value"]}, type_._replace(weak=False)
        key = self._key(op, operands, attrs, type_, fence)
        known = self._emitted.get(key)
        if known is not None and not op.effect:
            self._merge_locs(known)
            return known
        found = None
        if op.name == "const":
            if type_.shape and not fence and _uniform(attrs["value"]):
                found = self._full(attrs["value"].flat[0], type_.shape)
        elif not fence and not op.effect and op.family != "control":
            found = self._simpler(op, operands, attrs, type_)
        id_ = self._fresh(op, operands, attrs, type_, fence) if found is None else found
        self._emitted[key] = id_
        return id_

    def _key(
        self, op: Op, operands: tuple[int, ...], attrs: Attrs, type_: TensorType, fence: int
    ) -> tuple[Any, ...]:
        if op.name in COMMUTATIVE and operands[0] > operands[1]:
            operands = operands[::-1]
        if not attrs:
            return (op.name, operands, type_, fence)
        values = tuple(
            [(k, id(v) if isinstance(v, np.ndarray) and v.nbytes > HASH_LIMIT else attr_key(v))
             for k, v in sorted(attrs.items())]
        )
        return (op.name, operands, values, type_, fence)

    def _fresh(
        self, op: Op, operands: tuple[int, ...], attrs: Attrs, type_: TensorType, fence: int
    ) -> int:
        node = Node(len(self.nodes), op, operands, frozen(attrs), type_, self.locate(), self.role,
                    fence)
        return self._insert(node).id

    def _insert(self, node: Node) -> Value:
        number = None
        constant = node.op.name == "const"
        if constant and node.type.size == 1:
            number = node.attrs["value"].item()
        elif node.op.name in ("broadcast", "reshape") and not node.fence:
            number = self.numbers[node.operands[0]]
            constant = self._constants[node.operands[0]]
        self.numbers.append(number)
        self._constants.append(constant or 0 in node.type.shape)
        return super()._insert(node)

    def _merge_locs(self, id_: int) -> None:
        if self.numbers[id_] is not None:
            return  # every line that names the number would be listed
        here = self.locate()
        have = self._more_locs.get(id_, self.nodes[id_].locs)
        if len(have) < MAX_LOCS:
            missing = tuple(loc for loc in here if loc not in have)
            if missing:
                self._more_locs[id_] = (have + missing)[:MAX_LOCS]

    def shared(self, value: Value) -> bool:
        """Whether a value has several uses: another form of it would be extra work, and a user may
        rely on its rounding.
        """
        return self.uses[value.id] > 1

    # -- simplification

    def _simpler(
        self, op: Op, operands: tuple[int, ...], attrs: Attrs, type_: TensorType
    ) -> int | None:
        if 0 in type_.shape and not (op.name == "broadcast" and self.numbers[operands[0]] == 0):
            return self._counted("empty", self._full(np.zeros((), type_.dtype), type_.shape))
        if all([self._constants[i] for i in operands]):
            folded = self._fold(op, operands, attrs, type_)
            if folded is not None:
                return self._counted("fold", folded)
        rules = self._rules_for(op, operands)
        if not rules or self._depth > MAX_DEPTH:
            return None
        self._depth += 1
        try:
            return self._rewritten(rules, op, operands, attrs, type_)
        finally:
            self._depth -= 1

    def _rules_for(self, op: Op, operands: tuple[int, ...]) -> list[Rule]:
        """The rules that may apply, of all rules of the op, in their order."""
        nodes, numbers = self.nodes, self.numbers
        kind = nodes[operands[-1]].type.dtype.kind if operands else ""
        heads = [(nodes[i].op.name, numbers[i] is not None) for i in operands]
        key = (op.name, kind, *heads)
        found = self._applicable.get(key)
        if found is None:
            found = self._applicable[key] = [
                rule for rule in self._rules.get(op.name, ()) if rule.may_apply(kind, heads)
            ]
        return found

    def _rewritten(
        self,
        rules: Sequence[Rule],
        op: Op,
        operands: tuple[int, ...],
        attrs: Attrs,
        type_: TensorType,
    ) -> int | None:
        draft = Draft(self, op, [self.value(i) for i in operands], attrs, type_)
        for rule in rules:
            value = rule.apply(draft)
            if value is None or (self.keep_weak and value.type.weak != type_.weak):
                continue
            if (value.dtype, value.shape) != (type_.dtype, type_.shape):
                raise AssertionError(f"rule {rule.name} turned {type_} into {value.type}")
            return self._counted(rule.name, value.id)
        return None

    def _counted(self, name: str, id_: int) -> int:
        self.fired[name] += 1
        return id_

    def _fold(
        self, op: Op, operands: tuple[int, ...], attrs: Attrs, type_: TensorType
    ) -> int | None:
        """The constant a node is, if its operands are constants and it is not too large."""
        if not operands or op.name == "broadcast" or (self.keep_weak and type_.weak):
            return None
        if type_.size > FOLD_LIMIT and not any(
            self.nodes[i].op.name == "const" and self.nodes[i].type.size >= type_.size
            for i in operands
        ):
            return None
        given = []
        for id_ in operands:
            array = self.constant(id_)
            if array is None:
                return None
            given.append(array)
        if type_.size > 1 and op.family == "elementwise" and all(
            self.numbers[i] is not None for i in operands
        ):
            return None  # computed once and broadcast: see the rule that lifts broadcasts
        try:
            with np.errstate(all="ignore"):
                result = np.asarray(op.numpy(*given, **attrs))
        except (ValueError, TypeError, ArithmeticError, LookupError):
            return None  # it shall fail when the program runs, if it does
        if (result.dtype, result.shape) != (type_.dtype, type_.shape):
            raise AssertionError(f"{op.name} of {type_} computed {result.dtype}{result.shape}")
        return self._constant(result)

    def constant(self, id_: int) -> np.ndarray[Any, Any] | None:
        """The array a node is at compile time, seen through a broadcast; None if unknown."""
        node = self.nodes[id_]
        if node.fence:
            return None
        if node.type.size == 0:
            return np.zeros(node.type.shape, node.type.dtype)
        if node.op.name == "const":
            array: np.ndarray[Any, Any] = node.attrs["value"]
            return array
        if node.type.size > SPREAD_LIMIT or node.op.name not in ("broadcast", "reshape"):
            return None
        source = self.nodes[node.operands[0]]
        if self.numbers[id_] is not None:
            return np.full(node.type.shape, self.numbers[id_], node.type.dtype)
        if source.op.name != "const" or source.fence:
            return None
        value = source.attrs["value"]
        if node.op.name == "reshape":
            return np.reshape(value, node.type.shape)
        return np.broadcast_to(value, node.type.shape)

    def _constant(self, array: np.ndarray[Any, Any]) -> int:
        """A constant node; one number in all elements is kept as a broadcast."""
        return ops.const(self, array).id

    def _full(self, number: Any, shape: tuple[int, ...]) -> int:
        scalar = ops.const(self, number)
        return ops.broadcast(scalar, shape=shape).id if shape else scalar.id

    # -- the walk

    def rewrite(self, graph: Graph) -> Graph:
        """Emit every node of a graph, in order, and freeze the result."""
        new = self.copy(graph)
        return self.finish(graph, new)

    def copy(self, graph: Graph, instead: Instead | None = None) -> list[int]:
        """Emit every node of a graph; return the new id of each.

        ``instead`` may give another value for a node with one operand; None emits the node.
        """
        same, uses, terms = self._users(graph)
        new: list[int] = []
        nodes = self.nodes
        for node in graph.nodes:
            operands = tuple([new[i] for i in node.operands])
            of = node.role.of
            self.role = node.role if of is None else Role(
                node.role.kind, node.role.order, new[of] if of < len(new) else None)
            self.locs = node.locs
            type_, attrs = node.type, node.attrs
            if node.op.name == "input":
                id_ = super()._append(node.op, (), attrs, type_).id
            else:
                for old, operand in zip(node.operands, operands, strict=True):
                    before, after = graph.nodes[old].type, nodes[operand].type
                    if after is not before and after != before:
                        type_ = node.op.infer([nodes[i].type for i in operands], attrs)
                        break
                other = None
                if instead is not None and len(operands) == 1:
                    other = instead(node, self.value(operands[0]))
                id_ = other.id if other is not None else (
                    self.emit(node.op, operands, attrs, type_, node.fence))
            if same[node.id] == node.id:
                self.uses[id_] += uses[node.id]
                if node.id in terms:
                    self.terms.add(id_)
            new.append(id_)
        return new

    def _users(self, graph: Graph) -> tuple[list[int], list[int], set[int]]:
        """For each node the first of equal ones; for that, how many different operands and results
        it is; and which are terms of a sum or difference.
        """
        first: dict[tuple[Any, ...], int] = {}
        same: list[int] = []
        uses = [0] * len(graph.nodes)
        terms: set[int] = set()
        for node in graph.nodes:
            id_ = node.id
            operands = tuple([same[i] for i in node.operands])
            if node.op.name != "input" and not node.op.effect:
                key = self._key(node.op, operands, node.attrs, node.type, node.fence)
                id_ = first.setdefault(key, id_)
            same.append(id_)
            if id_ == node.id:
                for operand in operands:
                    uses[operand] += 1
                if node.op.name in ("add", "sub"):
                    terms.update(operands)
        for id_ in {same[i] for i in graph.outputs}:
            uses[id_] += 1
        return same, uses, terms

    def finish(self, graph: Graph, new: Sequence[int]) -> Graph:
        """The rewritten graph, with the same inputs and the outputs' new nodes."""
        for id_, locs in self._more_locs.items():
            self.nodes[id_] = self.nodes[id_]._replace(locs=locs)
        self.inputs = [new[i] for i in graph.inputs]
        return self.build([self.value(new[i]) for i in graph.outputs])


def _uniform(array: np.ndarray[Any, Any]) -> bool:
    """Whether all elements have the same bits."""
    if array.size < 2:
        return False
    bits = array.reshape(-1).view(f"u{array.dtype.itemsize}")
    return bool(bits[0] == bits[-1] and (bits == bits[0]).all())
