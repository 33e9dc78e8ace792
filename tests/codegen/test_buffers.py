"""The arena: nothing alive at the same time overlaps, and memory is used again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gradc.codegen.buffers import ALIGN, Request, plan

requests = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 30), st.integers(0, 10)).map(
        lambda t: Request(t[0], t[1], t[1] + t[2])
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(requests)
def test_what_lives_together_does_not_overlap(wanted: list[Request]) -> None:
    offsets, total = plan(wanted)
    for k, (a, at) in enumerate(zip(wanted, offsets, strict=True)):
        assert at % ALIGN == 0
        assert at + a.nbytes <= total
        for b, other in zip(wanted[:k], offsets[:k], strict=True):
            if a.first <= b.last and b.first <= a.last and a.nbytes and b.nbytes:
                assert at + a.nbytes <= other or other + b.nbytes <= at


def test_a_chain_needs_two_buffers() -> None:
    chain = [Request(1000, k, k + 1) for k in range(100)]
    assert plan(chain)[1] == 2 * 1024
