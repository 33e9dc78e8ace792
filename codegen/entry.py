"""The entry point of a compiled function: a CPython function, emitted in LLVM IR.

:func:`emit_entry` adds to the kernel's module a ``METH_FASTCALL | METH_KEYWORDS`` function for
one specialisation. It reads the fields of its arguments; where all are as specified it allocates
the results, runs the kernel, and builds what the caller gets, through the C APIs of Python and
NumPy. Anything else goes on to the next specialisation's entry by a tail call, last to a Python
callable. The text holds no address: live objects come from the module's table, which is filled
at load with :func:`gradc.codegen.callable.externals`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import numpy as np

from gradc.codegen import cpython
from gradc.codegen.llvm import Builder, Module, Val

#: What a result looks like: the index of a leaf, None, or a container of such.
Structure = int | None | tuple[Any, ...] | list[Any] | dict[Hashable, Any]

#: Workspaces of up to this many bytes lie on the stack, well within one page of it.
STACK_WORKSPACE = 2048

_NULL = Val("null", "ptr")
_PARAMS = [("ptr", "self"), ("ptr", "args"), ("i64", "nargs"), ("ptr", "kwnames")]
_COLD = '!prof !{!"branch_weights", i32 2000, i32 1}'


@dataclass(frozen=True)
class ArgSpec:
    """What one argument must be.

    ``array``: exactly an ndarray, of this dtype (native byte order) and shape, C-contiguous and
    aligned. ``float``, ``int``, ``bool``: exactly of that Python type; the kernel reads it as
    ``dtype``, and an int that ``dtype`` (or int64) does not hold is a miss. ``scalar``: exactly
    the NumPy scalar of ``dtype``.
    """

    kind: Literal["array", "float", "int", "bool", "scalar"]
    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class ResultSpec:
    """What the caller gets, from leaves of (dtype, shape) in the order of the kernel's ``outs``.

    Leaves of rank 0 become NumPy scalars. A leaf may stand in ``structure`` several times, or not
    at all. With ``rebuild`` the structure is ignored: a Python callable makes the result from the
    tuple of all leaves (named tuples, dataclasses).
    """

    leaves: tuple[tuple[np.dtype[Any], tuple[int, ...]], ...]
    structure: Structure
    rebuild: bool = False


@dataclass(frozen=True)
class EntrySpec:
    """One specialisation: arguments, results, bytes of workspace, and whether to drop the GIL.

    Releasing the GIL costs about 50 ns: for kernels of several microseconds.
    """

    args: tuple[ArgSpec, ...]
    results: ResultSpec
    workspace: int = 0
    release_gil: bool = False


def dict_keys(structure: Structure) -> Iterator[Hashable]:
    """The keys of all dicts in a structure, in the order of the names ``key 0``, ``key 1`` ..."""
    if isinstance(structure, dict):
        for key, child in structure.items():
            yield key
            yield from dict_keys(child)
    elif isinstance(structure, (tuple, list)):
        for child in structure:
            yield from dict_keys(child)


def emit_entry(
    module: Module, spec: EntrySpec, kernel: str = "kernel", name: str = "entry"
) -> None:
    """Add ``PyObject* name(self, args, nargs, kwnames)`` to the module that has the kernel.

    Also added: the globals ``name_next`` (the entry to go on to when a guard misses; at first
    ``name_slow``, which calls the Python callable) and ``name_workspace`` (a free list of
    one). Requires :func:`gradc.codegen.cpython.supported`.
    """
    layout = cpython.layout()
    assert layout is not None, "native entry points need a supported interpreter and NumPy"
    module.globals[f"{name}_next"] = f"@{name}_next = global ptr @{name}_slow, align 8"
    module.globals[f"{name}_workspace"] = f"@{name}_workspace = global ptr null, align 8"
    _emit_slow(module, name)
    _emit_failed(module, name)
    _Emitter(module, spec, name, layout).emit(kernel)


def _emit_slow(module: Module, name: str) -> None:
    """The end of the chain: the Python callable, with the very same arguments."""
    b = Builder(module, f"{name}_slow", "ptr", _PARAMS, linkage="internal")
    _, args, nargs, kwnames = b.params
    vectorcall = b.external("PyObject_Vectorcall")
    slow = b.external("slow")
    operands = ", ".join(map(str, (slow, args, nargs, kwnames)))
    b.ret(b.op("ptr", f"tail call ptr {vectorcall.ref}({operands})"))
    b.finish()


def _emit_failed(module: Module, name: str) -> None:
    """``name_failed(status, args, nargs)``: what ``failed(status, tuple of args)`` gives.

    A kernel that called Python may have left an exception: it stands as it is.
    """
    params = [("i64", "status"), ("ptr", "args"), ("i64", "nargs")]
    b = Builder(module, f"{name}_failed", "ptr", params, linkage="internal")
    status, args, nargs = b.params

    def stop_if(condition: Val, *release: Val) -> None:
        stop, go = b.label("stop"), b.label("go")
        b.cond_br(condition, stop, go)
        b.place(stop)
        for v in release:
            b.call_pointer("void", b.external("Py_DecRef"), [v])
        b.ret(_NULL)
        b.place(go)

    def call(function: str, *operands: Val) -> Val:
        result = b.call_pointer("ptr", b.external(function), operands)
        assert result is not None
        return result

    stop_if(b.icmp("ne", call("PyErr_Occurred"), _NULL))
    number = call("PyLong_FromLongLong", status)
    stop_if(b.icmp("eq", number, _NULL))
    arguments = call("PyTuple_New", nargs)
    stop_if(b.icmp("eq", arguments, _NULL), number)
    with b.loop(b.i64(0), nargs) as loop:
        item = b.load(b.gep(args, "ptr", loop.index), "ptr", 8)
        b.call_pointer("void", b.external("Py_IncRef"), [item])
        b.call_pointer("i32", b.external("PyTuple_SetItem"), [arguments, loop.index, item])
    pair = b.alloca("ptr", 2, align=8)
    b.store(number, pair, 8)
    b.store(arguments, b.gep(pair, "ptr", b.i64(1)), 8)
    result = call("PyObject_Vectorcall", b.external("failed"), pair, b.i64(2), _NULL)
    for v in (number, arguments):
        b.call_pointer("void", b.external("Py_DecRef"), [v])
    b.ret(result)
    b.finish()


class _Emitter:
    """Emits one entry: guards, allocation, kernel call, results.

    References are counted thus. Whatever can fail comes first, and each object made is pushed on
    ``owned``, which the failure of a later step unwinds (blocks ``unwind<n>``: release
    the topmost of n, go on to n - 1). Filling tuples and lists comes last, cannot fail, and moves
    the references.
    """

    def __init__(self, module: Module, spec: EntrySpec, name: str, at: cpython.Layout) -> None:
        self.b = Builder(module, name, "ptr", _PARAMS)
        self.module = module
        self.spec = spec
        self.name = name
        self.at = at
        self.owned: list[Val] = []
        self.leaves: list[Val] = []
        self.fills: list[tuple[str, Val, list[Val]]] = []
        self.keys = count()

    def emit(self, kernel: str) -> None:
        b = self.b
        _, args, nargs, kwnames = b.params
        self.guard(
            b.icmp("eq", nargs, b.i64(len(self.spec.args))), b.icmp("eq", kwnames, _NULL)
        )
        inputs = b.alloca("ptr", max(1, len(self.spec.args)), align=8)
        for k, arg in enumerate(self.spec.args):
            item = b.load(b.gep(args, "ptr", b.i64(k)), "ptr", 8)
            data = self.array(item, arg) if arg.kind == "array" else self.number(item, arg)
            b.store(data, b.gep(inputs, "ptr", b.i64(k)), 8)
        outputs = self.allocate()
        arrays = len(self.owned)
        status = self.run(kernel, inputs, outputs)
        b.line(f"br {b.icmp('eq', status, b.i64(0))}, label %ran, label %failed, {_COLD}")
        b.place("ran")
        self.box(outputs)
        self.build()
        self.emit_miss()
        self.emit_failure(status, arrays)
        self.emit_unwind()
        b.finish()

    # -- small steps ---------------------------------------------------------------------------

    def api(self, ty: str, function: str, *operands: Val) -> Val:
        """Call a C-API function that returns something."""
        result = self.b.call_pointer(ty, self.b.external(function), operands)
        assert result is not None
        return result

    def incref(self, v: Val) -> None:
        self.b.call_pointer("void", self.b.external("Py_IncRef"), [v])

    def decref(self, v: Val) -> None:
        self.b.call_pointer("void", self.b.external("Py_DecRef"), [v])

    def field(self, v: Val, offset: int, ty: str) -> Val:
        align = {"i8": 1, "i32": 4}.get(ty, 8)
        return self.b.load(self.b.gep(v, "i8", self.b.i64(offset)), ty, align)

    def branch(self, holds: Val, otherwise: str) -> None:
        go = self.b.label("go")
        self.b.line(f"br {holds}, label %{go}, label %{otherwise}, {_COLD}")
        self.b.place(go)

    def guard(self, *conditions: Val) -> None:
        """Go on only if all hold; to the next specialisation otherwise."""
        holds, *more = conditions
        for condition in more:
            holds = self.b.and_(holds, condition)
        self.branch(holds, "miss")

    def check(self, holds: Val) -> None:
        """Go on only if the last step succeeded; release what is owned otherwise."""
        self.branch(holds, f"unwind{len(self.owned)}")

    def own(self, v: Val) -> Val:
        """A new reference, or null: the step failed."""
        self.check(self.b.icmp("ne", v, _NULL))
        self.owned.append(v)
        return v

    # -- guards --------------------------------------------------------------------------------

    def is_any(self, v: Val, options: Sequence[Val]) -> Val:
        first, *more = [self.b.icmp("eq", v, option) for option in options]
        for other in more:
            first = self.b.or_(first, other)
        return first

    def guard_type(self, item: Val, *types: str) -> None:
        kind = self.field(item, self.at.type, "ptr")
        self.guard(self.is_any(kind, [self.b.external(name) for name in types]))

    def array(self, item: Val, arg: ArgSpec) -> Val:
        """The address of an array's data, if it is the array specified.

        Type number and byte order are compared, not the dtype object: that of an unpickled array
        is another one.
        """
        b, at = self.b, self.at
        self.guard_type(item, "type ndarray")
        descr = self.field(item, at.descr, "ptr")
        numbers = [Val(str(n), "i32") for n in cpython.numbers(arg.dtype)]
        flags = b.and_(self.field(item, at.flags, "i32"), Val(str(cpython.PLAIN), "i32"))
        self.guard(
            self.is_any(self.field(descr, at.type_num, "i32"), numbers),
            b.icmp("ne", self.field(descr, at.byteorder, "i8"), Val(str(cpython.SWAPPED), "i8")),
            b.icmp("eq", flags, Val(str(cpython.PLAIN), "i32")),
            b.icmp("eq", self.field(item, at.ndim, "i32"), Val(str(len(arg.shape)), "i32")),
        )
        if arg.shape:
            dims = self.field(item, at.dims, "ptr")
            self.guard(
                *(
                    b.icmp("eq", self.field(dims, 8 * axis, "i64"), b.i64(n))
                    for axis, n in enumerate(arg.shape)
                )
            )
        return self.field(item, at.data, "ptr")

    def number(self, item: Val, arg: ArgSpec) -> Val:
        """The address of a scalar's value: in the object itself, or converted on the stack."""
        b = self.b
        inside = b.gep(item, "i8", b.i64(self.at.scalar))
        if arg.kind == "scalar":
            self.guard_type(item, *cpython.scalar_types(arg.dtype))
            return inside
        if arg.kind == "float":
            self.guard_type(item, "type float")
            if arg.dtype == np.float64:
                return inside
            value = b.load(inside, "double", 8)
        elif arg.kind == "int":
            self.guard_type(item, "type int")
            overflow = b.alloca("i32", align=4)
            value = self.api("i64", "PyLong_AsLongLongAndOverflow", item, overflow)
            self.guard(b.icmp("eq", b.load(overflow, "i32", 4), Val("0", "i32")))
        else:
            value = b.icmp("eq", item, b.external("True"))
            self.guard(b.or_(value, b.icmp("eq", item, b.external("False"))))
        at = b.alloca("i64", align=8)
        b.store(self.convert(value, arg.dtype), at, 8)
        return at

    def convert(self, value: Val, dtype: np.dtype[Any]) -> Val:
        """An i1, i64 or double as the dtype has it in memory; an int out of its range is a miss."""
        b, bits = self.b, 8 * dtype.itemsize
        if dtype.kind == "f":
            if value.ty != "double":
                value = b.cast("uitofp" if value.ty == "i1" else "sitofp", value, "double")
            # An int comes to float32 by way of float64, as it does in NumPy.
            return value if bits == 64 else b.cast("fptrunc", value, "float")
        assert value.ty == "i1" or (value.ty == "i64" and dtype.kind in "iu"), (value, dtype)
        if value.ty == "i1":
            return b.cast("zext", value, f"i{bits}")
        if bits == 64:
            if dtype.kind == "u":
                self.guard(b.icmp("sge", value, b.i64(0)))
            return value
        narrow = b.cast("trunc", value, f"i{bits}")
        back = b.cast("sext" if dtype.kind == "i" else "zext", narrow, "i64")
        self.guard(b.icmp("eq", back, value))
        return narrow

    # -- the call ------------------------------------------------------------------------------

    def allocate(self) -> Val:
        """Where the kernel puts its results: new arrays, and the stack for those of rank 0."""
        b = self.b
        leaves = self.spec.results.leaves
        outputs = b.alloca("ptr", max(1, len(leaves)), align=8)
        for k, (dtype, shape) in enumerate(leaves):
            if shape:
                descr = b.external(f"dtype {dtype.name}")
                dims = self.module.constant(
                    f"{self.name}_dims{k}",
                    f"[{len(shape)} x i64]",
                    "[" + ", ".join(f"i64 {n}" for n in shape) + "]",
                    align=8,
                )
                self.incref(descr)  # the call takes this reference, even where it fails
                rank, flags = Val(str(len(shape)), "i32"), Val("0", "i32")
                ndarray = b.external("type ndarray")
                operands = (ndarray, descr, rank, dims, _NULL, _NULL, flags, _NULL)
                array = self.own(self.api("ptr", "PyArray_NewFromDescr", *operands))
                self.leaves.append(array)
                data = self.field(array, self.at.data, "ptr")
            else:
                data = b.alloca("i64", align=8)
                self.leaves.append(data)
            b.store(data, b.gep(outputs, "ptr", b.i64(k)), 8)
        return outputs

    def run(self, kernel: str, inputs: Val, outputs: Val) -> Val:
        """Call the kernel with a workspace and return its status."""
        b, size = self.b, self.spec.workspace
        if size <= STACK_WORKSPACE:
            workspace = b.alloca("i8", size, align=64) if size else _NULL
            return self.call_kernel(kernel, inputs, outputs, workspace)
        slot = f"ptr @{self.name}_workspace"
        taken = b.op("ptr", f"atomicrmw xchg {slot}, ptr null acq_rel")
        before = b.block
        b.cond_br(b.icmp("eq", taken, _NULL), "make", "made")
        b.place("make")
        # 64 bytes more than asked for, so that an aligned address is inside.
        made = self.api("ptr", "PyMem_RawMalloc", b.i64(size + 64))
        b.cond_br(b.icmp("ne", made, _NULL), "made", "no_memory")
        b.place("no_memory")
        self.api("ptr", "PyErr_NoMemory")
        b.br(f"unwind{len(self.owned)}")
        b.place("made")
        raw = b.op("ptr", f"phi ptr [ {taken.ref}, %{before} ], [ {made.ref}, %make ]")
        beyond = b.cast("ptrtoint", b.gep(raw, "i8", b.i64(63)), "i64")
        workspace = b.cast("inttoptr", b.and_(beyond, b.i64(-64)), "ptr")
        status = self.call_kernel(kernel, inputs, outputs, workspace)
        displaced = b.op("ptr", f"atomicrmw xchg {slot}, {raw} acq_rel")
        with b.if_(b.icmp("ne", displaced, _NULL)):
            b.call_pointer("void", b.external("PyMem_RawFree"), [displaced])
        return status

    def call_kernel(self, kernel: str, inputs: Val, outputs: Val, workspace: Val) -> Val:
        release = self.spec.release_gil
        thread = self.api("ptr", "PyEval_SaveThread") if release else _NULL
        status = self.b.call("i64", kernel, [inputs, outputs, workspace])
        assert status is not None
        if release:
            self.b.call_pointer("void", self.b.external("PyEval_RestoreThread"), [thread])
        return status

    # -- results -------------------------------------------------------------------------------

    def box(self, outputs: Val) -> None:
        """NumPy scalars out of the results of rank 0."""
        for k, (dtype, shape) in enumerate(self.spec.results.leaves):
            if not shape:
                descr = self.b.external(f"dtype {dtype.name}")
                scalar = self.api("ptr", "PyArray_Scalar", self.leaves[k], descr, _NULL)
                self.leaves[k] = self.own(scalar)

    def build(self) -> None:
        """Make the structure and return it."""
        b, spec = self.b, self.spec.results
        root = self.make(tuple(range(len(spec.leaves))) if spec.rebuild else spec.structure)
        moves = [root, *(child for _, _, children in self.fills for child in children)]
        # A reference for each place beyond the one that the object came with.
        spare = list(self.owned)
        for v in moves:
            if v in spare:
                spare.remove(v)
            else:
                self.incref(v)
        for function, container, children in self.fills:
            for k, child in enumerate(children):
                self.api("i32", function, container, b.i64(k), child)
        for v in spare:
            self.decref(v)
        if spec.rebuild:
            leaves = b.alloca("ptr", align=8)
            b.store(root, leaves, 8)
            rebuild = b.external("rebuild")
            result = self.api("ptr", "PyObject_Vectorcall", rebuild, leaves, b.i64(1), _NULL)
            self.decref(root)
            b.ret(result)
        else:
            b.ret(root)

    def make(self, structure: Structure) -> Val:
        """A structure's object: containers are made, dicts filled, the rest put on ``fills``."""
        b = self.b
        if structure is None:
            return b.external("None")
        if isinstance(structure, int):
            return self.leaves[structure]
        if isinstance(structure, dict):
            items = [(f"key {next(self.keys)}", self.make(v)) for v in structure.values()]
            made = self.own(self.api("ptr", "PyDict_New"))
            for key, child in items:
                done = self.api("i32", "PyDict_SetItem", made, b.external(key), child)
                self.check(b.icmp("eq", done, Val("0", "i32")))
            return made
        name = "PyTuple" if isinstance(structure, tuple) else "PyList"
        children = [self.make(child) for child in structure]
        made = self.own(self.api("ptr", f"{name}_New", b.i64(len(children))))
        self.fills.append((f"{name}_SetItem", made, children))
        return made

    # -- other ways out ------------------------------------------------------------------------

    def emit_miss(self) -> None:
        b = self.b
        b.place("miss")
        following = b.load(Val(f"@{self.name}_next", "ptr"), "ptr", 8)
        operands = ", ".join(map(str, b.params))
        b.ret(b.op("ptr", f"musttail call ptr {following.ref}({operands})"))

    def emit_failure(self, status: Val, arrays: int) -> None:
        b = self.b
        b.place("failed")
        result = b.call("ptr", f"{self.name}_failed", [status, b.params[1], b.params[2]])
        for v in self.owned[:arrays]:
            self.decref(v)
        b.ret(result)

    def emit_unwind(self) -> None:
        b = self.b
        for depth in range(len(self.owned), 0, -1):
            b.place(f"unwind{depth}")
            self.decref(self.owned[depth - 1])
            b.br(f"unwind{depth - 1}")
        b.place("unwind0")
        b.ret(_NULL)
