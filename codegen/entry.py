"""The entry point of a compiled function: a CPython function, emitted in LLVM IR.

:func:`emit_entry` adds to the kernel's module a ``METH_FASTCALL | METH_KEYWORDS`` function for
one specialisation. It reads the fields of its arguments; where all are as specified it allocates
the results, runs the kernel, and builds what the caller gets, through the C APIs of Python and
NumPy. The text holds no address: live objects come from the module's table, which is filled
at load with :func:`gradc.codegen.callable.externals`.
"""

from __future__ import annotations

from itertools import count
from typing import Any, NamedTuple

import numpy as np

from gradc.codegen.buffers import KEPT_WORKSPACE
from gradc.codegen.form import flat
from gradc.codegen.front import emit_front
from gradc.codegen.guards import NULL, ArgSpec, ObjectBuilder
from gradc.codegen.llvm import Module, Val
from gradc.codegen.structure import Record, Structure

#: Workspaces of up to this many bytes lie on the stack, well within one page of it.
STACK_WORKSPACE = 2048


class ResultSpec(NamedTuple):
    """What the caller gets, from leaves of (dtype, shape) in the order of the kernel's ``outs``.

    Leaves of rank 0 become NumPy scalars. A leaf may stand in ``structure`` several times, or not
    at all. With ``rebuild`` the structure is ignored: a Python callable makes the result from the
    tuple of all leaves.
    """

    leaves: tuple[tuple[np.dtype[Any], tuple[int, ...]], ...]
    structure: Structure
    rebuild: bool = False


class EntrySpec(NamedTuple):
    """One specialisation: arguments, results, bytes of workspace, and whether to drop the GIL.

    Releasing the GIL costs about 50 ns: for kernels of several microseconds.
    """

    args: tuple[ArgSpec, ...]
    results: ResultSpec
    workspace: int = 0
    release_gil: bool = False


def emit_entry(
    module: Module, spec: EntrySpec, kernel: str = "kernel", name: str = "entry"
) -> None:
    """Add ``PyObject* name(self, args, nargs, kwnames)`` to the module that has the kernel.

    It is the front (:func:`gradc.codegen.front.emit_front`) for calls with the kernel's arguments
    one by one. Also added: ``PyObject* name_run(inputs, args, nargs)``, which fronts in
    other modules call too, and the global ``name_workspace``, a free list of one. Requires
    :func:`gradc.codegen.cpython.supported`.
    """
    module.globals[f"{name}_workspace"] = f"@{name}_workspace = dso_local global ptr null, align 8"
    _emit_failed(module, name)
    _Emitter(module, spec, name).emit(kernel)
    emit_front(module, flat(spec.args), name, f"{name}_run")


def _emit_failed(module: Module, name: str) -> None:
    """``name_failed(status, args, nargs)``: what ``failed(status, tuple of args)`` gives.

    A kernel that called Python may have left an exception: it stands as it is.
    """
    params = [("i64", "status"), ("ptr", "args"), ("i64", "nargs")]
    b = ObjectBuilder(module, f"{name}_failed", "ptr", params, linkage="internal")
    status, args, nargs = b.params

    def stop_if(condition: Val, *release: Val) -> None:
        stop, go = b.label("stop"), b.label("go")
        b.cond_br(condition, stop, go)
        b.place(stop)
        for v in release:
            b.decref(v)
        b.ret(NULL)
        b.place(go)

    stop_if(b.icmp("ne", b.api("ptr", "PyErr_Occurred"), NULL))
    number = b.api("ptr", "PyLong_FromLongLong", status)
    stop_if(b.icmp("eq", number, NULL))
    arguments = b.api("ptr", "PyTuple_New", nargs)
    stop_if(b.icmp("eq", arguments, NULL), number)
    items = b.gep(arguments, "i8", b.i64(b.at.tuple_items))
    with b.loop(b.i64(0), nargs) as loop:
        item = b.load(b.gep(args, "ptr", loop.index), "ptr", 8)
        b.incref(item)
        b.store(item, b.gep(items, "ptr", loop.index), 8)
    pair = b.alloca("ptr", 2, align=8)
    b.store(number, pair, 8)
    b.store(arguments, b.gep(pair, "ptr", b.i64(1)), 8)
    result = b.api("ptr", "PyObject_Vectorcall", b.external("failed"), pair, b.i64(2), NULL)
    for v in (number, arguments):
        b.decref(v)
    b.ret(result)
    b.finish()


class _Emitter:
    """Emits what stands behind an entry's guards: allocation, kernel call, results.

    References are counted thus. Whatever can fail comes first, and each object made is pushed on
    ``owned``, which the failure of a later step unwinds (blocks ``unwind<n>``: release
    the topmost of n, go on to n - 1). Filling tuples and lists comes last, cannot fail, and moves
    the references.
    """

    def __init__(self, module: Module, spec: EntrySpec, name: str) -> None:
        params = [("ptr", "inputs"), ("ptr", "args"), ("i64", "nargs")]
        self.b = ObjectBuilder(module, f"{name}_run", "ptr", params)
        self.module = module
        self.spec = spec
        self.name = name
        self.owned: list[Val] = []
        self.leaves: list[Val] = []
        self.fills: list[tuple[Val, list[Val]]] = []  # addresses of items
        self.keys = count()

    def emit(self, kernel: str) -> None:
        b = self.b
        inputs, args, nargs = b.params
        outputs = self.allocate()
        arrays = len(self.owned)
        status = self.run(kernel, inputs, outputs)
        b.branch(b.icmp("eq", status, b.i64(0)), "failed")
        self.box()
        self.build()
        self.emit_failure(status, arrays, args, nargs)
        self.emit_unwind()
        b.finish()

    # -- small steps ---------------------------------------------------------------------------

    def check(self, holds: Val) -> None:
        """Go on only if the last step succeeded; release what is owned otherwise."""
        self.b.branch(holds, f"unwind{len(self.owned)}")

    def own(self, v: Val) -> Val:
        """A new reference, or null: the step failed."""
        self.check(self.b.icmp("ne", v, NULL))
        self.owned.append(v)
        return v

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
                b.incref(descr)  # the call takes this reference, even where it fails
                rank, flags = Val(str(len(shape)), "i32"), Val("0", "i32")
                ndarray = b.external("type ndarray")
                operands = (ndarray, descr, rank, dims, NULL, NULL, flags, NULL)
                array = self.own(b.api("ptr", "PyArray_NewFromDescr", *operands))
                self.leaves.append(array)
                data = b.field(array, b.at.data, "ptr")
            else:
                data = b.alloca("i64", align=8)
                self.leaves.append(data)
            b.store(data, b.gep(outputs, "ptr", b.i64(k)), 8)
        return outputs

    def run(self, kernel: str, inputs: Val, outputs: Val) -> Val:
        """Call the kernel with a workspace and return its status."""
        b, size = self.b, self.spec.workspace
        if size <= STACK_WORKSPACE:
            workspace = b.alloca("i8", size, align=64) if size else NULL
            return self.call_kernel(kernel, inputs, outputs, workspace)
        slot, kept = f"ptr @{self.name}_workspace", size <= KEPT_WORKSPACE
        taken = b.op("ptr", f"atomicrmw xchg {slot}, ptr null acq_rel") if kept else NULL
        before = b.block
        b.cond_br(b.icmp("eq", taken, NULL), "make", "made")
        b.place("make")
        # 64 bytes more than asked for, so that an aligned address is inside.
        made = b.api("ptr", "PyMem_RawMalloc", b.i64(size + 64))
        b.cond_br(b.icmp("ne", made, NULL), "made", "no_memory")
        b.place("no_memory")
        b.api("ptr", "PyErr_NoMemory")
        b.br(f"unwind{len(self.owned)}")
        b.place("made")
        raw = b.op("ptr", f"phi ptr [ {taken.ref}, %{before} ], [ {made.ref}, %make ]")
        beyond = b.cast("ptrtoint", b.gep(raw, "i8", b.i64(63)), "i64")
        workspace = b.cast("inttoptr", b.and_(beyond, b.i64(-64)), "ptr")
        status = self.call_kernel(kernel, inputs, outputs, workspace)
        displaced = b.op("ptr", f"atomicrmw xchg {slot}, {raw} acq_rel") if kept else raw
        with b.if_(b.icmp("ne", displaced, NULL)):
            b.call_pointer("void", b.external("PyMem_RawFree"), [displaced])
        return status

    def call_kernel(self, kernel: str, inputs: Val, outputs: Val, workspace: Val) -> Val:
        b = self.b
        release = self.spec.release_gil
        thread = b.api("ptr", "PyEval_SaveThread") if release else NULL
        status = b.call("i64", kernel, [inputs, outputs, workspace])
        assert status is not None
        if release:
            b.call_pointer("void", b.external("PyEval_RestoreThread"), [thread])
        return status

    # -- results -------------------------------------------------------------------------------

    def box(self) -> None:
        """NumPy scalars out of the results of rank 0."""
        b = self.b
        for k, (dtype, shape) in enumerate(self.spec.results.leaves):
            if not shape:
                descr = b.external(f"dtype {dtype.name}")
                scalar = b.api("ptr", "PyArray_Scalar", self.leaves[k], descr, NULL)
                self.leaves[k] = self.own(scalar)

    def build(self) -> None:
        """Make the structure and return it."""
        b, spec = self.b, self.spec.results
        root = self.make(tuple(range(len(spec.leaves))) if spec.rebuild else spec.structure)
        moves = [root, *(child for _, children in self.fills for child in children)]
        # A reference for each place beyond the one that the object came with.
        spare = dict.fromkeys(self.owned)
        for v in moves:
            if v in spare:
                del spare[v]
            else:
                b.incref(v)
        for places, children in self.fills:
            for k, child in enumerate(children):
                b.store(child, b.gep(places, "ptr", b.i64(k)), 8)
        for v in spare:
            b.decref(v)
        if spec.rebuild:
            leaves = b.alloca("ptr", align=8)
            b.store(root, leaves, 8)
            rebuild = b.external("rebuild")
            result = b.api("ptr", "PyObject_Vectorcall", rebuild, leaves, b.i64(1), NULL)
            b.decref(root)
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
            made = self.own(b.api("ptr", "PyDict_New"))
            for key, child in items:
                done = b.api("i32", "PyDict_SetItem", made, b.external(key), child)
                self.check(b.icmp("eq", done, Val("0", "i32")))
            return made
        if isinstance(structure, Record):
            return self.make_record(structure)
        children = [self.make(child) for child in structure]
        function = "PyTuple_New" if isinstance(structure, tuple) else "PyList_New"
        made = self.own(b.api("ptr", function, b.i64(len(children))))
        if isinstance(structure, tuple):
            places = b.gep(made, "i8", b.i64(b.at.tuple_items))
        else:
            places = b.field(made, b.at.list_items, "ptr")
        # Stored by hand: PyTuple_SetItem refuses a tuple that a dict holds already.
        self.fills.append((places, children))
        return made

    def make_record(self, record: Record) -> Val:
        """As ``__new__`` of tuple or object and object's ``__setattr__`` do it."""
        b = self.b
        kind = b.external(f"key {next(self.keys)}")
        children = [self.make(child) for child in record.children]
        if issubclass(record.kind, tuple):
            made = self.own(b.api("ptr", "PyType_GenericAlloc", kind, b.i64(len(children))))
            self.fills.append((b.gep(made, "i8", b.i64(b.at.tuple_items)), children))
            return made
        place = b.alloca("ptr", align=8)
        b.store(kind, place, 8)
        new = b.external("object.__new__")
        made = self.own(b.api("ptr", "PyObject_Vectorcall", new, place, b.i64(1), NULL))
        for child in children:
            name = b.external(f"key {next(self.keys)}")
            done = b.api("i32", "PyObject_GenericSetAttr", made, name, child)
            self.check(b.icmp("eq", done, Val("0", "i32")))
        return made

    # -- other ways out ------------------------------------------------------------------------

    def emit_failure(self, status: Val, arrays: int, args: Val, nargs: Val) -> None:
        b = self.b
        b.place("failed")
        result = b.call("ptr", f"{self.name}_failed", [status, args, nargs])
        for v in self.owned[:arrays]:
            b.decref(v)
        b.ret(result)

    def emit_unwind(self) -> None:
        b = self.b
        for depth in range(len(self.owned), 0, -1):
            b.place(f"unwind{depth}")
            b.decref(self.owned[depth - 1])
            b.br(f"unwind{depth - 1}")
        b.place("unwind0")
        b.ret(NULL)
