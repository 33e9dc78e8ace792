"""``gradc.train``: a loss and an optimizer in, a training loop that is one native function out."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gradc.config import settings
from gradc.context import current
from gradc.dispatch import contiguous
from gradc.errors import (
    ArgumentError,
    IndexingError,
    NotDifferentiableError,
    OptionError,
    ShapeError,
    UnsupportedError,
)
from gradc.ir import interp
from gradc.ir.graph import Graph
from gradc.ir.text import dump
from gradc.ir.types import TensorType
from gradc.optim import Optimizer
from gradc.signature import Parameters, as_differentiable, leaf_type
from gradc.step import Names, Step, StepTypes, make_step, names_of
from gradc.trace import Static
from gradc.tree import flatten, paths, unflatten

if TYPE_CHECKING:
    from gradc.codegen.training import TrainingProgram
    from gradc.codegen.training_call import TrainingFailure, TrainingKernel

Array = np.ndarray[Any, Any]
Callback = Callable[[int, float], object]

#: what ``Trainer.ir`` can show
STAGES = ("traced", "adjoint", "optimized", "loops", "llvm", "asm")


@dataclass(frozen=True)
class TrainResult:
    """What training made.

    params: the trained parameters, of the structure, shapes and dtypes of those given.
    losses: float64, one an epoch: the mean over its samples of the loss of their batches, each
        taken before the batch's own update.
    """

    params: Any
    losses: Array


def train(
    loss: Callable[..., Any],
    *,
    optimizer: Optimizer,
    batch_size: int | None = None,
    shuffle: bool = True,
) -> Trainer:
    """A trainer for a loss: epochs, shuffling, mini-batches, gradient and update in one native call.

    loss: ``loss(params, *batch)``, plain NumPy, a floating scalar. The update is that of the optimizer
        with the gradient of the batch's loss: for ``sgd(lr)``, ``params - lr * gradient``.
    optimizer: from :mod:`gradc.optim`, or one of your own.
    batch_size: samples in a step; all of them if None. The last batch of an epoch may be smaller.
    shuffle: take the samples in a random order, another in each epoch.

    >>> import numpy as np, gradc
    >>> def loss(w, x, y):
    ...     return np.mean((x @ w - y) ** 2)
    >>> x = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    >>> trainer = gradc.train(loss, optimizer=gradc.optim.sgd(0.2))
    >>> result = trainer.fit(np.zeros(2), (x, np.array([1.0, 3.0, 5.0])), epochs=500)
    >>> result.params.round(6)
    array([2., 1.])

    Raises OptionError for a batch size below 1, ArgumentError for what is no function or no optimizer.
    """
    return Trainer(loss, optimizer, batch_size, shuffle)


class Trainer:
    """Made by :func:`train`. It keeps the compiled loop of each combination of types that it met."""

    def __init__(
        self,
        loss: Callable[..., Any],
        optimizer: Optimizer,
        batch_size: int | None = None,
        shuffle: bool = True,
    ) -> None:
        if not callable(loss):
            raise ArgumentError(
                f"gradc.train takes a function, not {loss!r}", remedy="loss(params, x, y)"
            )
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(
                f"optimizer must be a gradc.optim.Optimizer, not {optimizer!r}",
                remedy="optimizer=gradc.optim.sgd(0.1)",
            )
        label = getattr(loss, "__name__", None) or type(loss).__name__
        self.loss = loss
        self.optimizer = optimizer
        self.batch_size = None if batch_size is None else _count("batch_size", batch_size, 1)
        self.shuffle = bool(shuffle)
        self._parameters = Parameters(loss, label)
        self._loops: dict[Hashable, _Loop] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<trainer of {self._parameters.name} by {self.optimizer}>"

    def fit(
        self,
        params: Any,
        data: Sequence[Any],
        *,
        epochs: int = 20,
        seed: int = 0,
        callback: Callback | None = None,
    ) -> TrainResult:
        """Train from ``params`` on, which stay as they are, and return the result.

        params: a pytree of floating arrays or numbers.
        data: a tuple of arrays with one sample to an index of the first axis; a step gets that many
            arguments after the parameters.
        epochs: how often every sample is used.
        seed: 0 <= seed < 2⁶⁴, decides the order of the samples, on every platform alike.
        callback: ``callback(epoch, loss)``, called after every epoch; a true answer ends the training. What it
            raises is raised here, and so is a KeyboardInterrupt, at the end of the epoch at the latest.

        Losses that are not finite are returned as they are. Raises ArgumentError, ShapeError,
        OptionError and NotDifferentiableError for what cannot be trained on, and what tracing raises.
        """
        epochs = _count("epochs", epochs, 0)
        seed = _count("seed", seed, 0)
        if seed >= 1 << 64:
            raise OptionError(f"seed must be below 2**64, not {seed}")
        if callback is not None and not callable(callback):
            raise ArgumentError(f"callback must be a function, not {callback!r}")
        job = self._job(params, data)
        run = job.loop.native if settings().jit else job.loop.interpreted
        carried, losses = run(job.carried, job.data, epochs, seed, callback)
        trained = [np.array(array) for array in carried[: len(job.types.param_types)]]
        # As everywhere in gradc, a result without axes is a NumPy scalar.
        leaves = [array if array.ndim else array[()] for array in trained]
        return TrainResult(unflatten(job.types.params, leaves), losses)

    def ir(self, params: Any, data: Sequence[Any], stage: str | None = None) -> str:
        """The text of what :meth:`fit` runs for such arguments: the whole loop, and the step's graph.

        ``stage`` shows one stage: ``traced`` (the loss), ``adjoint`` (with its gradient and the update),
        ``optimized``, ``loops`` (the loop program), ``llvm``, ``asm``.
        """
        if stage is not None and stage not in STAGES:
            raise ArgumentError(
                f"there is no stage {stage!r}", remedy=f"one of {', '.join(map(repr, STAGES))}"
            )
        loop = self._job(params, data).loop
        match stage:
            case "traced":
                return dump(loop.step.traced)
            case "adjoint":
                return dump(loop.step.adjoint)
            case "optimized":
                return dump(loop.step.optimized)
            case "loops":
                return f"{loop.program}\n"
            case "llvm":
                return str(loop.kernel.module)
            case "asm":
                from gradc.codegen import jit

                return jit.assembly(str(loop.kernel.module))
        return f"{loop.program}\n\n{dump(loop.step.optimized)}"

    def _job(self, params: Any, data: Sequence[Any]) -> _Job:
        """The arguments of a call, checked, and the loop for their types, made if it is new."""
        if current() is not None:
            raise UnsupportedError(
                "a trainer cannot run inside a function that is being traced",
                remedy="train first, and give the function the result",
            )
        leaves, params_tree = flatten(as_differentiable(params))
        arrays = self._data(params, data)
        names = [self._parameters.argument_name(k + 1) for k in range(len(arrays))]
        param_types = _param_types(leaves, paths(params_tree, self._parameters.argument_name(0)))
        carried = [contiguous(x, t.dtype) for x, t in zip(leaves, param_types, strict=True)]
        # A copy: the state may be the parameters themselves.
        first = self.optimizer.init(unflatten(params_tree, [np.array(x) for x in carried]))
        state_leaves, state_tree = flatten(first)
        state_types = tuple(_array_type(x, f"state{k}") for k, x in enumerate(state_leaves))
        state = [contiguous(x, t.dtype) for x, t in zip(state_leaves, state_types, strict=True)]
        data_types = tuple(_array_type(x, n) for x, n in zip(arrays, names, strict=True))
        samples = _samples(data_types, names)
        inputs = [contiguous(x, t.dtype) for x, t in zip(arrays, data_types, strict=True)]
        types = StepTypes(params_tree, param_types, state_tree, state_types, data_types)
        loop = self._loop(types, samples)
        return _Job(loop, types, [*carried, *state], inputs)

    def _data(self, params: Any, data: Sequence[Any]) -> list[Any]:
        if not isinstance(data, (tuple, list)):
            raise ArgumentError(
                f"data must be a tuple of arrays, not {type(data).__name__}",
                remedy="(X, Y), or (X,) for one array",
            )
        if not data:
            raise ArgumentError("data is empty: there is nothing to train on", remedy="(X, Y)")
        self._parameters.bind((params, *data), {})
        return [np.asarray(x) if isinstance(x, (tuple, list)) else x for x in data]

    def _loop(self, types: StepTypes, samples: int) -> _Loop:
        with self._lock:
            if types not in self._loops:
                size = samples if self.batch_size is None else min(self.batch_size, samples)
                self._loops[types] = _Loop(self, types, samples, size)
            return self._loops[types]


@dataclass(frozen=True)
class _Job:
    """What one call of ``fit`` works with: the loop, and arrays as native code reads them."""

    loop: _Loop
    types: StepTypes
    carried: list[Array]
    data: list[Array]


class _Loop:
    """The loop of a trainer for one combination of types. Its stages are made when first used."""

    def __init__(self, trainer: Trainer, types: StepTypes, samples: int, size: int) -> None:
        self.types = types
        self.samples = samples
        self.size = size
        self.shuffled = trainer.shuffle and size < samples
        if self.shuffled and samples > 1 << 32:
            raise OptionError(
                f"{samples} samples are more than shuffling reaches (2**32)",
                remedy="shuffle=False",
            )
        self.names: Names = names_of(trainer._parameters, types)
        self.step = self._make(trainer, size)
        left = samples % size
        self.rest = self._make(trainer, left) if left else None
        self._lock = threading.Lock()

    def _make(self, trainer: Trainer, size: int) -> Step:
        return make_step(trainer.loss, trainer._parameters, trainer.optimizer, self.types, size)

    @cached_property
    def program(self) -> TrainingProgram:
        from gradc.codegen.program import schedule
        from gradc.codegen.training import TrainingProgram

        return TrainingProgram(
            name=self.step.traced.name,
            step=schedule(self.step.optimized),
            rest=schedule(self.rest.optimized) if self.rest else None,
            carried=(*self.names.params, *self.names.state),
            data=self.names.data,
            parameters=len(self.names.params),
            samples=self.samples,
            batch=self.size,
            shuffled=self.shuffled,
        )

    @cached_property
    def kernel(self) -> TrainingKernel:
        from gradc.codegen.training_call import TrainingKernel

        return TrainingKernel(self.program)

    def native(
        self,
        carried: Sequence[Array],
        data: Sequence[Array],
        epochs: int,
        seed: int,
        callback: Callback | None,
    ) -> tuple[list[Array], Array]:
        """Train in native code."""
        from gradc.codegen.training_call import TrainingFailure

        with self._lock:
            kernel = self.kernel
            kernel.load()
        try:
            return kernel(carried, data, epochs, seed, callback)
        except TrainingFailure as error:
            raise _user_error(error) from None

    def interpreted(
        self,
        carried: Sequence[Array],
        data: Sequence[Array],
        epochs: int,
        seed: int,
        callback: Callback | None,
    ) -> tuple[list[Array], Array]:
        """Train in NumPy, node by node."""
        from gradc.codegen.shuffle import order

        values, losses = list(carried), np.zeros(epochs)
        for epoch in range(epochs):
            samples = order(self.samples, seed, epoch) if self.shuffled else np.arange(self.samples)
            total = 0.0
            for start in range(0, self.samples, self.size):
                chosen = samples[start : start + self.size]
                graph = self._graph(len(chosen))
                *values, loss = interp.run(graph, [*values, *(array[chosen] for array in data)])
                total += len(chosen) * float(loss)
            losses[epoch] = total / self.samples
            if callback is not None and callback(epoch, float(losses[epoch])):
                return values, losses[: epoch + 1].copy()
        return values, losses

    def _graph(self, size: int) -> Graph:
        step = self.step if size == self.size or self.rest is None else self.rest
        return step.optimized


def _user_error(error: TrainingFailure) -> BaseException:
    """The exception of a failed step, with the user's line."""
    from gradc.codegen.emit import CALLBACK_FAILED

    failure = error.failure
    if failure.code == CALLBACK_FAILED:
        return failure.error()
    node = failure.node
    where = node.locs[-1] if node is not None and node.locs else None
    return IndexingError(
        "an index is out of bounds", where=where,
        remedy="check that the data's indices are within the axes they index",
    )


# -- what is given -------------------------------------------------------------------------------


def _count(option: str, value: Any, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise OptionError(f"{option} must be an integer, not {value!r}") from None
    if number < least:
        raise OptionError(f"{option} must be at least {least}, not {number}")
    return number


def _param_types(leaves: Sequence[Any], names: Sequence[str]) -> tuple[TensorType, ...]:
    if not leaves:
        raise ArgumentError("there are no parameters to train")
    types = []
    for leaf, name in zip(leaves, names, strict=True):
        type_ = _array_type(leaf, name)
        if not type_.differentiable:
            raise NotDifferentiableError(
                f"parameter `{name}` is {type_.dtype}: it cannot be trained",
                types=[f"{name}: {type_}"],
                remedy=f"{name}.astype(np.float64)",
            )
        types.append(type_)
    return tuple(types)


def _array_type(leaf: Any, name: str) -> TensorType:
    """The type of a leaf as an array. Raises ArgumentError for what is none."""
    type_ = leaf_type(leaf, name)
    if isinstance(type_, Static):
        raise ArgumentError(
            f"`{name}` is {leaf!r}, no array of numbers", remedy=f"np.asarray({name}, float)"
        )
    return TensorType(type_.dtype, type_.shape)


def _samples(types: Sequence[TensorType], names: Sequence[str]) -> int:
    """The common length of the data arrays."""
    shown = [f"{name}: {type_}" for name, type_ in zip(names, types, strict=True)]
    for name, type_ in zip(names, types, strict=True):
        if not type_.shape:
            raise ShapeError(
                f"the data array `{name}` has no axis of samples", types=shown,
                remedy="one sample to an index of the first axis",
            )
    lengths = {type_.shape[0] for type_ in types}
    if len(lengths) > 1:
        raise ShapeError(
            "the data arrays have different numbers of samples", types=shown,
            remedy="give each the same length along the first axis",
        )
    (samples,) = lengths
    if samples == 0:
        raise ShapeError("the data arrays have no samples", types=shown)
    return samples


