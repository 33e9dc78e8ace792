"""Recompute rather than store: what is cheap to have again is computed where it is used.

A value that one nest computes and later ones read would be stored and loaded; when it follows in
a few flops from what lies in memory anyway, every reader computes it for itself. Inside a nest
nothing is saved by it, and a call of vector math costs more than a load.
"""

from __future__ import annotations

from gradc.codegen.schedule import Group, Member, Scheduler, domain_of, in_registers
from gradc.codegen.statements import cost

#: flops up to which a value is recomputed in another nest
CHEAP = 4
#: values that such a computation may load in place of the one
LOADS = 2

#: value -> step -> the nodes that read it there, -1 for one that needs it in memory
Readers = dict[int, dict[int, list[int]]]


def rematerialise(scheduler: Scheduler) -> None:
    """Copy cheap values into the groups that read them, for all of which that must be possible.

    A chain of copies, each made for nothing but the next, may take no more than one: else a long
    recurrence would be computed from its beginning in every group that reads a part of it.
    """
    graph = scheduler.graph
    chains: dict[int, dict[int, int]] = {}  # step -> a copy in it -> flops of its chain
    readers = readers_of(scheduler)
    kept = {scheduler.root(i) for i in graph.outputs}
    for id_ in sorted(scheduler.home, reverse=True):
        home = scheduler.home[id_]
        users = readers.get(id_, {})
        others = [step for step in users if step != home]
        group = scheduler.steps[home]
        if id_ in kept or not others or not isinstance(group, Group):
            continue
        closure = _closure(scheduler, id_, kept, readers)
        if closure is None or not all(
            _possible(scheduler, id_, closure, step, users[step]) for step in others
        ):
            continue
        flops = sum(cost(graph.nodes[member]) for member in closure)
        lengths = {
            step: flops + min(chains.get(step, {}).get(user, 0) for user in users[step])
            for step in others
        }
        if max(lengths.values()) > CHEAP:
            continue
        for step in others:
            _copy(scheduler, closure, step)
            for member in closure:
                chain = chains.setdefault(step, {})
                chain[member] = min(lengths[step], chain.get(member, CHEAP))
                for read in scheduler.accesses(graph.nodes[member]):
                    readers.setdefault(read.source, {}).setdefault(step, []).append(member)
            del users[step]
        if home not in users:
            _move(scheduler, id_, min(others), readers)
    for step in chains:
        group = scheduler.steps[step]
        assert isinstance(group, Group)
        group.members = dict(sorted(group.members.items()))


def _move(
    scheduler: Scheduler, id_: int, to: int, readers: Readers
) -> None:
    """Take a value that nothing reads any more out of the group it was first put in."""
    home = scheduler.home[id_]
    group = scheduler.steps[home]
    assert isinstance(group, Group)
    member = group.members.pop(id_)
    scheduler.home[id_] = to
    for read in scheduler.accesses(member.node):
        inside = readers[scheduler.root(read.source)].get(home, [])
        if id_ in inside:
            inside.remove(id_)
            if not inside:
                del readers[scheduler.root(read.source)][home]


def readers_of(scheduler: Scheduler) -> Readers:
    """Who reads each value."""
    out: Readers = {}
    for index, step in enumerate(scheduler.steps):
        if isinstance(step, Group):
            for id_, member in step.members.items():
                for read in scheduler.accesses(member.node):
                    root = scheduler.root(read.source)
                    reader = id_ if root == read.source else -1
                    out.setdefault(root, {}).setdefault(index, []).append(reader)
                if member.node.op.name == "gather":
                    root = scheduler.root(member.node.operands[0])
                    out.setdefault(root, {}).setdefault(index, []).append(-1)
        else:
            for source in scheduler.memory_operands(step.node):
                out.setdefault(source, {}).setdefault(index, []).append(-1)
    return out


def _closure(
    scheduler: Scheduler, id_: int, kept: set[int], readers: Readers
) -> list[int] | None:
    """The value and what must be computed before it from memory; None if that is not cheap."""
    graph, home = scheduler.graph, scheduler.home[id_]
    group = scheduler.steps[home]
    assert isinstance(group, Group)
    needed, work, loads, flops = {id_}, [id_], set(), 0
    while work:
        member = group.members[work.pop()]
        if member.row or member.reduced is not None or member.node.op.name == "gather":
            return None
        flops += cost(member.node)
        for read in scheduler.accesses(member.node):
            source = read.source
            root = scheduler.root(source)
            in_memory = (
                root not in scheduler.home
                or root in kept
                or any(step != scheduler.home[root] for step in readers.get(root, {}))
            )
            if graph.nodes[root].op.name == "const" and graph.nodes[root].type.size == 1:
                continue
            if in_memory and source not in needed:
                loads.add(root)
            elif source not in needed:
                needed.add(source)
                work.append(source)
        if flops > CHEAP or len(loads) > LOADS:
            return None
    return sorted(needed)


def _possible(
    scheduler: Scheduler, id_: int, closure: list[int], step: int, users: list[int]
) -> bool:
    """Whether all that read the value in a step do so at the same point of the same loops."""
    group = scheduler.steps[step]
    if not isinstance(group, Group) or -1 in users:
        return False
    graph = scheduler.graph
    if any(domain_of(graph, graph.nodes[k]) != group.domain for k in closure):
        return False
    axes = tuple(range(len(group.domain)))
    copy = Member(graph.nodes[id_], axes, False)
    return all(
        in_registers(copy, graph, read, group.members[user].axes)
        for user in users
        for read in scheduler.accesses(graph.nodes[user])
        if read.source == id_
    )


def _copy(scheduler: Scheduler, closure: list[int], step: int) -> None:
    group = scheduler.steps[step]
    assert isinstance(group, Group)
    axes = tuple(range(len(group.domain)))
    for id_ in closure:
        group.members.setdefault(id_, Member(scheduler.graph.nodes[id_], axes, False))
