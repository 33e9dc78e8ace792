"""The cheapest choice of what is kept and what is computed again, against all choices there are."""

from __future__ import annotations

import itertools
import random

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradc.ir import mincut


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_no_choice_is_cheaper(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 7))
    values, sources = range(10, 10 + size), range(3)
    operands = {
        k: data.draw(st.lists(st.sampled_from([*sources, *range(10, k)]), min_size=1, max_size=3))
        for k in values
    }
    price = st.integers(0, 60)
    flops = {k: data.draw(price) for k in values}
    kept = {k: data.draw(price) for k in values}
    leaves = {k: data.draw(price) for k in sources}
    needed = data.draw(st.sets(st.sampled_from(values), min_size=1))

    def total(computed: set[int]) -> int:
        wanted = needed | {k for c in computed for k in operands[c]}
        return sum(flops[k] for k in computed) + sum(
            kept.get(k, leaves.get(k, 0)) for k in wanted - computed
        )

    choices = (
        set(c) for r in range(size + 1) for c in itertools.combinations(values, r)
    )
    found = mincut.cheapest(needed, operands, flops, kept, leaves)
    assert total(found) == min(map(total, choices))


def test_a_value_that_many_share_is_kept_once() -> None:
    operands = {1: [0], 2: [1], 3: [1], 4: [1]}
    flops = {1: 50, 2: 4, 3: 4, 4: 4}
    found = mincut.cheapest({2, 3, 4}, operands, flops, dict.fromkeys(operands, 10), {0: 0})
    assert found == {2, 3, 4}  # 12, and 10 for the one kept; 30 for the three of them


@pytest.mark.parametrize("seed", range(4))
def test_large_networks_have_the_price_that_networkx_finds(seed: int) -> None:
    rng, size = random.Random(seed), 600
    operands = {k: [rng.randrange(max(0, k - 20), k) for _ in range(2)] for k in range(1, size)}
    flops = {k: rng.choice((0, 1, 1, 4, 40)) for k in operands}
    kept = {k: rng.choice((2, 12)) for k in operands}
    needed = {k for k in operands if rng.random() < 0.3}
    found = mincut.cheapest(needed, operands, flops, kept, {0: 3})
    wanted = needed | {k for c in found for k in operands[c]}
    price = sum(flops[k] for k in found) + sum({0: 3, **kept}[k] for k in wanted - found)

    network = networkx.DiGraph()
    network.add_edge("memory", ("at hand", 0), capacity=3)
    for k, sources in operands.items():
        network.add_edge("memory", k, capacity=flops[k])
        network.add_edge(k, ("at hand", k), capacity=kept[k])
        network.add_edges_from((("at hand", source), k) for source in sources)
    network.add_edges_from((("at hand", k), "use") for k in needed)
    assert price == networkx.minimum_cut_value(network, "memory", "use")
