"""Memory that a call takes as it runs: tapes of loops whose trip count no one knows before.

A call has a list of blocks from Python's raw allocator, the last one first. Small tapes are cut one
after the other from a block of :data:`BLOCK` bytes, the shared one; a large one has a block of its
own, which can grow where it is. What was taken since a mark is given back together. A tape's
address is that of its elements; their number stands before them.
"""

from __future__ import annotations

from typing import NamedTuple

from gradc.codegen.llvm import Builder, Module, Val

#: status: there was no memory for a tape
NO_MEMORY = 5
#: where the mebibytes that were asked for stand in the status, and how many of its bits they have
SIZE, SIZE_BITS = 32, 28
#: bytes of a block that small tapes share, and from which a tape is large
BLOCK, LARGE = 1 << 16, 1 << 13
#: 64-bit words that a call's tapes are known by: the newest block, and the shared one
WORDS, _SHARED = 2, 8
#: bytes before the elements of a tape
HEAD = 16
#: bytes before the room of a block: the block before it in the list, the one after it, its size
#: and how much of it is used, the head included
_BLOCK_HEAD = 64
_OLDER, _NEWER, _SIZE, _USED = 0, 8, 16, 24

_NULL = Val("null", "ptr")


class Mark(NamedTuple):
    """How much was taken at a time: the newest block, the shared one, and what of it was used."""

    block: Val
    shared: Val
    used: Val


def begin(b: Builder, state: Val) -> None:
    """Nothing is taken yet."""
    b.store(_NULL, state, 8)
    b.store(_NULL, _at(b, state, _SHARED), 8)


def take(b: Builder, state: Val, nbytes: Val) -> Val:
    """The address of so many bytes, null if there is no memory."""
    return _called(b, _take(b.module), [state, nbytes])


def grow(b: Builder, state: Val, tape: Val, old: Val, nbytes: Val) -> Val:
    """The address of a tape of ``old`` bytes when it has more; null if there is no memory."""
    return _called(b, _grow(b.module), [state, tape, old, nbytes])


def length(b: Builder, tape: Val) -> Val:
    """How many elements a tape has."""
    return b.load(b.gep(tape, "i8", b.i64(-HEAD)), "i64", 8)


def set_length(b: Builder, tape: Val, count: Val) -> None:
    """Note how many elements a tape has."""
    b.store(count, b.gep(tape, "i8", b.i64(-HEAD)), 8)


def mark(b: Builder, state: Val) -> Mark:
    """How much is taken now."""
    block, shared = b.load(state, "ptr", 8), b.load(_at(b, state, _SHARED), "ptr", 8)
    before = b.block
    some, done = b.label("some"), b.label("marked")
    b.cond_br(b.icmp("ne", shared, _NULL), some, done)
    b.place(some)
    used = _field(b, shared, _USED)
    b.br(done)
    b.place(done)
    both = b.op("i64", f"phi i64 [ 0, %{before} ], [ {used.ref}, %{some} ]")
    return Mark(block, shared, both)


def release(b: Builder, state: Val, since: Mark | None = None) -> None:
    """Give back what was taken since a mark, or everything."""
    mark_ = since or Mark(_NULL, _NULL, b.i64(0))
    b.call("void", _release(b.module), [state, *mark_])


def _called(b: Builder, name: str, operands: list[Val]) -> Val:
    out = b.call("ptr", name, operands)
    assert out is not None
    return out


def _at(b: Builder, block: Val, field: int) -> Val:
    return b.gep(block, "i8", b.i64(field))


def _field(b: Builder, block: Val, field: int) -> Val:
    return b.load(_at(b, block, field), "i64", 8)


def _take(module: Module) -> str:
    """``ptr tape_take(ptr state, i64 nbytes)``."""
    name = "tape_take"
    if name in module.functions:
        return name
    params = [("ptr", "state"), ("i64", "nbytes")]
    b = Builder(module, name, "ptr", params, linkage="internal")
    state, nbytes = b.params
    wanted = b.and_(b.add(nbytes, b.i64(HEAD + 15)), b.i64(-16))
    block, shared = b.load(state, "ptr", 8), b.load(_at(b, state, _SHARED), "ptr", 8)
    look, room, fresh = b.label("look"), b.label("room"), b.label("fresh")
    large = b.icmp("uge", wanted, b.i64(LARGE))
    b.cond_br(b.or_(large, b.icmp("eq", shared, _NULL)), fresh, look)
    b.place(look)
    used = _field(b, shared, _USED)
    end = b.add(used, wanted)
    b.cond_br(b.icmp("ule", end, _field(b, shared, _SIZE)), room, fresh)
    b.place(room)
    b.store(end, _at(b, shared, _USED), 8)
    b.ret(b.gep(shared, "i8", b.add(used, b.i64(HEAD))))
    b.place(fresh)
    size = b.add(b.select(large, wanted, b.i64(BLOCK)), b.i64(_BLOCK_HEAD))
    made = b.call_pointer("ptr", b.external("PyMem_RawMalloc"), [size])
    assert made is not None
    with b.if_(b.icmp("eq", made, _NULL)):
        b.ret(_NULL)
        b.place(b.label("never"))
    b.store(block, _at(b, made, _OLDER), 8)
    b.store(_NULL, _at(b, made, _NEWER), 8)
    b.store(size, _at(b, made, _SIZE), 8)
    b.store(b.add(wanted, b.i64(_BLOCK_HEAD)), _at(b, made, _USED), 8)
    with b.if_(b.icmp("ne", block, _NULL)):
        b.store(made, _at(b, block, _NEWER), 8)
    b.store(made, state, 8)
    b.store(b.select(large, shared, made), _at(b, state, _SHARED), 8)
    b.ret(_at(b, made, _BLOCK_HEAD + HEAD))
    b.finish()
    return name


def _grow(module: Module) -> str:
    """``ptr tape_grow(ptr state, ptr tape, i64 old, i64 nbytes)``."""
    name = "tape_grow"
    if name in module.functions:
        return name
    take_ = _take(module)
    params = [("ptr", "state"), ("ptr", "tape"), ("i64", "old"), ("i64", "nbytes")]
    b = Builder(module, name, "ptr", params, linkage="internal")
    state, tape, old, nbytes = b.params
    before = b.and_(b.add(old, b.i64(HEAD + 15)), b.i64(-16))
    wanted = b.and_(b.add(nbytes, b.i64(HEAD + 15)), b.i64(-16))
    where, last_, room, move = (b.label(name) for name in ("where", "last", "room", "move"))
    small = b.label("small")
    b.cond_br(b.icmp("uge", before, b.i64(LARGE)), where, small)
    b.place(small)  # the last one that was cut from the shared block may have more of it
    shared = b.load(_at(b, state, _SHARED), "ptr", 8)
    few = b.icmp("ult", wanted, b.i64(LARGE))
    b.cond_br(b.and_(few, b.icmp("ne", shared, _NULL)), last_, move)
    b.place(last_)
    rest = b.sub(_field(b, shared, _USED), before)
    here = b.icmp("eq", b.gep(shared, "i8", b.add(rest, b.i64(HEAD))), tape)
    end = b.add(rest, wanted)
    b.cond_br(b.and_(here, b.icmp("ule", end, _field(b, shared, _SIZE))), room, move)
    b.place(room)
    b.store(end, _at(b, shared, _USED), 8)
    b.ret(tape)
    b.place(where)
    block = b.gep(tape, "i8", b.i64(-HEAD - _BLOCK_HEAD))
    own, alone = b.label("own"), b.add(before, b.i64(_BLOCK_HEAD))
    b.cond_br(b.icmp("eq", _field(b, block, _SIZE), alone), own, move)
    b.place(own)
    size = b.add(wanted, b.i64(_BLOCK_HEAD))
    made = b.call_pointer("ptr", b.external("PyMem_RawRealloc"), [block, size])
    assert made is not None
    with b.if_(b.icmp("eq", made, _NULL)):
        b.ret(_NULL)
        b.place(b.label("never"))
    b.store(size, _at(b, made, _SIZE), 8)
    b.store(size, _at(b, made, _USED), 8)
    older = b.load(_at(b, made, _OLDER), "ptr", 8)
    with b.if_(b.icmp("ne", older, _NULL)):
        b.store(made, _at(b, older, _NEWER), 8)
    newer = b.load(_at(b, made, _NEWER), "ptr", 8)
    last = b.icmp("eq", newer, _NULL)
    b.store(made, b.select(last, state, _at(b, newer, _OLDER)), 8)
    b.ret(_at(b, made, _BLOCK_HEAD + HEAD))
    b.place(move)
    other = b.call("ptr", take_, [state, nbytes])
    assert other is not None
    with b.if_(b.icmp("ne", other, _NULL)):
        words = b.binary("lshr", b.add(old, b.i64(15)), b.i64(4))
        with b.loop(b.i64(0), words) as loop:
            pair = "<2 x i64>"
            value = b.load(b.gep(tape, pair, loop.index), pair, 8)
            b.store(value, b.gep(other, pair, loop.index), 8)
    b.ret(other)
    b.finish()
    return name


def _release(module: Module) -> str:
    """``void tape_release(ptr state, ptr block, ptr shared, i64 used)``."""
    name = "tape_release"
    if name in module.functions:
        return name
    params = [("ptr", "state"), ("ptr", "block"), ("ptr", "shared"), ("i64", "used")]
    b = Builder(module, name, "void", params, linkage="internal")
    state, block, shared, used = b.params
    head, free, done = b.label("head"), b.label("free"), b.label("done")
    b.br(head)
    b.place(head)
    newest = b.load(state, "ptr", 8)
    b.cond_br(b.icmp("ne", newest, block), free, done)
    b.place(free)
    b.store(b.load(_at(b, newest, _OLDER), "ptr", 8), state, 8)
    b.call_pointer("void", b.external("PyMem_RawFree"), [newest])
    b.br(head)
    b.place(done)
    b.store(shared, _at(b, state, _SHARED), 8)
    with b.if_(b.icmp("ne", block, _NULL)):
        b.store(_NULL, _at(b, block, _NEWER), 8)
    with b.if_(b.icmp("ne", shared, _NULL)):
        b.store(used, _at(b, shared, _USED), 8)
    b.ret()
    b.finish()
    return name
