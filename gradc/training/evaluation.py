"""Measures of a training under way: the loss and metrics on samples held out, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np

from gradc.compile import Compiled, compile
from gradc.errors import ArgumentError, OptionError, OutputError
from gradc.training.data import count, data_types, opened
from gradc.training.keys import check_arguments, without_key
from gradc.training.step import LoopSpec

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Validation:
    """Measurements on samples held out.

    steps: int64, how many steps were done at each. values: float64 by name, of the same length:
    ``loss``, and the metrics.
    """

    steps: Array
    values: dict[str, Array]


@dataclass(frozen=True)
class EarlyStopping:
    """End training when a measure has not improved for a while.

    patience: how many measurements in a row may bring nothing. monitor: "loss", of the validation
    set where there is one, else of the epoch, or the name of a metric. mode: "min" if less is
    better, "max" if more is. min_delta: less than this is no improvement. restore_best: give the
    parameters of the best measurement, not the last ones.

    Raises OptionError for a patience below 1, a negative ``min_delta``, or another mode.
    """

    patience: int = 5
    monitor: str = "loss"
    mode: Literal["min", "max"] = "min"
    min_delta: float = 0.0
    restore_best: bool = True

    def __post_init__(self) -> None:
        count("patience", self.patience, 1)
        if self.mode not in ("min", "max"):
            raise OptionError(f"mode must be 'min' or 'max', not {self.mode!r}")
        given = self.min_delta
        if not isinstance(given, Real) or not 0 <= given < math.inf:
            raise OptionError(f"min_delta must be a number >= 0, not {self.min_delta!r}")

    def better(self, value: float, best: float) -> bool:
        """Whether a measurement improves on the best one; NaN never does."""
        gain = best - value if self.mode == "min" else value - best
        return gain > self.min_delta or (math.isnan(best) and not math.isnan(value))


class Evaluation:
    """The loss and the metrics as compiled functions of the parameters, on fixed samples."""

    def __init__(self, functions: dict[str, Compiled[..., Any]], data: Sequence[Any]) -> None:
        self.functions = functions
        self.data = data

    def values(self, params: Any) -> dict[str, Any]:
        """What the functions give."""
        return {
            name: function(params, *self.data, **without_key(function))
            for name, function in self.functions.items()
        }

    def measure(self, params: Any) -> dict[str, float]:
        """All measures. Raises OutputError for a metric that is no number."""
        return numbers(self.values(params))


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """What functions gave, as measures. Raises OutputError for a metric that is no number."""
    for name, found in values.items():
        if np.ndim(found) or np.asarray(found).dtype.kind not in "biuf":
            raise OutputError(
                f"the metric {name!r} gives {type(found).__name__} of shape "
                f"{np.shape(found)}, not a number",
                remedy="np.mean of it",
            )
    return {name: float(found) for name, found in values.items()}


class Evaluator:
    """Makes the evaluations of a trainer, and keeps the functions that it compiled for them."""

    def __init__(self, spec: LoopSpec) -> None:
        self.spec = spec
        self._compiled: dict[str, tuple[object, Compiled[..., Any]]] = {}

    def evaluation(
        self, validation: Sequence[Any] | None, metrics: Mapping[str, Callable[..., Any]]
    ) -> Evaluation | None:
        """The measures on samples held out; None without any.

        Raises ArgumentError and ShapeError for what is no data, or no metric.
        """
        for name, metric in metrics.items():
            if not callable(metric):
                raise ArgumentError(f"the metric {name!r} must be a function, not {metric!r}")
            if name == "loss":
                raise ArgumentError("a metric cannot be called 'loss'", remedy="another name")
        if validation is None:
            return None
        if not isinstance(validation, (tuple, list)):
            raise ArgumentError(
                f"validation must be a tuple of arrays, not {type(validation).__name__}",
                remedy="(X, Y), or (X,) for one array",
            )
        arrays = [opened(x) for x in validation]
        data_types(arrays, [f"validation[{k}]" for k in range(len(arrays))])
        check_arguments(self.spec.parameters, self.spec.loss, (None, *arrays))
        functions = {"loss": self.spec.loss, **metrics}
        return Evaluation({n: self._function(n, f) for n, f in functions.items()}, arrays)

    def _function(self, name: str, function: Callable[..., Any]) -> Compiled[..., Any]:
        known = self._compiled.get(name)
        if known is None or known[0] is not function:
            known = self._compiled[name] = (function, compile(function))
        return known[1]
