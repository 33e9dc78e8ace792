"""The step of a training loop as one graph: loss, its gradient, and the optimizer's update."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradc.derivative import scalar
from gradc.errors import ArgumentError, OutputError
from gradc.ir import autodiff, ops
from gradc.ir.graph import Builder, Graph, Role, Value
from gradc.ir.ops.random import KEY
from gradc.ir.types import TensorType
from gradc.lowering import Lowered, identifier
from gradc.optim import Optimizer
from gradc.signature import Parameters
from gradc.trace import Traced, trace
from gradc.training import keys
from gradc.tree import TreeDef, flatten, paths, unflatten


@dataclass(frozen=True)
class LoopSpec:
    """What a trainer was told: the loss, the optimizer, how batches are taken."""

    loss: Callable[..., Any]
    parameters: Parameters
    optimizer: Optimizer
    batch_size: int | None
    shuffle: bool | str
    on_nonfinite: str = "raise"
    keyed: bool = False  # whether the loss has a parameter for the key of the step


@dataclass(frozen=True)
class StepTypes:
    """What a step is made for: the structures and types of what is carried, the types of the data.

    The leading extent of ``data`` is the number of samples, and is replaced by that of the batch.
    """

    params: TreeDef
    param_types: tuple[TensorType, ...]
    state: TreeDef
    state_types: tuple[TensorType, ...]
    data: tuple[TensorType, ...]

    def batch_types(self, size: int) -> list[TensorType]:
        """The types of a batch of so many samples."""
        return [t.with_shape((size, *t.shape[1:])) for t in self.data]


@dataclass(frozen=True)
class Names:
    """What the user calls the inputs of a step."""

    params: tuple[str, ...]
    state: tuple[str, ...]
    data: tuple[str, ...]


def names_of(parameters: Parameters, types: StepTypes) -> Names:
    """Names from the loss's parameters on: ``params['W1']``, ``state.mean['W1']``, ``x``."""
    params, *data = (parameters.argument_name(k) for k in range(1 + len(types.data)))
    state = "for.state" if "state" in (params, *data) else "state"
    return Names(tuple(paths(types.params, params)), tuple(paths(types.state, state)), tuple(data))


@dataclass(frozen=True, eq=False)
class Step:
    """One step on a batch.

    traced: the loss. gradient: parameters, state and batch to the loss and its gradients. update:
    gradients, state and parameters to new parameters and new state. skips: leaves out what is not
    finite. keyed: the loss takes a key, after the batch.
    """

    traced: Graph
    gradient: Graph
    update: Graph
    skips: bool
    keyed: bool

    @cached_property
    def adjoint(self) -> Graph:
        """The whole: parameters, state and batch to new parameters, new state, loss.

        Where steps may be skipped, also whether this one was not.
        """
        builder = Builder.extending(self.gradient)
        own = [builder.value(i) for i in self.gradient.inputs[: len(self.update.outputs)]]
        found = [builder.value(i) for i in self.gradient.outputs]
        return builder.build(self.updated(builder, own, found))

    def updated(
        self, builder: Builder, own: Sequence[Value], found: Sequence[Value]
    ) -> list[Value]:
        """The results, of parameters and state, and of the loss and its gradients."""
        value, *grads = found
        count, role = len(grads), Role("update", 1)
        results = builder.splice(self.update, [*grads, *own[count:], *own[:count]], role)
        if not self.skips:
            return [*results, value]
        with builder.marked(role, ()):
            done = _finite([value, *grads])
            results = [
                ops.where(ops.broadcast(done, shape=new.shape), new, old)
                for new, old in zip(results, own, strict=True)
            ]
        return [*results, value, done]

    @cached_property
    def optimized(self) -> Graph:
        """The graph of the whole after all passes."""
        from gradc.ir.passes import optimize

        return optimize(self.adjoint)


#: what a loss is to return instead
_REMEDIES = {
    "alone": "return the loss alone; fit(metrics={...}) measures what else is of interest",
    "reduced": "reduce it over the batch: np.mean of it",
}


def make_step(spec: LoopSpec, types: StepTypes, size: int, update: Graph | None = None) -> Step:
    """Trace the loss for a batch of ``size`` samples, differentiate it, and trace the update.

    ``update`` is that of a step on another batch, which is the same. Raises what tracing raises,
    NotScalarError, and ArgumentError for an update that does not fit.
    """
    from gradc.ir.passes import stabilize

    names, label = names_of(spec.parameters, types), spec.parameters.name
    batch = types.batch_types(size)
    fed = dict(zip(names.data, batch, strict=True)) | ({keys.NAME: KEY} if spec.keyed else {})
    labels, given = [*names.params, *fed], [*types.param_types, *fed.values()]
    leaf = TreeDef()
    arguments = TreeDef(tuple, (), (types.params, *(leaf for _ in batch)))
    keywords = flatten({keys.NAME: 0} if spec.keyed else {})[1]
    traced = _trace(spec.loss, arguments, given, labels, label, keywords)
    lowered = Lowered(traced.graph, traced.out_tree, tuple(range(len(given))))
    scalar(label, lowered, lowered.result, **_REMEDIES)

    builder = Builder(traced.graph.name)
    carried_names = (*names.params, *names.state)
    carried_types = (*types.param_types, *types.state_types)
    carried = [builder.input(n, t) for n, t in zip(carried_names, carried_types, strict=True)]
    inputs = [builder.input(n, t) for n, t in fed.items()]
    count = len(types.param_types)
    params = carried[:count]
    primal = builder.build(builder.splice(stabilize(traced.graph), [*params, *inputs]))

    gradient = autodiff.value_and_grad(primal, range(count))
    if update is None:
        update = _trace_update(spec.optimizer, types, names)
    return Step(traced.graph, gradient, update, spec.on_nonfinite == "skip", spec.keyed)


def _finite(values: Sequence[Value]) -> Value:
    """Whether there is no NaN and no infinity in any of the values."""
    checks = [ops.abs_(value) < np.inf for value in values]
    every = [ops.all_(check, axes=tuple(range(check.type.rank))) for check in checks]
    return functools.reduce(ops.bit_and, every)


def _trace(
    function: Callable[..., Any],
    arguments: TreeDef,
    types: Sequence[TensorType],
    names: Sequence[str],
    label: str,
    keywords: TreeDef | None = None,
    owned: bool = False,
) -> Traced:
    tree = TreeDef(tuple, (), (arguments, keywords or flatten({})[1]))
    # What it is given is another in every step: nothing of it can be known while tracing.
    traced = trace(
        function, tree, types, names, name=identifier(label), askable=False, owned=owned
    )
    if traced.captures:
        raise ArgumentError(f"{label} uses traced values of a function around it")
    return traced


def _trace_update(optimizer: Optimizer, types: StepTypes, names: Names) -> Graph:
    """The update's graph: gradients, state and parameters to new parameters and state."""
    arguments = TreeDef(tuple, (), (types.params, types.state, types.params))
    given = [*types.param_types, *types.state_types, *types.param_types]
    called = [*(f"d {name}" for name in names.params), *names.state, *names.params]
    label = f"the update of {optimizer.name}"
    traced = _trace(optimizer.update, arguments, given, called, label, owned=True)
    result = unflatten(traced.out_tree, range(traced.out_tree.num_leaves))
    expected = TreeDef(tuple, (), (types.params, types.state))
    if flatten(result)[1] != expected:
        raise OutputError(
            f"{label} must return (params, state) of the structure {expected}, not "
            f"{traced.out_tree}",
            remedy="give both the structure in which they came",
        )
    before = [*zip(names.params, types.param_types, strict=True)]
    before += zip(names.state, types.state_types, strict=True)
    for (name, old), new in zip(before, traced.graph.output_types, strict=True):
        if (old.dtype, old.shape) != (new.dtype, new.shape):
            raise OutputError(
                f"{label} changes the type of `{name}`",
                types=[f"{name}: {old}", f"after the update: {new}"],
                remedy="keep its shape, and its dtype: .astype(old.dtype)",
            )
    return traced.graph
