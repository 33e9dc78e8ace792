"""``gradc.train``: a loss and an optimizer in, a training loop that is one native function out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradc.config import settings
from gradc.context import current
from gradc.errors import ArgumentError, OptionError, UnsupportedError
from gradc.ir.text import dump
from gradc.leaves import as_differentiable
from gradc.native import contiguous
from gradc.optim import Optimizer, as_optimizer
from gradc.signature import Parameters
from gradc.step import LoopSpec, StepTypes
from gradc.training_data import array_types, count, data_types, param_types
from gradc.training_loop import Callback, Loop
from gradc.tree import flatten, paths, unflatten

if TYPE_CHECKING:
    from gradc.codegen.report import Report

Array = np.ndarray[Any, Any]

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
    """A trainer for a loss: epochs, shuffling, mini-batches, gradient and update in one native
    call.

    loss: ``loss(params, *batch)``, plain NumPy, a floating scalar. The update is that of the
        optimizer with the gradient of the batch's loss: for ``sgd(lr)``, ``params - lr *
        gradient``.
    optimizer: from :mod:`gradc.optim`, or one of your own: a pair of functions (init, update).
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

    Raises OptionError for a batch size below 1, ArgumentError for what is no function or no
    optimizer.
    """
    return Trainer(loss, optimizer, batch_size, shuffle)


class Trainer:
    """Made by :func:`train`. It keeps the compiled loop of each combination of types it met."""

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
        optimizer = as_optimizer(optimizer)
        label = getattr(loss, "__name__", None) or type(loss).__name__
        size = None if batch_size is None else count("batch_size", batch_size, 1)
        self.spec = LoopSpec(loss, Parameters(loss, label), optimizer, size, bool(shuffle))
        self._loops: dict[StepTypes, Loop] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<trainer of {self.spec.parameters.name} by {self.spec.optimizer}>"

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
        callback: ``callback(epoch, loss)``, called after every epoch; a true answer ends the
            training. What it raises is raised here, and so is a KeyboardInterrupt, at the end of
            the epoch at the latest.

        Losses that are not finite are returned as they are. Raises ArgumentError, ShapeError,
        OptionError and NotDifferentiableError for what cannot be trained on, and what tracing
        raises.
        """
        epochs = count("epochs", epochs, 0)
        seed = count("seed", seed, 0)
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
        """The text of what :meth:`fit` runs for such arguments: the loop, and the step's graph.

        ``stage`` shows one stage: ``traced`` (the loss), ``adjoint`` (with its gradient and the
        update), ``optimized``, ``loops`` (the loop program), ``llvm``, ``asm``.
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
        lines = "\n".join(loop.program.lines(brief=True))
        return f"{lines}\n\n{dump(loop.step.optimized, brief=True)}"

    def explain(self, params: Any, data: Sequence[Any]) -> Report:
        """What a step of :meth:`fit` costs for such arguments, of a full batch: see
        :meth:`Compiled.explain <gradc.compile.Compiled.explain>`.
        """
        from gradc.codegen.explain import explain

        loop = self._job(params, data).loop
        size = f"a step of {loop.size} sample{'s' * (loop.size != 1)}"
        return explain(loop.step.optimized, title=f"{loop.step.traced.name}, {size}")

    def _job(self, params: Any, data: Sequence[Any]) -> _Job:
        """The arguments of a call, checked, and the loop for their types, made if it is new."""
        if current() is not None:
            raise UnsupportedError(
                "a trainer cannot run inside a function that is being traced",
                remedy="train first, and give the function the result",
            )
        arrays, names = self._data(params, data), self.spec.parameters
        leaves, params_tree = flatten(as_differentiable(params))
        param_kinds = param_types(leaves, paths(params_tree, names.argument_name(0)))
        carried = [contiguous(x, t.dtype) for x, t in zip(leaves, param_kinds, strict=True)]
        # Copies: the state may be the parameters themselves.
        state_leaves, state_tree = flatten(
            self.spec.optimizer.init(unflatten(params_tree, [np.array(x) for x in carried]))
        )
        state_kinds = array_types(state_leaves, paths(state_tree, "state"))
        carried += [contiguous(x, t.dtype) for x, t in zip(state_leaves, state_kinds, strict=True)]
        data_kinds = data_types(arrays, [names.argument_name(k + 1) for k in range(len(arrays))])
        inputs = [contiguous(x, t.dtype) for x, t in zip(arrays, data_kinds, strict=True)]
        types = StepTypes(params_tree, param_kinds, state_tree, state_kinds, data_kinds)
        with self._lock:
            if types not in self._loops:
                self._loops[types] = Loop(types, self.spec)
            return _Job(self._loops[types], types, carried, inputs)

    def _data(self, params: Any, data: Sequence[Any]) -> list[Any]:
        if not isinstance(data, (tuple, list)):
            raise ArgumentError(
                f"data must be a tuple of arrays, not {type(data).__name__}",
                remedy="(X, Y), or (X,) for one array",
            )
        if not data:
            raise ArgumentError("data is empty: there is nothing to train on", remedy="(X, Y)")
        self.spec.parameters.bind((params, *data), {})
        return [np.asarray(x) if isinstance(x, (tuple, list)) else x for x in data]


@dataclass(frozen=True)
class _Job:
    """What one call of ``fit`` works with: the loop, and arrays as native code reads them."""

    loop: Loop
    types: StepTypes
    carried: list[Array]
    data: list[Array]
