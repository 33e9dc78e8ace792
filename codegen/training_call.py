"""A training program, compiled, loaded and called from Python without the GIL."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gradc.codegen import cpython
from gradc.codegen.code import Code, Externals
from gradc.codegen.link import link
from gradc.codegen.llvm import Builder, Module, Val

if TYPE_CHECKING:
    from gradc.codegen.kernel import Failure
    from gradc.codegen.training import TrainingProgram

Array = np.ndarray[Any, Any]

_API = (
    "PyErr_CheckSignals", "PyEval_RestoreThread", "PyEval_SaveThread", "PyObject_CallFunction",
    "PyObject_IsTrue", "Py_DecRef",
)


class TrainingFailure(Exception):
    """A step failed: :attr:`failure` says how, and at which node."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


class TrainingKernel:
    """The compiled form of a training program. The stages can be read without loading.

    ``program`` makes the program when it is needed; ``stored`` gives the code that another process
    left, or what it is told to make; ``compile`` makes object code of a text.
    """

    def __init__(
        self,
        program: Callable[[], TrainingProgram],
        stored: Callable[[Callable[[], Code]], Code] = lambda make: make(),
        compile: Callable[[str], bytes] | None = None,
    ) -> None:
        self._program = program
        self._stored = stored
        self._compile_text = compile

    @cached_property
    def program(self) -> TrainingProgram:
        """The training program."""
        return self._program()

    @cached_property
    def module(self) -> Module:
        """The module, with ``fit`` and ``run``."""
        from gradc.codegen.training_emit import emit_training

        module = emit_training(self.program)
        _emit_run(module)
        return module

    def _compile(self) -> Code:
        from gradc.codegen import jit
        from gradc.codegen.kernel import needs
        from gradc.codegen.training import workspace

        program, names = self.program, tuple(self.module.externals)
        constants, prints = needs(program.step, "step_")
        if program.rest is not None:
            more = needs(program.rest, "rest_")
            constants, prints = constants | more[0], prints + more[1]
        numbers = {"workspace": workspace(program).nbytes, "steps": program.steps}
        object_code = jit.compile(str(self.module))
        return Code(object_code, names, dict(constants), prints, numbers)

    @cached_property
    def _loaded(self) -> tuple[Code, object, Any]:
        code = self._stored(self._compile)
        externals = Externals(code.constants, code.prints, compile=self._compile_text)
        table = {
            name: cpython.python_function(name) if name in _API else externals.address(name)
            for name in code.names
        }
        library = link(code.object_code, ("run",), table)
        # Called with the GIL, which it releases itself, so that an exception set in it is raised.
        call = ctypes.PYFUNCTYPE(
            ctypes.c_int64, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_uint64,
            *[ctypes.c_void_p] * 3,
        )(library.address("run"))
        return code, (library, externals), call

    def load(self) -> None:
        """Generate the machine code, if that has not been done."""
        _ = self._loaded

    def __call__(
        self,
        carried: Sequence[Array],
        data: Sequence[Array],
        epochs: int,
        seed: int,
        callback: Callable[[int, float], object] | None,
    ) -> tuple[list[Array], Array]:
        """Train from ``carried`` on; new arrays of what is carried, and the loss of each epoch.

        ``data`` are C-contiguous. A true answer of ``callback(epoch, loss)`` ends the training
        after that epoch. Raises what the callback or a signal handler raises, and TrainingFailure.
        """
        copies = [_aligned(array) for array in (*carried, *carried)]
        losses, done = np.zeros(epochs), np.zeros(1, np.int64)
        code, _, call = self._loaded
        work = _aligned(np.zeros(code.numbers["workspace"], np.uint8))
        status = call(
            _table(copies), _table(data), work.ctypes.data, epochs, seed, losses.ctypes.data,
            done.ctypes.data, None if callback is None else id(callback),
        )
        if status:
            raise self._failure(status)
        finished = int(done[0])
        side = finished * code.numbers["steps"] % 2
        count = len(carried)
        return copies[side * count : (side + 1) * count], losses[:finished].copy()

    def _failure(self, status: int) -> TrainingFailure:
        from gradc.codegen.kernel import failure
        from gradc.codegen.training_emit import IN_REST

        program = self.program.step
        if status & IN_REST and self.program.rest is not None:
            program = self.program.rest
        return TrainingFailure(failure(status & ~IN_REST, program))


def _aligned(array: Array) -> Array:
    """A copy whose data begin at a multiple of 64 bytes, so that no vector crosses a cache line."""
    space = np.empty(array.nbytes + 64, np.uint8)
    start = -space.ctypes.data % 64
    out = space[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    out[...] = array
    return out


def _table(arrays: Sequence[Array]) -> Any:
    return (ctypes.c_void_p * max(1, len(arrays)))(*(a.ctypes.data for a in arrays))


# -- from native code to Python ------------------------------------------------------------------
#
# The context is a pair: the state of this thread while it is without the GIL, and the callback. An
# exception is left set in the thread; the caller of `run` finds it there.


def _emit_run(module: Module) -> None:
    """``i64 @run(...)`` with a Python callable, or null, for ``report``: fit without the GIL."""
    _emit_poll(module)
    _emit_report(module)
    names = "carried data work epochs seed losses done callback".split()
    types = {"epochs": "i64", "seed": "i64"}
    b = Builder(module, "run", "i64", [(types.get(n, "ptr"), n) for n in names])
    *operands, callback = b.params
    context = b.alloca("ptr", 2, align=8)
    b.store(callback, b.gep(context, "ptr", b.i64(1)), 8)
    null = Val("null", "ptr")
    report = b.select(b.icmp("eq", callback, null), null, Val("@report", "ptr"))
    _release(b, context)
    status = b.call("i64", "fit", [*operands, report, Val("@poll", "ptr"), context])
    _take(b, context)
    b.ret(status)
    b.finish()


def _emit_poll(module: Module) -> None:
    """``i32 @poll(ptr context)``: have Python handle what signals have come."""
    b = Builder(module, "poll", "i32", [("ptr", "context")], linkage="private")
    (context,) = b.params
    _take(b, context)
    failed = b.call_pointer("i32", b.external("PyErr_CheckSignals"), [])
    _release(b, context)
    b.ret(failed)
    b.finish()


def _emit_report(module: Module) -> None:
    """``i32 @report(ptr context, i64 epoch, double loss)``: what the callback says: 1, 0 or -1."""
    format_ = module.constant("report_format", "[3 x i8]", 'c"Ld\\00"', 1)
    params = [("ptr", "context"), ("i64", "epoch"), ("double", "loss")]
    b = Builder(module, "report", "i32", params, linkage="private")
    context, epoch, loss = b.params
    call, raised, answered = b.label("call"), b.label("raised"), b.label("answered")
    _take(b, context)
    failed = b.call_pointer("i32", b.external("PyErr_CheckSignals"), [])
    assert failed is not None
    b.cond_br(b.icmp("ne", failed, b.const(0, "i32")), raised, call)
    b.place(call)
    callback = b.load(b.gep(context, "ptr", b.i64(1)), "ptr", 8)
    function = b.external("PyObject_CallFunction")
    operands = ", ".join(map(str, (callback, format_, epoch, loss)))
    answer = b.op("ptr", f"call ptr (ptr, ptr, ...) {function.ref}({operands})")
    b.cond_br(b.icmp("eq", answer, Val("null", "ptr")), raised, answered)
    b.place(raised)
    _release(b, context)
    b.ret(b.const(-1, "i32"))
    b.place(answered)
    truth = b.call_pointer("i32", b.external("PyObject_IsTrue"), [answer])
    b.call_pointer("void", b.external("Py_DecRef"), [answer])
    _release(b, context)
    b.ret(truth)
    b.finish()


def _release(b: Builder, context: Val) -> None:
    thread = b.call_pointer("ptr", b.external("PyEval_SaveThread"), [])
    assert thread is not None
    b.store(thread, context, 8)


def _take(b: Builder, context: Val) -> None:
    b.call_pointer("void", b.external("PyEval_RestoreThread"), [b.load(context, "ptr", 8)])
