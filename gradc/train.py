"""``gradc.train``: a loss and an optimizer in, a training loop that is one native function out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gradc.context import current
from gradc.errors import ArgumentError, OptionError, UnsupportedError
from gradc.ir.text import dump
from gradc.leaves import as_differentiable
from gradc.native import contiguous
from gradc.optim import Optimizer, as_optimizer
from gradc.optim.wrappers import wrapped
from gradc.signature import Parameters
from gradc.training.data import (
    array_types,
    count,
    data_types,
    in_memory,
    opened,
    param_types,
    seed_of,
)
from gradc.training.evaluation import EarlyStopping, Evaluator
from gradc.training.interrupts import Interrupts
from gradc.training.keys import check_arguments, takes_key
from gradc.training.loop import Loop
from gradc.training.memory import Memory
from gradc.training.result import TrainingInterrupted, TrainResult, go_on
from gradc.training.run import Run
from gradc.training.step import LoopSpec, StepTypes
from gradc.training.under_way import Trainings
from gradc.training.watch import Options, Watch
from gradc.tree import flatten, paths, unflatten

if TYPE_CHECKING:
    from os import PathLike

    from gradc.codegen.report import Report
    from gradc.export import Exported

Array = np.ndarray[Any, Any]
Callback = Callable[[int, float], object]

#: what ``Trainer.ir`` can show
STAGES = ("traced", "adjoint", "optimized", "loops", "llvm", "asm")
_POLICIES = ("raise", "skip", "ignore")


def train(
    loss: Callable[..., Any],
    optimizer: Optimizer,
    batch_size: int | None = None,
    *,
    shuffle: bool | Literal["blocks"] = True,
    clip_value: float | None = None, clip_norm: float | None = None,
    average: float | Literal["mean"] | None = None,
    on_nonfinite: Literal["raise", "skip", "ignore"] = "raise",
) -> Trainer:
    """A trainer for a loss: epochs, shuffling, mini-batches, gradient and update in one native
    loop.

    loss: ``loss(params, *batch)``, plain NumPy, a floating scalar. The update is that of the
        optimizer with the gradient of the batch's loss: for ``sgd(lr)``, ``params - lr *
        gradient``. One with a parameter ``key`` that is keyword-only, ``loss(params, x, y, *,
        key)``, is given a key for :mod:`gradc.random` in every step, another in each:
        ``fold_in(fold_in(gradc.random.key(seed), epoch), batch)``, counted from 0. It is None on
        samples held out, where there is no dropout and no noise.
    optimizer: from :mod:`gradc.optim`, or one of your own: a pair of functions (init, update).
    batch_size: samples in a step; all of them if None. The last batch of an epoch may be smaller.
    shuffle: take the samples in a random order, another in each epoch: that of
        ``np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation``. "blocks" is for
        files larger than memory, where a sample here and there costs a read of the disk each:
        blocks of 256 kB, in random order, and the samples shuffled among every 64 of them.
    clip_value, clip_norm, average: as by :mod:`gradc.optim`'s functions; "mean" is of all steps.
    on_nonfinite: what to do about a NaN or an infinity in a loss, a gradient or new parameters.
        "raise": NonFiniteError, which says in which step, on which samples, and by which operation
        it arose first. "skip": leave that step out. "ignore": go on.

    >>> import numpy as np, gradc
    >>> def loss(w, x, y):
    ...     return np.mean((x @ w - y) ** 2)
    >>> x = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    >>> trainer = gradc.train(loss, optimizer=gradc.optim.sgd(0.2))
    >>> result = trainer.fit(np.zeros(2), (x, np.array([1.0, 3.0, 5.0])), epochs=500)
    >>> result.params.round(6)
    array([2., 1.])

    Raises OptionError for an option out of its range, ArgumentError for what is no function or no
    optimizer.
    """
    made = wrapped(optimizer, clip_value, clip_norm, average)
    return Trainer(loss, made, batch_size, shuffle=shuffle, on_nonfinite=on_nonfinite)


class Trainer:
    """Made by :func:`train`. It keeps the compiled loop of each combination of types it met."""

    def __init__(
        self,
        loss: Callable[..., Any],
        optimizer: Optimizer,
        batch_size: int | None = None,
        *,
        shuffle: bool | str = True,
        on_nonfinite: str = "raise",
    ) -> None:
        if not callable(loss):
            raise ArgumentError(
                f"gradc.train takes a function, not {loss!r}", remedy="loss(params, x, y)"
            )
        optimizer = as_optimizer(optimizer)
        if not isinstance(shuffle, (bool, str)) or shuffle not in (True, False, "blocks"):
            raise OptionError(f"shuffle must be True, False or 'blocks', not {shuffle!r}")
        if not isinstance(on_nonfinite, str) or on_nonfinite not in _POLICIES:
            raise OptionError(
                f"on_nonfinite must be one of {', '.join(map(repr, _POLICIES))}, "
                f"not {on_nonfinite!r}"
            )
        label = getattr(loss, "__name__", None) or type(loss).__name__
        size = None if batch_size is None else count("batch_size", batch_size, 1)
        self.spec = LoopSpec(
            loss, Parameters(loss, label), optimizer, size, shuffle, on_nonfinite, takes_key(loss)
        )
        self._trainings = Trainings()
        self._evaluator = Evaluator(self.spec)
        self._loops: dict[StepTypes, Loop] = {}
        self._last: Loop | None = None
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
        validation: Sequence[Any] | None = None,
        metrics: Mapping[str, Callable[..., Any]] | None = None,
        every: int | None = None,
        early_stopping: EarlyStopping | int | None = None,
        progress: bool = False,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_every: float = 60.0,
        resume: bool = False,
    ) -> TrainResult:
        """Train from ``params`` on, which stay as they are, and return the result.

        params: a pytree of floating arrays or numbers; or a TrainResult of this trainer, to go on
            from where that training ended, with its optimizer's state and its place in the epochs.
        data: a tuple of arrays with one sample to an index of the first axis; a step gets that many
            arguments after the parameters. A path to a ``.npy`` file is mapped into memory, and may
            be larger than it; so may a ``np.memmap``.
        epochs: how often every sample is used, those before a resumption, or of the
            result it goes on from, included.
        seed: 0 <= seed < 2⁶⁴, decides the order of the samples and the random numbers of the
            loss, on every platform alike.
        callback: ``callback(epoch, loss)``, called after every epoch; a true answer ends the
            training. ``trainer.result`` is then what it has made so far.
        validation: arrays like ``data``, of samples held out, on which the loss is measured.
        metrics: functions of ``(params, *validation)`` by name, plain NumPy, each a number. A
            keyword-only ``key`` is None in them too.
        every: so many steps lie between two measurements; an epoch if None.
        early_stopping: when to end; a number is ``EarlyStopping(patience=number)``.
        progress: show how far it is, by tqdm if that is installed.
        checkpoint: a file, ``.npz``, that the state of the training is written to, atomically,
            every ``checkpoint_every`` seconds, at the end, and where an exception ends it. That it
            can be written there is seen to before the first step.
        resume: go on from the checkpoint, if there is one, to the same parameters, bit for bit,
            as without an interruption. The callback is called again for an epoch in whose call the
            training was ended.

        Ctrl-C is answered within 0.2 s by :class:`TrainingInterrupted`: after the steps under way,
        or, where they take longer, with the state before them. The error's ``result``, and
        ``trainer.result`` after whatever exception, is what training has made so far. Before the
        first step there is nothing to give, and Ctrl-C is a KeyboardInterrupt. Raises
        NonFiniteError, CheckpointError, ArgumentError, ShapeError, OptionError and
        NotDifferentiableError for what cannot be trained on, what tracing and the callback raise.
        """
        interrupts = Interrupts()
        with interrupts.heard():
            options = Options(
                count("epochs", epochs, 0), seed_of(seed), callback, validation, metrics or {},
                every, early_stopping, bool(progress), checkpoint, checkpoint_every, bool(resume),
            )
            before = params if isinstance(params, TrainResult) else None
            job = self._job(params if before is None else before.params, data)
            run = self._run(job, options.seed, interrupts)
            if before is not None:
                go_on(run, before)
            evaluation = self._evaluator.evaluation(validation, options.metrics)
            return self._watched(Watch(run, self.spec.parameters.name, options, evaluation))

    def _watched(self, watch: Watch) -> TrainResult:
        result = None
        try:
            self._trainings.begin(watch)
            with watch.run.interrupts.wait():
                watch.train()
                result = watch.result(watch.stopped)
        except KeyboardInterrupt:
            result = watch.result("")
            raise TrainingInterrupted(result) from None
        except BaseException as error:
            result = watch.result("")
            if hasattr(error, "result"):
                error.result = result
            raise
        finally:
            self._trainings.end(watch, result)
        return result

    @property
    def result(self) -> TrainResult | None:
        """What the training under way has made so far, or the last one had when it ended.

        Of several at a time, it is that of the thread, and of the callback, that asks.
        """
        return self._trainings.result

    def compile(
        self,
        params: Any,
        data: Sequence[Any],
        *,
        validation: Sequence[Any] | None = None,
        metrics: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        """Compile what :meth:`fit` runs for such arguments, ahead of time, without training.

        What is to be measured on samples held out is compiled by being measured once.
        """
        self._job(params, data).loop.compile()
        evaluation = self._evaluator.evaluation(validation, metrics or {})
        if evaluation is not None:
            evaluation.measure(params)

    def export(
        self,
        path: str | PathLike[str],
        params: Any,
        data: Sequence[Any],
        *,
        formats: Sequence[str] = ("so", "h"),
        functions: Mapping[str, Any] | None = None,
        target: str | None = None,
        name: str | None = None,
        blas: str | None = None,
    ) -> Exported:
        """Write the training as C functions, which need neither Python nor gradc to run.

        ``model_init(state)`` makes a state with these parameters, ``model_train(state, ...)`` takes
        steps over a data set, to the same bits as :meth:`fit` on this machine, ``model_step(state,
        ...)`` takes one on a batch. The header describes them, the state and its parts.

        path, formats, target, name, blas: those of :meth:`gradc.Compiled.export`.
        params, data: those of :meth:`fit`; of data also types, such as "f64[1797,784]".
        functions: more functions of the parameters by name, each alone, and then taking batches
            of the data, or with the types of its other arguments: ``(f, "f64[784]")``.

        >>> import tempfile, gradc
        >>> def loss(w, x, y):
        ...     return np.mean((x @ w - y) ** 2)
        >>> trainer = gradc.train(loss, optimizer=gradc.optim.sgd(0.2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = trainer.export(
        ...         f"{folder}/line", np.zeros(2), ("f64[3,2]", "f64[3]"), formats=("o", "h"),
        ...         functions={"predict": (lambda w, x: x @ w, "f64[2]")})
        >>> print(made.functions[-1])
        int64_t line_predict(const void *state, const double *x, double *out, void *workspace);
        """
        from gradc import export_training

        job = self._job(params, [export_training.stand_in(x) for x in data])
        return export_training.export(
            job.loop, job.carried, Path(path), formats, functions or {}, target, name, blas
        )

    def ir(self, params: Any, data: Sequence[Any], stage: str | None = None) -> str:
        """The text of what :meth:`fit` runs for such arguments: the loop over its steps.

        ``stage`` shows one stage: ``traced`` (the loss), ``adjoint`` (a step: the loss with its
        gradient and the update), ``optimized`` (the loop, as None), ``loops`` (the loop program),
        ``llvm``, ``asm``.
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
            case "loops":
                return f"{loop.code.kernel.program}\n"
            case "llvm":
                return str(loop.code.kernel.module)
            case "asm":
                from gradc.codegen import jit

                return jit.assembly(str(loop.code.kernel.module))
        return dump(loop.optimized, brief=stage is None)

    def explain(self, params: Any = None, data: Sequence[Any] | None = None) -> Report:
        """What a step of :meth:`fit` costs, of a full batch: flops, bytes and time.

        Without arguments it is the step of the last training, or of what was compiled last. The
        time is that of the last training that took long enough; with arguments, if there was none,
        some steps are taken and forgotten. See
        :meth:`Compiled.explain <gradc.compile.Compiled.explain>`.
        """
        from gradc.codegen.explain import explain

        if data is None and self._last is None:
            raise ArgumentError(
                "nothing was compiled yet that could be explained",
                remedy="trainer.explain(params, data)",
            )
        if data is None:
            loop = self._last
        else:
            job = self._job(params, data)
            loop = job.loop
            if loop.seconds is None:
                self._run(job, 0).measure()
        assert loop is not None
        size = loop.plan.batch
        title = f"{loop.step.traced.name}, a step of {size} sample{'s' * (size != 1)}"
        return replace(explain(loop.step.optimized, title=title), seconds=loop.seconds)

    def _run(self, job: _Job, seed: int, interrupts: Interrupts | None = None) -> Run:
        memory = Memory(job.loop.what)
        memory.fill(job.carried)
        return Run(job.loop, memory, job.data, seed, interrupts)

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
        labels = [names.argument_name(k + 1) for k in range(len(arrays))]
        data_kinds = data_types(arrays, labels)
        inputs = [in_memory(x, t, n) for x, t, n in zip(arrays, data_kinds, labels, strict=True)]
        types = StepTypes(params_tree, param_kinds, state_tree, state_kinds, data_kinds)
        with self._lock:
            if types not in self._loops:
                self._loops[types] = Loop(types, self.spec)
            self._last = self._loops[types]
            return _Job(self._last, carried, inputs)

    def _data(self, params: Any, data: Sequence[Any]) -> list[Any]:
        if not isinstance(data, (tuple, list)):
            raise ArgumentError(
                f"data must be a tuple of arrays, not {type(data).__name__}",
                remedy="(X, Y), or (X,) for one array",
            )
        if not data:
            raise ArgumentError("data is empty: there is nothing to train on", remedy="(X, Y)")
        check_arguments(self.spec.parameters, self.spec.loss, (params, *data))
        return [opened(x) for x in data]


@dataclass(frozen=True)
class _Job:
    """What one call of ``fit`` works with: the loop, and arrays as native code reads them."""

    loop: Loop
    carried: list[Array]
    data: list[Array]
