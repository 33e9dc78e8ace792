"""Pytrees."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from gradc.tree import LEAF, flatten, paths, unflatten
from tests.tracer.helpers import check

Point = namedtuple("Point", "x y")


@dataclass(frozen=True, slots=True)
class Layer:
    w: Any
    b: Any


@dataclass
class Checked:
    n: int

    def __post_init__(self) -> None:
        if not isinstance(self.n, int):
            raise TypeError("an int, please")


TREES = [
    1, None, (), [], {}, (1,), [1, [2, (3,)]], {"b": 1, "a": [2, None]}, Point(1, (2, 3)),
    Layer(1, {"k": 2}), OrderedDict(z=1, a=2), (None, {"x": Point(None, 2)}), {1: 2, (0, "a"): 3},
]


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_round_trip(tree: Any) -> None:
    leaves, treedef = flatten(tree)
    again = unflatten(treedef, leaves)
    assert again == tree
    assert type(again) is type(tree)
    assert flatten(tree)[1] == treedef
    assert hash(flatten(tree)[1]) == hash(treedef)
    assert treedef.num_leaves == len(leaves) == len(paths(treedef))


def test_structures_differ() -> None:
    structures = [flatten(tree)[1] for tree in TREES]
    assert len(set(structures)) == len(TREES)
    assert flatten([1])[1] != flatten((1,))[1]
    assert flatten({"a": 1, "b": 2})[1] != flatten({"b": 1, "a": 2})[1]


def test_paths() -> None:
    tree = {"W1": 0, "layers": [Layer(1, 2), Point(3, None)]}
    assert paths(flatten(tree)[1], "params") == [
        "params['W1']", "params['layers'][0].w", "params['layers'][0].b", "params['layers'][1].x",
    ]
    assert paths(LEAF, "x") == ["x"]


def test_text() -> None:
    tree = (1, [None, {"a": 2}], Point(3, 4))
    assert str(flatten(tree)[1]) == "(*, [None, {'a': *}], Point(x=*, y=*))"


def test_a_dataclass_is_not_checked_again() -> None:
    _, treedef = flatten(Checked(3))
    assert unflatten(treedef, [2.5]).n == 2.5


def test_wrong_number_of_leaves() -> None:
    _, treedef = flatten([1, 2])
    with pytest.raises(ValueError, match="too few"):
        unflatten(treedef, [1])
    with pytest.raises(ValueError, match="too many"):
        unflatten(treedef, [1, 2, 3])


def test_through_a_trace() -> None:
    tree = {"p": Point(np.ones(2), 2.0), "l": [Layer(np.arange(3), None)]}

    def f(t: Any) -> Any:
        return {"out": t["p"].x * t["p"].y, "l": (t["l"][0].w + 1, None, Layer(1.0, t["p"]))}

    check(f, tree)
