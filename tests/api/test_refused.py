"""What calls are refused for, and what their errors say."""

from __future__ import annotations

import collections
import re
import types

import numpy as np
import pytest

import gradc


class Dict(dict):
    pass


class Tuple(tuple):
    pass


def nested(depth, kind):
    value = 1.0
    for _ in range(depth):
        value = kind([value])
    return value


def cyclic():
    value = [1.0]
    value.append(value)
    value.append({"again": value})
    return value


@pytest.mark.parametrize(
    "value", [cyclic(), nested(250, list), nested(3000, list), nested(3000, tuple)],
    ids=["cyclic", "deep", "deeper", "tuples"],
)
def test_structures_that_are_too_deep(value):
    f = gradc.compile(lambda x, tree: x)
    for call in (lambda: f(1.0, value), lambda: f.grad(1.0, tree=value)):
        with pytest.raises(gradc.GradcError, match="`tree` is nested .*, or contains itself"):
            call()
    with pytest.raises(gradc.GradcError, match="contains itself"):
        gradc.compile(lambda x: cyclic())(1.0)
    assert f(1.0, nested(150, tuple)) == 1.0


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (collections.defaultdict(float, a=1.0), "dict(p)"),
        (Dict(a=1.0), "dict(p)"),
        (Tuple([np.ones(2)]), "tuple(p)"),
    ],
    ids=["defaultdict", "dict", "tuple"],
)
def test_kinds_of_containers(value, remedy):
    with pytest.raises(gradc.GradcError, match="argument `p` is a") as caught:
        gradc.compile(lambda p: p["a"])(value)
    assert type(value).__name__ in str(caught.value) and remedy in str(caught.value)


def test_integers_of_more_than_64_bits():
    for f, x in ((lambda x: 2**63, 1.0), (lambda x: x, 2**63), (lambda x: [x], -(2**70))):
        with pytest.raises(gradc.GradcError, match="64 bits") as caught:
            gradc.compile(f)(x)
        assert "float" in str(caught.value)
    assert gradc.compile(lambda x: x * 2**63)(1.0) == 2.0**63


def test_objects_that_hold_arrays():
    value = types.SimpleNamespace(w=np.ones(2))
    f = gradc.compile(lambda p: p["w"] * 2)
    with pytest.raises(gradc.GradcError, match="`p` is no array or number") as caught:
        f(value)
    assert "vars(p)" in str(caught.value)
    assert f(vars(value)).tolist() == [2.0, 2.0]


@pytest.mark.parametrize("odd", [None, "a", object()], ids=["None", "str", "object"])
def test_errors_of_the_body_say_which_argument_is_new(odd):
    f = gradc.compile(lambda w, x, scale=None: np.sum(w.T @ x))
    with pytest.raises(AttributeError) as caught:
        f(odd, np.ones(2))
    assert re.fullmatch("Argument `w` is .*: no number or array, so not traced.",
                        "".join(caught.value.__notes__))
    f(np.ones(2), np.ones(2))
    with pytest.raises(AttributeError) as caught:
        f(odd, np.ones(2))
    note, = caught.value.__notes__
    assert note.startswith("Argument `w` is ") and note.endswith("; before, it was f64[2].")


def test_argnums_of_many_arguments():
    with pytest.raises(gradc.GradcError, match=r"`\*xs` of .* is many arguments") as caught:
        gradc.compile(lambda w, *xs: w, argnums="xs")
    assert "by position: 1 is the first" in str(caught.value)
    f = gradc.compile(lambda **named: named["a"] * 2, argnums="named")
    with pytest.raises(gradc.GradcError, match="which this call has not") as caught:
        f.grad(a=1.0)
    assert "`**named` is many arguments" in str(caught.value)
    assert gradc.grad(lambda **named: named["a"] * 2, argnums="a")(a=1.0) == 2.0


def test_has_aux_with_one_result():
    with pytest.raises(gradc.GradcError, match="<lambda> returned one array or number"):
        gradc.compile(lambda x: x, has_aux=True).grad(1.0)
