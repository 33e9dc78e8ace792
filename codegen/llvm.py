"""LLVM IR as text: a module of lines and a builder that numbers the values.

Text is an order of magnitude cheaper to make than objects, and the emitted module is what a
reader of ``f.llvm()`` sees. Only what gradc emits is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from gradc.codegen.addresses import Addresses
from gradc.codegen.llvm_types import intrinsic_suffix, lanes_of, like, literal, scalar_of, vector


class Val(NamedTuple):
    """An SSA value or literal: its text and its LLVM type."""

    ref: str
    ty: str

    def __str__(self) -> str:
        return f"{self.ty} {self.ref}"


class Module:
    """An LLVM module under construction: globals, declarations and functions, as text."""

    def __init__(self, target: object = None) -> None:
        self.target = target
        self.globals: dict[str, str] = {}
        self.declarations: dict[str, str] = {}
        self.functions: dict[str, str] = {}
        self.attributes = ""
        self.outline = False  # math functions are called rather than emitted in place
        self.linkage = ""  # of functions that are given none
        self.externals: dict[str, int] = {}  # name -> slot of the table filled at load
        self.symbols: Sequence[str] = ()  # what fills the table, where a linker does

    def constant(self, name: str, ty: str, body: str, align: int = 64) -> Val:
        """A private constant array, once for each name."""
        self.globals.setdefault(
            name, f"@{name} = private unnamed_addr constant {ty} {body}, align {align}"
        )
        return Val(f"@{name}", "ptr")

    def data(self, name: str, data: bytes, align: int = 64) -> Val:
        """A private constant of these bytes, of which there is at least one."""
        escaped = "\\" + data.hex("\\")
        return self.constant(name, f"[{len(data)} x i8]", f'c"{escaped}"', align)

    def declare(self, name: str, result: str, params: Sequence[str]) -> None:
        """Declare an intrinsic, once."""
        self.declarations.setdefault(name, f"declare {result} @{name}({', '.join(params)})")

    def __str__(self) -> str:
        table = []
        if self.symbols:
            slots = ", ".join(f"ptr @{symbol}" for symbol in self.symbols)
            table = [f"@gradc_table = internal constant [{len(self.symbols)} x ptr] [{slots}]"]
        elif self.externals:
            slots = f"[{len(self.externals)} x ptr] zeroinitializer"
            table = [f"@gradc_table = dso_local global {slots}"]
        parts = [*table, *self.globals.values(), *self.declarations.values()]
        parts += self.functions.values()
        if self.attributes:
            parts.append(f"attributes #0 = {{ {self.attributes} }}")
        return "\n".join(parts) + "\n"


class Builder:
    """Emits the instructions of one function.

    ``Builder(module, "name", "i64", [("ptr", "args")])``; then the methods; then ``finish()``,
    which puts the text into the module. Values are :class:`Val`; operands of an arithmetic
    method must have equal types.
    """

    def __init__(
        self,
        module: Module,
        name: str,
        result: str,
        params: Sequence[tuple[str, str]],
        *,
        linkage: str = "",
    ) -> None:
        self.module = module
        self.name = name
        self.result = result
        self.linkage = linkage
        self.params = [Val(f"%{p}", ty) for ty, p in params]
        self.entry: list[str] = []  # allocas: always in the entry block
        self.lines: list[str] = []
        self.block = "entry"
        self.addresses = Addresses(self.op)
        self._next = 0
        self._labels = 0

    # -- the text ------------------------------------------------------------------------------

    def finish(self) -> None:
        """Close the function and add it to the module."""
        linkage = self.linkage or self.module.linkage
        head = " ".join(x for x in ("define", linkage, self.result) if x)
        params = ", ".join(map(str, self.params))
        self.module.functions[self.name] = "\n".join(
            [f"{head} @{self.name}({params}) #0 {{", "entry:", *self.entry, *self.lines, "}"]
        )

    @contextmanager
    def on_entry(self) -> Iterator[None]:
        """Emit instructions into the entry block."""
        lines, self.lines = self.lines, self.entry
        self.addresses.begin()
        yield
        self.addresses.begin()
        self.lines = lines

    def line(self, text: str) -> None:
        self.lines.append("  " + text)

    def op(self, ty: str, text: str) -> Val:
        """``%n = text``, a value of type ``ty``."""
        value = self.later(ty)
        self.lines.append(f"  {value.ref} = {text}")
        return value

    def later(self, ty: str) -> Val:
        """A fresh name, for a value that is written down later."""
        self._next += 1
        return Val(f"%v{self._next}", ty)

    def label(self, hint: str = "b") -> str:
        """A fresh block label, not yet placed."""
        self._labels += 1
        return f"{hint}{self._labels}"

    def place(self, label: str) -> None:
        """Begin the block ``label``; the block before must have been closed."""
        self.lines.append(f"{label}:")
        self.block = label
        self.addresses.begin()

    def br(self, label: str) -> None:
        self.line(f"br label %{label}")

    def cond_br(self, cond: Val, then: str, other: str) -> None:
        self.line(f"br {cond}, label %{then}, label %{other}")

    def ret(self, value: Val | None = None) -> None:
        self.line(f"ret {value}" if value else "ret void")

    # -- constants -----------------------------------------------------------------------------

    def const(self, value: float | int | bool, ty: str) -> Val:
        """A scalar literal, or the same in every lane."""
        scalar, lanes = scalar_of(ty), lanes_of(ty)
        text = literal(value, scalar)
        if lanes == 1:
            return Val(text, ty)
        if value == 0 and not (isinstance(value, float) and str(value)[0] == "-"):
            return Val("zeroinitializer", ty)
        return Val("<" + ", ".join([f"{scalar} {text}"] * lanes) + ">", ty)

    def i64(self, value: int) -> Val:
        return Val(str(value), "i64")

    # -- arithmetic ----------------------------------------------------------------------------

    def binary(self, opcode: str, a: Val, b: Val) -> Val:
        """fadd fsub fmul fdiv frem add sub mul sdiv udiv shl lshr ashr and or xor ..."""
        assert a.ty == b.ty, (opcode, a, b)
        return self.op(a.ty, f"{opcode} {a.ty} {a.ref}, {b.ref}")

    def fadd(self, a: Val, b: Val) -> Val:
        return self.binary("fadd", a, b)

    def fsub(self, a: Val, b: Val) -> Val:
        return self.binary("fsub", a, b)

    def fmul(self, a: Val, b: Val) -> Val:
        return self.binary("fmul", a, b)

    def fdiv(self, a: Val, b: Val) -> Val:
        return self.binary("fdiv", a, b)

    def fneg(self, a: Val) -> Val:
        return self.op(a.ty, f"fneg {a.ty} {a.ref}")

    def add(self, a: Val, b: Val) -> Val:
        return self.addresses.add(a, b) if a.ty == "i64" else self.binary("add", a, b)

    def sub(self, a: Val, b: Val) -> Val:
        return self.binary("sub", a, b)

    def mul(self, a: Val, b: Val) -> Val:
        return self.addresses.mul(a, b) if a.ty == "i64" else self.binary("mul", a, b)

    def and_(self, a: Val, b: Val) -> Val:
        return self.binary("and", a, b)

    def or_(self, a: Val, b: Val) -> Val:
        return self.binary("or", a, b)

    def xor(self, a: Val, b: Val) -> Val:
        return self.binary("xor", a, b)

    def fma(self, a: Val, b: Val, c: Val) -> Val:
        """a·b + c, rounded once, or nearly so on machines without such an instruction."""
        if self.fused:
            return self.intrinsic("fma", a.ty, [a, b, c])
        from gradc.codegen.fused import emulated_fma

        return emulated_fma(self, a, b, c)

    @property
    def fused(self) -> bool:
        """Whether a fused multiply-add is one instruction."""
        return bool(getattr(self.module.target, "fma", True))

    def madd(self, a: Val, b: Val, c: Val) -> Val:
        """a·b + c, rounded once where that is one instruction, else twice."""
        return self.fma(a, b, c) if self.fused else self.fadd(self.fmul(a, b), c)

    def fcmp(self, predicate: str, a: Val, b: Val) -> Val:
        return self.op(like(a.ty, "i1"), f"fcmp {predicate} {a.ty} {a.ref}, {b.ref}")

    def icmp(self, predicate: str, a: Val, b: Val) -> Val:
        return self.op(like(a.ty, "i1"), f"icmp {predicate} {a.ty} {a.ref}, {b.ref}")

    def select(self, cond: Val, a: Val, b: Val) -> Val:
        assert a.ty == b.ty, (cond, a, b)
        return self.op(a.ty, f"select {cond}, {a}, {b}")

    def cast(self, opcode: str, a: Val, ty: str) -> Val:
        """bitcast sitofp uitofp fptosi fptoui fpext fptrunc zext sext trunc ptrtoint inttoptr."""
        return a if a.ty == ty and opcode == "bitcast" else self.op(ty, f"{opcode} {a} to {ty}")

    def intrinsic(self, name: str, ty: str, operands: Sequence[Val]) -> Val:
        """``llvm.<name>.<suffix of ty>``, such as sqrt fabs copysign rint floor ceil fma ctpop."""
        full = f"llvm.{name}.{intrinsic_suffix(ty)}"
        self.module.declare(full, ty, [v.ty for v in operands])
        return self.op(ty, f"call {ty} @{full}({', '.join(map(str, operands))})")

    def external(self, name: str) -> Val:
        """The address of a live object or library function, by name, from the module's table.

        Compiled objects hold no addresses and no undefined symbols: whoever loads the module
        fills ``@gradc_table`` with what ``module.externals`` asks for.
        """
        slot = self.module.externals.setdefault(name, len(self.module.externals))
        at = self.op("ptr", f"getelementptr inbounds ptr, ptr @gradc_table, i64 {slot}")
        return self.op("ptr", f"load ptr, ptr {at.ref}, align 8, !invariant.load !{{}}")

    def call_pointer(self, ty: str, function: Val, operands: Sequence[Val]) -> Val | None:
        """Call through an address."""
        args = ", ".join(map(str, operands))
        if ty == "void":
            self.line(f"call void {function.ref}({args})")
            return None
        return self.op(ty, f"call {ty} {function.ref}({args})")

    def call(self, ty: str, name: str, operands: Sequence[Val]) -> Val | None:
        """Call a function of this module."""
        args = ", ".join(map(str, operands))
        if ty == "void":
            self.line(f"call void @{name}({args})")
            return None
        return self.op(ty, f"call {ty} @{name}({args})")

    # -- vectors -------------------------------------------------------------------------------

    def splat(self, a: Val, lanes: int) -> Val:
        """A scalar in every lane."""
        if lanes == 1:
            return a
        ty = vector(a.ty, lanes)
        one = self.op(ty, f"insertelement {ty} poison, {a}, i64 0")
        mask = f"<{lanes} x i32> zeroinitializer"
        return self.op(ty, f"shufflevector {ty} {one.ref}, {ty} poison, {mask}")

    def extract(self, a: Val, lane: int | Val) -> Val:
        index = lane if isinstance(lane, Val) else self.i64(lane)
        return self.op(scalar_of(a.ty), f"extractelement {a}, {index}")

    def insert(self, a: Val, scalar: Val, lane: int | Val) -> Val:
        index = lane if isinstance(lane, Val) else self.i64(lane)
        return self.op(a.ty, f"insertelement {a}, {scalar}, {index}")

    def shuffle(self, a: Val, b: Val, mask: Sequence[int]) -> Val:
        ty = vector(scalar_of(a.ty), len(mask))
        text = ", ".join(f"i32 {m}" for m in mask)
        return self.op(ty, f"shufflevector {a}, {b}, <{len(mask)} x i32> <{text}>")

    # -- memory --------------------------------------------------------------------------------

    def alloca(self, ty: str, count: int = 1, align: int = 64) -> Val:
        """Stack memory, allocated on entry."""
        at = self.later("ptr")
        self.entry.append(f"  {at.ref} = alloca {ty}, i64 {count}, align {align}")
        return at

    def gep(self, base: Val, ty: str, index: Val) -> Val:
        """The address of element ``index`` of the ``ty`` array at ``base``."""
        return self.addresses.gep(base, ty, index)

    def load(self, ptr: Val, ty: str, align: int) -> Val:
        return self.op(ty, f"load {ty}, ptr {ptr.ref}, align {align}")

    def store(self, value: Val, ptr: Val, align: int) -> None:
        self.line(f"store {value}, ptr {ptr.ref}, align {align}")

    def masked_load(self, ptr: Val, mask: Val, ty: str, align: int) -> Val:
        """Lanes whose mask is unset are not read and are zero."""
        name = f"llvm.masked.load.{intrinsic_suffix(ty)}.p0"
        self.module.declare(name, ty, ["ptr", "i32", mask.ty, ty])
        return self.op(
            ty, f"call {ty} @{name}({ptr}, i32 {align}, {mask}, {ty} zeroinitializer)"
        )

    def masked_store(self, value: Val, ptr: Val, mask: Val, align: int) -> None:
        name = f"llvm.masked.store.{intrinsic_suffix(value.ty)}.p0"
        self.module.declare(name, "void", [value.ty, "ptr", "i32", mask.ty])
        self.line(f"call void @{name}({value}, {ptr}, i32 {align}, {mask})")

    # -- control -------------------------------------------------------------------------------

    @contextmanager
    def loop(
        self, start: Val, stop: Val, step: int = 1, carried: Sequence[Val] = ()
    ) -> Iterator[LoopState]:
        """``for i in range(start, stop, step)`` over i64, with values carried around.

        >>> with b.loop(b.i64(0), n, carried=[zero]) as loop:        # doctest: +SKIP
        ...     loop.next = [b.fadd(loop.carried[0], x)]
        >>> loop.results                                              # doctest: +SKIP
        """
        head, body, done = self.label("head"), self.label("body"), self.label("done")
        before = self.block
        self.br(head)
        self.place(head)
        at = len(self.lines)
        index = self.later("i64")
        phis = [self.later(v.ty) for v in carried]
        go = self.icmp("slt", index, stop)
        self.cond_br(go, body, done)
        self.place(body)
        state = LoopState(index, phis)
        yield state
        after = self.add(index, self.i64(step))
        tail = self.block
        self.br(head)
        incoming = [(index, start, after), *zip(phis, carried, state.next, strict=True)]
        self.lines[at:at] = [
            f"  {phi.ref} = phi {phi.ty} [ {first.ref}, %{before} ], [ {again.ref}, %{tail} ]"
            for phi, first, again in incoming
        ]
        self.place(done)

    @contextmanager
    def if_(self, cond: Val) -> Iterator[None]:
        """``if cond:`` without else and without results."""
        then, done = self.label("then"), self.label("endif")
        self.cond_br(cond, then, done)
        self.place(then)
        yield
        self.br(done)
        self.place(done)


class LoopState:
    """What a loop offers its body: the index, the carried values, and where to put the next."""

    def __init__(self, index: Val, carried: list[Val]) -> None:
        self.index = index
        self.carried = carried
        self.next: list[Val] = []

    @property
    def results(self) -> list[Val]:
        """The carried values after the loop (they dominate its exit)."""
        return self.carried
