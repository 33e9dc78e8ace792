"""Value and gradient against peers, in one process: a table of times, nothing asserted about them.

    python tests/bench/bench_gradients.py [--case NAME] [--peer NAME] [--dtype float32]
                                          [--cpus N] [--rounds N] [--json FILE]

Every contender takes NumPy arrays and returns NumPy arrays; its answers are checked against gradc's
first. JAX runs with x64 on, jitted, and its results are waited for. Contenders take turns, round
by round, so that a busy machine slows all of them; the figure is the median over the rounds of the
mean time a call. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np

import gradc

Array = np.ndarray[Any, Any]
Loss = Callable[..., Any]
#: NumPy arrays in; the value and the gradients, as NumPy's, out
Contender = Callable[..., tuple[Any, Sequence[Array]]]


@dataclass(frozen=True)
class Case:
    """A scalar function of ``parameters`` (differentiated) and ``data``, as positional arguments.

    ``loss(xp)`` is the function in terms of a namespace with NumPy's names.
    """

    name: str
    loss: Callable[[Any], Loss]
    parameters: Sequence[Array]
    data: Sequence[Array] = ()

    def arguments(self, dtype: str) -> list[Array]:
        """All arguments, in one dtype."""
        return [np.asarray(array, dtype) for array in (*self.parameters, *self.data)]


def squares(xp: Any) -> Loss:
    """Σ x²: what a call costs."""
    return lambda x: xp.sum(x * x)


def chain(xp: Any) -> Loss:
    """Transcendentals, one after another."""
    return lambda x: xp.sum(xp.sin(x) * xp.exp(-x * x) + xp.log1p(x * x))


def logistic_regression(xp: Any) -> Loss:
    """Cross-entropy of the naive sigmoid."""

    def loss(w: Any, x: Any, y: Any) -> Any:
        p = 1 / (1 + xp.exp(-(x @ w)))
        return -xp.mean(y * xp.log(p) + (1 - y) * xp.log(1 - p))

    return loss


def classifier(xp: Any) -> Loss:
    """Softmax cross-entropy of two layers; ``y`` is one-hot."""

    def loss(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any) -> Any:
        scores = xp.maximum(x @ w1 + b1, 0.0) @ w2 + b2
        return xp.mean(xp.log(xp.sum(xp.exp(scores), axis=1)) - xp.sum(scores * y, axis=1))

    return loss


def regression(xp: Any) -> Loss:
    """Squared error of three layers with tanh."""

    def loss(w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any, x: Any, y: Any) -> Any:
        hidden = xp.tanh(xp.tanh(x @ w1 + b1) @ w2 + b2)
        return xp.mean((hidden @ w3 + b3 - y) ** 2)

    return loss


def cases() -> tuple[Case, ...]:
    """The cases, with their data drawn from one seed."""
    rng = np.random.default_rng(0)

    def layers(*sizes: int) -> list[Array]:
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        return [a for m, n in pairs
                for a in (rng.normal(size=(m, n)) / np.sqrt(m), np.zeros(n))]

    labels = np.eye(10)[rng.integers(0, 10, 64)]
    return (
        Case("squares 4", squares, [rng.normal(size=4)]),
        Case("chain 10000", chain, [rng.normal(size=10_000)]),
        Case("logreg 200x10", logistic_regression, [rng.normal(size=10)],
             [rng.normal(size=(200, 10)), rng.integers(0, 2, 200)]),
        Case("mlp 4-32-32-1, batch 32", regression, layers(4, 32, 32, 1),
             [rng.normal(size=(32, 4)), rng.normal(size=(32, 1))]),
        Case("mlp 64-128-10, batch 64", classifier, layers(64, 128, 10),
             [rng.normal(size=(64, 64)), labels]),
    )


def with_gradc(case: Case) -> Contender:
    """One native function."""
    argnums = tuple(range(len(case.parameters)))
    contender: Contender = gradc.value_and_grad(case.loss(np), argnums=argnums)
    return contender


def with_jax(case: Case) -> Contender:
    """``jit(value_and_grad)``, waited for."""
    import jax

    jax.config.update("jax_enable_x64", True)
    argnums = tuple(range(len(case.parameters)))
    compiled = jax.jit(jax.value_and_grad(case.loss(jax.numpy), argnums=argnums))

    def run(*arrays: Array) -> tuple[Any, Sequence[Array]]:
        value, gradients = jax.block_until_ready(compiled(*arrays))
        return np.asarray(value), [np.asarray(g) for g in gradients]

    return run


def with_torch(case: Case) -> Contender:
    """Eager, on tensors that share the arrays' memory."""
    import torch

    xp = SimpleNamespace(
        exp=torch.exp, log=torch.log, log1p=torch.log1p, sin=torch.sin, tanh=torch.tanh,
        sum=torch.sum, mean=torch.mean, maximum=lambda x, least: torch.clamp(x, min=least),
    )
    loss, count = case.loss(xp), len(case.parameters)

    def run(*arrays: Array) -> tuple[Any, Sequence[Array]]:
        tensors = [torch.from_numpy(a) for a in arrays]
        parameters = [t.requires_grad_() for t in tensors[:count]]
        value = loss(*parameters, *tensors[count:])
        gradients = torch.autograd.grad(value, parameters)
        return value.detach().numpy(), [g.numpy() for g in gradients]

    return run


def with_autograd(case: Case) -> Contender:
    """A tape of NumPy calls."""
    import autograd

    argnums = tuple(range(len(case.parameters)))
    contender: Contender = autograd.value_and_grad(case.loss(autograd.numpy), argnum=argnums)
    return contender


PEERS: dict[str, Callable[[Case], Contender]] = {
    "gradc": with_gradc, "jax": with_jax, "torch": with_torch, "autograd": with_autograd,
}


def check(name: str, found: Any, expected: Any, dtype: str) -> None:
    """Raise AssertionError when two contenders' values or gradients differ."""
    rtol = 1e-9 if dtype == "float64" else 1e-3
    (value, gradients), (right, right_gradients) = found, expected
    np.testing.assert_allclose(value, right, rtol=rtol, err_msg=name)
    for gradient, wanted in zip(gradients, right_gradients, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=rtol, atol=rtol, err_msg=name)


def seconds(run: Callable[[], object], times: int) -> float:
    """The mean time of a call."""
    started = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - started) / times


def measure(case: Case, peers: Sequence[str], dtype: str, rounds: int) -> list[dict[str, Any]]:
    """A row for each peer: first call, median time a call, and the ratio to gradc's."""
    arguments = case.arguments(dtype)
    runs, firsts, repeats, answers = {}, {}, {}, {}
    for peer in peers:
        started = time.perf_counter()
        contender = PEERS[peer](case)
        answers[peer] = contender(*arguments)
        firsts[peer] = time.perf_counter() - started
        check(f"{case.name}: {peer}", answers[peer], answers["gradc"], dtype)
        runs[peer] = lambda contender=contender: contender(*arguments)
        once = seconds(runs[peer], 5)
        repeats[peer] = max(3, int(0.02 / once))
    samples: dict[str, list[float]] = {peer: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            samples[peer].append(seconds(runs[peer], repeats[peer]))
    medians = {peer: statistics.median(times) for peer, times in samples.items()}
    return [
        {"case": case.name, "dtype": dtype, "peer": peer, "seconds": medians[peer],
         "least_seconds": min(samples[peer]), "first_call_seconds": firsts[peer],
         "ratio": medians[peer] / medians["gradc"]}
        for peer in peers
    ]


def machine(peers: Sequence[str]) -> dict[str, Any]:
    """What the figures were taken on."""
    import llvmlite.binding as llvm

    return {
        "cpu": llvm.get_host_cpu_name(), "cpus": len(os.sched_getaffinity(0)),
        "system": platform.system(), "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "llvmlite", *peers)},
    }


def main() -> None:
    """Print the table, and write it if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", help="part of a case's name; repeatable")
    parser.add_argument("--peer", action="append", choices=list(PEERS)[1:])
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--cpus", type=int, default=0, help="use only so many processors")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", help="file to write the rows to")
    options = parser.parse_args()
    if options.cpus:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cpus])
    wanted = options.peer or list(PEERS)[1:]
    peers = ["gradc", *(p for p in wanted if importlib.util.find_spec(p))]
    for peer in peers:
        importlib.import_module(peer)  # a first call does not pay for the import
    about = machine(peers)
    print(f"{about['cpu']}, {about['cpus']} cpus, Python {about['python']},",
          ", ".join(f"{k} {v}" for k, v in about["versions"].items()))
    print(f"{'case (' + options.dtype + ')':28}{'peer':10}{'a call':>12}{'over gradc':>12}"
          f"{'first call':>12}")
    rows = []
    for case in cases():
        if options.case and not any(part in case.name for part in options.case):
            continue
        for row in measure(case, peers, options.dtype, options.rounds):
            rows.append(row)
            print(f"{row['case']:28}{row['peer']:10}{row['seconds'] * 1e6:9.2f} µs"
                  f"{row['ratio']:11.2f}x{row['first_call_seconds']:10.3f} s", flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"machine": about, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
