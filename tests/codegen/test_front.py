"""Fronts: what forms of call they take apart, what they pass on, and that they count references."""

from __future__ import annotations

import dataclasses
import gc
import sys
import threading
from collections import namedtuple
from functools import partial
from typing import Any

import numpy as np
import pytest

from gradc.codegen import cpython, jit
from gradc.codegen.callable import Entry, load_front
from gradc.codegen.entry import EntrySpec, ResultSpec
from gradc.codegen.form import Argument, Constant, Form, Leaf, Node, Pattern
from gradc.codegen.front import INLINE
from gradc.codegen.guards import ArgSpec
from gradc.codegen.llvm import Builder, Val
from tests.codegen.entries import check_flat, compiled, f4, f8, i8, pointer, slow

pytestmark = pytest.mark.skipif(not cpython.supported(), reason="no native entry points here")

VECTOR = ArgSpec("array", f8, (2,))
Point = namedtuple("Point", "x y")


@dataclasses.dataclass
class Record:
    """Two fields."""

    x: Any
    y: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    """Two fields in slots."""

    x: Any
    y: Any


def first_elements(count: int) -> Any:
    """A kernel that puts the first element of each argument into one result."""

    def body(b: Builder, args: Val, outs: Val, ws: Val) -> None:
        for k in range(count):
            value = b.load(pointer(b, args, k), "double", 8)
            b.store(value, b.gep(pointer(b, outs, 0), "double", b.i64(k)), 8)

    return body


def behind(count: int) -> Entry:
    """An entry whose result has the first elements of ``count`` arguments."""
    results = ResultSpec(((f8, (count,)),), 0)
    return compiled(EntrySpec((VECTOR,) * count, results), first_elements(count))


def front(form: Form) -> Any:
    return load_front(form, behind(form.inputs), slow, jit.compile).builtin("f")


def leaf(k: int, arg: ArgSpec = VECTOR) -> Leaf:
    return Leaf(arg, (k,))


def one(pattern: Pattern) -> Any:
    """A function of one argument of this pattern."""
    return front(Form(1, (), (Argument(0, pattern),)))


def text(value: str) -> Constant:
    return Constant(str, value)


def arrays(count: int) -> list[Any]:
    return [np.full(2, float(k)) for k in range(count)]


def missed(result: Any) -> bool:
    return isinstance(result, tuple) and result[0] == "slow"


PAIR = (leaf(0), leaf(1))
A, B = arrays(2)


@pytest.mark.parametrize(
    ("pattern", "given", "others"),
    [
        (Node(tuple, (), PAIR), (A, B), [[A, B], (A,), (A, B, B), Point(A, B), (A, 1.0), A]),
        (Node(list, (), PAIR), [A, B], [(A, B), [A], [], [A, B, B], None]),
        (Node(Point, (), PAIR), Point(A, B), [(A, B), Record(A, B)]),
        (
            Node(dict, (text("a"), text("b")), PAIR),
            {"a": A, "b": B},
            [
                {"b": B, "a": A}, {"a": A}, {"a": A, "c": B}, {"a": A, "b": B, "c": B}, {},
                {"a": A, 1: B},
            ],
        ),
        (
            Node(dict, (Constant(int, 1), Constant(bool, False)), PAIR),
            {1: A, False: B},
            [{1: A, 0: B}, {True: A, False: B}, {1.0: A, False: B}],
        ),
        (
            Node(Record, ("x", "y"), PAIR),
            Record(A, B),
            [Slotted(A, B), Point(A, B), Record(A, None), object.__new__(Record)],
        ),
        (Node(Slotted, ("x", "y"), PAIR), Slotted(A, B), [Record(A, B), object.__new__(Slotted)]),
        (
            Node(tuple, (), (Node(list, (), (leaf(0), Constant(type(None), None))), leaf(1))),
            ([A, None], B),
            [([A, 0], B), ([A], B), (A, B)],
        ),
        (
            Node(Record, ("x", "y"), (Node(Record, ("x", "y"), PAIR), text("name"))),
            Record(Record(A, B), "name"),
            [Record(Record(A, B), "other"), Record(A, "name")],
        ),
    ],
)
def test_containers(pattern: Pattern, given: Any, others: list[Any]) -> None:
    f = one(pattern)
    np.testing.assert_array_equal(f(given), [0, 1])
    check_flat(lambda: f(given), given, A, B, Record, Point, calls=1000)
    for other in others:
        result = f(other)
        assert missed(result) and result[1][0] is other
        del result
        check_flat(partial(f, other), other, A, B, calls=200)


def test_no_children() -> None:
    for kind in (tuple, list, dict):
        empty = kind()
        f = front(Form(2, (), (Argument(0, Node(kind, (), ())), Argument(1, leaf(0)))))
        assert f(empty, B)[0] == 1
        assert missed(f(None, B))
        check_flat(partial(f, empty, B), B, calls=200)


@pytest.mark.parametrize("count", [INLINE, INLINE + 1, 40])
def test_many_leaves(count: int) -> None:
    """Guards are in place for few leaves and called for many; both say the same."""
    keys = tuple(text(f"key {k}") for k in range(count))
    f = one(Node(dict, keys, tuple(map(leaf, range(count)))))
    given = {f"key {k}": x for k, x in enumerate(arrays(count))}
    np.testing.assert_array_equal(f(given), range(count))
    check_flat(lambda: f(given), *given.values(), calls=500)
    last = f"key {count - 1}"
    for bad in (
        np.zeros(3), np.zeros((2, 1)), np.zeros(()), np.zeros(2, f4), np.zeros(4)[::2], 1.0, None,
        np.zeros(2, ">f8" if sys.byteorder == "little" else "<f8"), np.zeros(2).view(np.matrix),
        [0.0, 0.0],
    ):
        assert missed(f({**given, last: bad}))
    wrong = {**given, last: None}
    check_flat(lambda: f(wrong), *given.values(), calls=500)
    odd = ArgSpec("array", f8, ())
    g = one(Node(tuple, (), (*map(leaf, range(count - 1)), leaf(count - 1, odd))))
    assert g((*arrays(count - 1), np.array(7.0)))[-1] == 7


def test_keys_may_be_equal_strings() -> None:
    f = one(Node(dict, (text("weights"),), (leaf(0),)))
    key = "".join(["wei", "ghts"])
    assert key is not sys.intern("weights")
    given = {key: B}
    assert f(given)[0] == 1
    check_flat(lambda: f(given), key, B, calls=500)
    assert missed(f({"weight": B})) and missed(f({b"weights": B}))


class Same:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("value", "equal", "others"),
    [
        (None, [None], [0, False, Same()]),
        (True, [True], [1, 1.0, np.True_, False]),
        (3, [3, int("3")], [3.0, True, 4, np.int64(3), 2**80]),
        (-(2**63), [-(2**63), int(str(-(2**63)))], [2**63, -(2**63) - 1]),
        ("mean", ["mean", "".join(["me", "an"])], ["sum", "", "mea", b"mean", Same()]),
        (0.0, [0.0, float("0")], [-0.0, 0, False, np.float64(0)]),
        (-0.0, [-0.0], [0.0]),
        (float("nan"), [float("nan")], [0.0]),
        (np.int32(5), [np.int32(5)], [5, np.int64(5), np.int32(4)]),
        (np.float32(0.5), [np.float32(0.5)], [0.5, np.float64(0.5)]),
        (np.True_, [np.True_], [True, np.False_]),
        (np.sum, [np.sum], [np.mean]),
        (int, [int], [float]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_constants(value: Any, equal: list[Any], others: list[Any]) -> None:
    f = front(Form(2, (), (Argument(0, Constant(type(value), value)), Argument(1, leaf(0)))))
    for x in equal:
        assert f(x, B)[0] == 1
    for x in others:
        assert missed(f(x, B))
    check_flat(lambda: f(value, B), value, B, calls=500)
    check_flat(lambda: f(others[0], B), others[0], B, calls=500)


def test_number() -> None:
    number = ArgSpec("number", f8)
    f = front(Form(2, (), (Argument(0, leaf(0, number)), Argument(1, leaf(1, number)))))
    for x, y in ((1.5, 2), (-3, 0.5), (2**62, -(2**63)), (2**53 + 1, 0), (-0.0, float("inf"))):
        np.testing.assert_array_equal(f(x, y), [float(x), float(y)])
    for other in (True, 2**63, 10**30, np.float64(1), np.int64(1), "1", None):
        assert missed(f(other, 1.0)) and missed(f(1.0, other))
    check_flat(lambda: f(10**9, 0.5), calls=500)


def test_keywords() -> None:
    arguments = (Argument(0, leaf(0)), Argument(1, leaf(1)), Argument(2, text("sum")))
    f = front(Form(1, ("y", "mode"), arguments))
    np.testing.assert_array_equal(f(A, y=B, mode="sum"), [0, 1])
    names = {"".join(["mo", "de"]): "sum"}
    np.testing.assert_array_equal(f(A, y=B, **names), [0, 1])
    for call in (
        lambda: f(A, mode="sum", y=B), lambda: f(A, B, "sum"), lambda: f(A, y=B),
        lambda: f(A, y=B, mode="mean"), lambda: f(A, z=B, mode="sum"), lambda: f(A),
        lambda: f(A, y=B, mode="sum", more=1), lambda: f(x=A, y=B, mode="sum"),
    ):
        assert missed(call())
        check_flat(call, A, B, calls=200)
    check_flat(lambda: f(A, y=B, mode="sum"), A, B, calls=500)
    assert f(A, y=B, mode="mean") == ("slow", (A,), {"y": B, "mode": "mean"})


def test_defaults() -> None:
    default = np.full(2, 5.0)
    f = front(Form(1, (), (Argument(0, leaf(0)), Argument(None, leaf(1), default))))
    np.testing.assert_array_equal(f(A), [0, 5])
    default[0] = 6
    np.testing.assert_array_equal(f(A), [0, 6])
    check_flat(lambda: f(A), A, default, calls=500)
    del default
    gc.collect()
    np.testing.assert_array_equal(f(A), [0, 6])


def test_a_leaf_may_be_no_input_or_several() -> None:
    f = one(Node(tuple, (), (Leaf(VECTOR, ()), Leaf(VECTOR, (0, 1)))))
    np.testing.assert_array_equal(f((A, B)), [1, 1])
    assert missed(f((None, B)))


def test_chain() -> None:
    entry = behind(2)
    forms = [
        Form(1, (), (Argument(0, Node(kind, (), PAIR)),)) for kind in (tuple, list, Point)
    ]
    fronts = [load_front(form, entry, slow, jit.compile) for form in forms]
    for before, after in zip([entry, *fronts], fronts, strict=False):
        before.link(after)
    f = entry.builtin("f")
    del entry, fronts, before, after
    gc.collect()
    for given in ((A, B), [A, B], Point(A, B)):
        np.testing.assert_array_equal(f(given), [0, 1])
        check_flat(partial(f, given), A, B, calls=200)
    np.testing.assert_array_equal(f(A, B), [0, 1])
    assert missed(f({"a": A}))


def test_attributes_that_run_python() -> None:
    """What reading one attribute does to the containers does not reach what was taken before."""

    class Tricky:
        def __init__(self) -> None:
            self.items = [np.full(2, 8.0), np.full(2, 9.0)]

        @property
        def last(self) -> Any:
            self.items.clear()
            return np.full(2, 7.0)

    inner = Node(Tricky, ("items", "last"), (Node(list, (), PAIR), leaf(2)))
    f = one(inner)
    assert missed(f(Tricky()))  # the list is empty by the time it is taken apart
    g = one(Node(Tricky, ("last",), (leaf(0),)))
    h = one(Node(Record, ("x", "y"), (leaf(0), Node(Tricky, ("last",), (leaf(1),)))))
    assert g(Tricky())[0] == 7
    record = Record(A, Tricky())
    np.testing.assert_array_equal(h(record), [0, 7])
    check_flat(lambda: h(record), A, record, calls=500)


def test_attribute_that_fails() -> None:
    class Broken:
        @property
        def x(self) -> Any:
            raise KeyError("no")

    f = one(Node(Broken, ("x",), (leaf(0),)))
    broken = Broken()
    assert missed(f(broken))
    check_flat(lambda: f(broken), broken, calls=500)


def test_leaves_outlive_their_container() -> None:
    """The kernel waits, without the GIL, until another thread has emptied the dict."""

    def body(b: Builder, args: Val, outs: Val, ws: Val) -> None:
        flag = pointer(b, args, 1)
        b.br("wait")
        b.place("wait")
        seen = b.op("i64", f"load atomic i64, ptr {flag.ref} seq_cst, align 8")
        b.cond_br(b.icmp("eq", seen, b.i64(0)), "wait", "done")
        b.place("done")
        b.store(b.load(pointer(b, args, 0), "double", 8), pointer(b, outs, 0), 8)

    big, flag = ArgSpec("array", f8, (1 << 20,)), ArgSpec("array", i8)
    spec = EntrySpec((big, flag), ResultSpec(((f8, ()),), 0), release_gil=True)
    pattern = Node(dict, (text("x"),), (leaf(0, big),))
    form = Form(2, (), (Argument(0, pattern), Argument(1, leaf(1, flag))))
    f = load_front(form, compiled(spec, body), slow, jit.compile).builtin("f")
    given, stop = {"x": np.full(1 << 20, 3.0)}, np.array(0)

    def empty() -> None:
        given.clear()
        gc.collect()
        stop.fill(1)

    timer = threading.Timer(0.05, empty)
    timer.start()
    assert f(given, stop) == 3 and not given


def test_mutation_from_other_threads() -> None:
    keys = [f"w{k}" for k in range(8)]
    f = one(Node(dict, tuple(map(text, keys)), tuple(map(leaf, range(8)))))
    given = dict(zip(keys, arrays(8), strict=True))
    stop = threading.Event()

    def mutate() -> None:
        while not stop.is_set():
            for k, key in enumerate(keys):
                given[key] = np.full(2, float(k))
            given["extra"] = np.zeros(2)
            del given["extra"]

    threads = [threading.Thread(target=mutate) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    for thread in threads:
        thread.start()
    try:
        for _ in range(5000):
            result = f(given)
            assert missed(result) or list(result) == list(range(8))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)


def test_forms_are_equal_whatever_their_defaults() -> None:
    first, second = (Argument(None, leaf(0), np.zeros(2)) for _ in range(2))
    assert Form(0, (), (first,)) == Form(0, (), (second,))
    assert hash(first) == hash(second)
    assert Form(0, (), (first,)) != Form(1, (), (first,))
