"""From a ``branch`` node to its stage."""

from __future__ import annotations

from collections.abc import Mapping

from gradc.codegen.loops import Stage
from gradc.codegen.prepare import in_memory_as, prepare
from gradc.codegen.region.control import Control, may_take
from gradc.codegen.region.lowering import RegionLowering, copied
from gradc.codegen.region.onto import onto
from gradc.codegen.region.stages import Body, Branch


class BranchControl(Control):
    """A branch on its way to its stage."""

    def stages(self) -> list[Stage]:
        """The stage."""
        node, outer = self.node, self.outer
        index, *operands = node.operands
        position = dict(outer.updates(node))
        kept = {k: position[i] - 1 for k, i in self.items.items() if i in outer.in_place}
        regions = []
        for n, graph in enumerate(node.attrs["branches"]):
            graph = prepare(onto(graph), lambda k, p: kept.get(k) == p)
            inputs = [self.captured(i) for i in operands]
            results = [
                None if k in kept or not in_memory_as(t) else self.result(k)
                for k, t in enumerate(node.type.items)
            ]
            mine = {p: k for k, p in kept.items()}
            ranges = {k: outer.range_of(i) for k, i in enumerate(operands)}
            region = RegionLowering(
                graph, outer.target, outer.checked, f"{self.prefix}b{n}.", inputs, results, mine,
                ranges,
            )
            region.stages()
            self._settled(region, kept)
            regions.append(region)
        made = self.place(regions, apart=False)
        bodies = []
        for region, stages_ in zip(regions, made, strict=True):
            scalars = tuple(region.result(k) for k in range(len(region.graph.outputs)))
            given = self.given(region.graph, operands, 0)
            bodies.append(Body(tuple(stages_), given, scalars))
        targets = tuple(
            None if in_memory_as(t) else outer.target_of(self.items[k])
            for k, t in enumerate(node.type.items)
        )
        return [Branch(node, outer.scalar(index), tuple(bodies), targets)]

    def _settled(self, region: RegionLowering, kept: Mapping[int, int]) -> None:
        """What brings results made of an operand, but elsewhere, to their place."""
        for k, p in kept.items():
            place = region.memory(region.graph.outputs[k])
            home = self.result(k)
            if place.name != home.name and place.name not in region.given:
                if may_take(region, region.graph.inputs[p], region.graph.outputs[k]):
                    self.alias[place.name] = home
                    region.given.add(place.name)
                else:
                    region.lasting.add(place.name)
                    region.made += copied(place, home)
                    region.step_of.append(len(region.steps) - 1)
