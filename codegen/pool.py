"""The pool of threads that chunks of a kernel's work are handed to, emitted as native code.

The module has ::

    i64 @parallel(ptr function, ptr context, i64 chunks, ptr scratch, i64 bytes)
    i64 @shutdown()

and the state of the pool, of which ``i64 @wanted`` is the caller's to set.

``parallel`` runs ``i64 function(ptr context, ptr scratch, i64 chunk)`` for every chunk, on this
thread and on up to ``wanted`` others, in any order, and returns the least nonzero status, compared
as unsigned, or 0. Each thread has scratch of its own: this one what it is given, the others what
they allocate. Chunks are taken one by one from a counter, so that a slow thread takes fewer.

Threads are started when work first asks for them. One that has nothing to do looks for work for
some 50 microseconds, and then sleeps on a lock. What comes while the pool is at work for another
caller is done by its own caller alone: nothing waits, and no more threads run than there are. A
thread that has not yet looked at a job when its chunks are all taken is not waited for.

Threads and locks are those of Python's C API, which every platform has and which none of
this needs the GIL for.
"""

from __future__ import annotations

import platform

from gradc.codegen.llvm import Builder, Module, Val

#: threads there may be besides the caller
MOST = 255

#: bytes of a thread's slot: no two in a line or in neighbouring lines that are fetched together
SLOT = 128

#: how often a thread looks for work before it sleeps; a pause is some 40 ns or less
SPINS = 1000

#: bytes of scratch that a thread keeps for the next job; more are given back
KEPT = 4 << 20

#: microseconds that a caller sleeps between two looks at a thread that keeps it waiting
NAP = 50

#: the symbols that whoever loads the module may ask for
EXPORTS = ("parallel", "shutdown", "slots", "wanted", "started", "busy")


# Fields of a slot. Its state is one of the first three.
_IDLE, _GIVEN, _AT_WORK, _STOP = 0, 1, 2, 3
_STATE, _JOB, _ASLEEP, _LOCK, _SCRATCH, _CAPACITY, _GONE = (8 * k for k in range(7))

# Fields of a job, on the stack of its caller.
_FUNCTION, _CONTEXT, _CHUNKS, _BYTES, _NEXT, _STATUS, _JOB_BYTES = 0, 8, 16, 24, 128, 256, 384

_NULL = Val("null", "ptr")


def emit() -> Module:
    """The pool's module, for the machine that this process runs on."""
    module = Module()
    module.attributes = "nounwind"
    size = MOST * SLOT
    space = f"global [{size} x i8] zeroinitializer, align {SLOT}"
    module.globals["slots"] = f"@slots = dso_local {space}"
    for name in ("wanted", "started", "busy"):
        module.globals[name] = f"@{name} = dso_local global i64 0, align 128"
    module.globals["never"] = "@never = internal global ptr null, align 8"
    _emit_work(module)
    _emit_worker(module)
    _emit_wake(module)
    _emit_start(module)
    _emit_parallel(module)
    _emit_shutdown(module)
    return module


class _Builder(Builder):
    """Memory that threads share."""

    def field(self, base: Val, offset: int) -> Val:
        return self.gep(base, "i8", self.i64(offset)) if offset else base

    def get(self, place: Val, ty: str = "i64") -> Val:
        return self.op(ty, f"load atomic {ty}, ptr {place.ref} seq_cst, align 8")

    def put(self, value: Val, place: Val) -> None:
        self.line(f"store atomic {value}, ptr {place.ref} seq_cst, align 8")

    def exchange(self, place: Val, value: int) -> Val:
        """What was there before."""
        return self.op("i64", f"atomicrmw xchg ptr {place.ref}, i64 {value} seq_cst, align 8")

    def turns(self, place: Val, before: int, after: int) -> Val:
        """Replace ``before`` by ``after``; whether that was what was there."""
        pair = self.op(
            "{ i64, i1 }",
            f"cmpxchg ptr {place.ref}, i64 {before}, i64 {after} seq_cst seq_cst, align 8",
        )
        return self.op("i1", f"extractvalue {pair}, 1")

    def pause(self) -> None:
        """Let the core's other thread run, or save power."""
        if platform.machine().lower() in ("x86_64", "amd64"):
            self.module.declare("llvm.x86.sse2.pause", "void", [])
            self.line("call void @llvm.x86.sse2.pause()")

    def slot(self, index: Val) -> Val:
        return self.gep(Val("@slots", "ptr"), "i8", self.mul(index, self.i64(SLOT)))

    def void(self, function: str, *operands: Val) -> None:
        self.call_pointer("void", self.external(function), list(operands))

    def value(self, ty: str, function: str, *operands: Val) -> Val:
        made = self.call_pointer(ty, self.external(function), list(operands))
        assert made is not None
        return made


def _emit_work(module: Module) -> None:
    """``void @work(ptr job, ptr scratch)``: take chunks until there are none."""
    b = _Builder(module, "work", "void", [("ptr", "job"), ("ptr", "scratch")], linkage="internal")
    job, scratch = b.params
    function = b.load(b.field(job, _FUNCTION), "ptr", 8)
    context = b.load(b.field(job, _CONTEXT), "ptr", 8)
    chunks = b.load(b.field(job, _CHUNKS), "i64", 8)
    following, status = b.field(job, _NEXT), b.field(job, _STATUS)
    b.br("take")
    b.place("take")
    chunk = b.op("i64", f"atomicrmw add ptr {following.ref}, i64 1 seq_cst, align 8")
    b.cond_br(b.icmp("slt", chunk, chunks), "run", "done")
    b.place("run")
    result = b.call_pointer("i64", function, [context, scratch, chunk])
    assert result is not None
    b.cond_br(b.icmp("eq", result, b.i64(0)), "take", "failed")
    b.place("failed")
    b.op("i64", f"atomicrmw umin ptr {status.ref}, {result} seq_cst, align 8")
    b.br("take")
    b.place("done")
    b.ret()
    b.finish()


def _emit_worker(module: Module) -> None:
    """``void @worker(ptr slot)``: what a thread of the pool does."""
    b = _Builder(module, "worker", "void", [("ptr", "slot")], linkage="dso_local")
    (slot,) = b.params
    state, asleep = b.field(slot, _STATE), b.field(slot, _ASLEEP)
    lock = b.load(b.field(slot, _LOCK), "ptr", 8)
    room, capacity = b.field(slot, _SCRATCH), b.field(slot, _CAPACITY)
    b.br("look")

    b.place("look")
    with b.loop(b.i64(0), b.i64(SPINS)):
        found = b.get(state)
        b.cond_br(b.icmp("eq", found, b.i64(_GIVEN)), "given", "other")
        b.place("other")
        b.cond_br(b.icmp("eq", found, b.i64(_STOP)), "stop", "again")
        b.place("again")
        b.pause()
    b.put(b.i64(1), asleep)
    # Whoever gives a job looks at ``asleep`` after that: one of the two sees the other.
    found = b.get(state)
    b.cond_br(b.icmp("eq", found, b.i64(_IDLE)), "sleep", "awake")
    b.place("sleep")
    b.value("i32", "PyThread_acquire_lock", lock, Val("1", "i32"))
    b.br("look")
    b.place("awake")
    b.cond_br(b.turns(asleep, 1, 0), "look", "sleep")  # who set it to 0 releases the lock

    b.place("given")
    b.cond_br(b.turns(state, _GIVEN, _AT_WORK), "begin", "look")
    b.place("begin")
    job = b.load(b.field(slot, _JOB), "ptr", 8)
    wanted = b.load(b.field(job, _BYTES), "i64", 8)
    b.cond_br(b.icmp("sgt", wanted, b.load(capacity, "i64", 8)), "grow", "ready")
    b.place("grow")
    b.void("PyMem_RawFree", b.load(room, "ptr", 8))
    # 64 bytes more, so that an aligned address is inside.
    made = b.value("ptr", "PyMem_RawMalloc", b.add(wanted, b.i64(64)))
    b.store(made, room, 8)
    failed = b.icmp("eq", made, _NULL)
    b.store(b.select(failed, b.i64(0), wanted), capacity, 8)
    b.cond_br(failed, "finished", "ready")  # the others take its chunks
    b.place("ready")
    beyond = b.cast("ptrtoint", b.gep(b.load(room, "ptr", 8), "i8", b.i64(63)), "i64")
    b.call("void", "work", [job, b.cast("inttoptr", b.and_(beyond, b.i64(-64)), "ptr")])
    b.br("finished")
    b.place("finished")
    with b.if_(b.icmp("sgt", b.load(capacity, "i64", 8), b.i64(KEPT))):
        b.void("PyMem_RawFree", b.load(room, "ptr", 8))
        b.store(_NULL, room, 8)
        b.store(b.i64(0), capacity, 8)
    b.turns(state, _AT_WORK, _IDLE)
    b.br("look")

    b.place("stop")
    b.void("PyMem_RawFree", b.load(room, "ptr", 8))
    b.put(b.i64(1), b.field(slot, _GONE))
    b.ret()
    b.finish()


def _emit_wake(module: Module) -> None:
    """``void @wake(ptr slot)``: release a thread that sleeps."""
    b = _Builder(module, "wake", "void", [("ptr", "slot")], linkage="internal")
    (slot,) = b.params
    asleep = b.field(slot, _ASLEEP)
    with b.if_(b.icmp("eq", b.get(asleep), b.i64(1))), b.if_(b.turns(asleep, 1, 0)):
        b.void("PyThread_release_lock", b.load(b.field(slot, _LOCK), "ptr", 8))
    b.ret()
    b.finish()


def _emit_start(module: Module) -> None:
    """``i64 @start(i64 count)``: have as many threads, or as many as can be had."""
    b = _Builder(module, "start", "i64", [("i64", "count")], linkage="internal")
    (count,) = b.params
    started, never = Val("@started", "ptr"), Val("@never", "ptr")
    b.cond_br(b.icmp("eq", b.load(never, "ptr", 8), _NULL), "first", "more")
    b.place("first")
    held = b.value("ptr", "PyThread_allocate_lock")
    b.cond_br(b.icmp("eq", held, _NULL), "none", "hold")
    b.place("none")
    b.ret(b.i64(0))
    b.place("hold")
    b.value("i32", "PyThread_acquire_lock", held, Val("1", "i32"))
    b.store(held, never, 8)
    b.br("more")
    b.place("more")
    have = b.load(started, "i64", 8)
    b.cond_br(b.icmp("slt", have, count), "make", "enough")
    b.place("make")
    slot = b.slot(have)
    lock = b.value("ptr", "PyThread_allocate_lock")
    b.cond_br(b.icmp("eq", lock, _NULL), "short", "locked")
    b.place("locked")
    b.value("i32", "PyThread_acquire_lock", lock, Val("1", "i32"))
    b.store(lock, b.field(slot, _LOCK), 8)
    thread = b.value("i64", "PyThread_start_new_thread", Val("@worker", "ptr"), slot)
    b.cond_br(b.icmp("eq", thread, b.i64(-1)), "refused", "made")
    b.place("made")
    b.store(b.add(have, b.i64(1)), started, 8)
    b.br("more")
    b.place("refused")
    b.void("PyThread_free_lock", lock)
    b.br("short")
    b.place("short")
    b.store(have, Val("@wanted", "ptr"), 8)
    b.ret(have)
    b.place("enough")
    b.ret(count)
    b.finish()


def _emit_parallel(module: Module) -> None:
    names = ("function", "context", "chunks", "scratch", "bytes")
    types = ("ptr", "ptr", "i64", "ptr", "i64")
    b = _Builder(module, "parallel", "i64", list(zip(types, names, strict=True)))
    function, context, chunks, scratch, nbytes = b.params
    job = b.alloca("i8", _JOB_BYTES, align=128)
    for value, offset in ((function, _FUNCTION), (context, _CONTEXT), (chunks, _CHUNKS),
                          (nbytes, _BYTES), (b.i64(0), _NEXT), (b.i64(-1), _STATUS)):
        b.store(value, b.field(job, offset), 8)
    most = b.intrinsic("smin", "i64", [b.sub(chunks, b.i64(1)), b.get(Val("@wanted", "ptr"))])
    b.cond_br(b.icmp("sgt", most, b.i64(0)), "ask", "alone")
    b.place("ask")
    taken = b.exchange(Val("@busy", "ptr"), 1)
    b.cond_br(b.icmp("eq", taken, b.i64(0)), "share", "alone")

    b.place("alone")
    b.call("void", "work", [job, scratch])
    b.br("end")

    b.place("share")
    count = b.call("i64", "start", [most])
    assert count is not None
    with b.loop(b.i64(0), count) as loop:
        slot = b.slot(loop.index)
        b.store(job, b.field(slot, _JOB), 8)
        b.put(b.i64(_GIVEN), b.field(slot, _STATE))
        b.call("void", "wake", [slot])
    b.call("void", "work", [job, scratch])
    with b.loop(b.i64(0), count) as loop:
        state = b.field(b.slot(loop.index), _STATE)
        wait, nap, over = b.label("wait"), b.label("nap"), b.label("over")
        b.cond_br(b.turns(state, _GIVEN, _IDLE), over, wait)
        b.place(wait)
        with b.loop(b.i64(0), b.i64(SPINS)):
            pause = b.label("pause")
            b.cond_br(b.icmp("eq", b.get(state), b.i64(_AT_WORK)), pause, over)
            b.place(pause)
            b.pause()
        b.br(nap)
        b.place(nap)  # the system may need this core to let that thread go on
        never = b.load(Val("@never", "ptr"), "ptr", 8)
        b.value("i32", "PyThread_acquire_lock_timed", never, b.i64(NAP), Val("0", "i32"))
        b.br(wait)
        b.place(over)
    b.put(b.i64(0), Val("@busy", "ptr"))
    b.br("end")

    b.place("end")
    status = b.get(b.field(job, _STATUS))
    b.ret(b.select(b.icmp("eq", status, b.i64(-1)), b.i64(0), status))
    b.finish()


def _emit_shutdown(module: Module) -> None:
    """``i64 @shutdown()``: tell all threads to end; how many have not yet."""
    b = _Builder(module, "shutdown", "i64", [])
    b.put(b.i64(0), Val("@wanted", "ptr"))
    count = b.load(Val("@started", "ptr"), "i64", 8)
    with b.loop(b.i64(0), count, carried=[b.i64(0)]) as loop:
        slot = b.slot(loop.index)
        b.turns(b.field(slot, _STATE), _IDLE, _STOP)
        b.call("void", "wake", [slot])
        gone = b.get(b.field(slot, _GONE))
        loop.next = [b.add(loop.carried[0], b.sub(b.i64(1), gone))]
    b.ret(loop.results[0])
    b.finish()
