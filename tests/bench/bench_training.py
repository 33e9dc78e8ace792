"""Whole training loops: the time of a step, by gradc, JAX's fori_loop, PyTorch, and C by hand.

    python tests/bench/bench_training.py [--only PATTERN] [--threads N] [--cpu] [--least]

Each system trains for many steps on one batch in a call. The parameters that it makes in a few
are compared with gradc's first. They take turns, round by round; a figure is the median over the
rounds. Nothing is asserted about time; the exit status is 1 if a system made other parameters.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from run import limit_threads

Params = list[np.ndarray[Any, Any]]
#: from a number of steps to the parameters after them
Train = Callable[[int], Params]

#: steps after which the systems are compared, and how close their parameters are to be
CHECKED = 10
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}
#: seconds of a round of one system, and how many rounds there are
ROUND, ROUNDS = 0.1, 15


@dataclass(frozen=True)
class Case:
    """A loss in terms of a namespace, parameters and data, and how gradc and others descend.

    ``c`` is C by hand: ``void train(long steps, parameters..., data...)``.
    """

    name: str
    loss: Callable[[Any], Callable[..., Any]]
    make: Callable[[], tuple[Params, Params]]
    optimizer: str
    rate: float
    dtypes: tuple[str, ...] = ("float64", "float32")
    c: str = ""

    def arrays(self, dtype: str) -> tuple[Params, Params]:
        """Parameters and data in a dtype."""
        params, data = self.make()
        return [a.astype(dtype) for a in params], [a.astype(dtype) for a in data]


def with_gradc(case: Case, dtype: str) -> Train:
    import gradc

    params, data = case.arrays(dtype)
    optimizer = getattr(gradc.optim, case.optimizer)(case.rate)
    trainer = gradc.train(case.loss(np), optimizer=optimizer)
    return lambda steps: trainer.fit(params, tuple(data), epochs=steps).params


def with_jax(case: Case, dtype: str) -> Train:
    """A fori_loop, compiled; Adam as gradc has it."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    params, data = ([jnp.asarray(a) for a in arrays] for arrays in case.arrays(dtype))
    slope, rate = jax.grad(case.loss(jnp)), case.rate

    def descend(step: Any, state: Any) -> Any:
        return [p - rate * g for p, g in zip(state, slope(state, *data), strict=True)]

    def adam(step: Any, state: Any) -> Any:
        root = jnp.sqrt(1 - 0.999 ** (step + 1.0))
        length, floor = rate * root / (1 - 0.9 ** (step + 1.0)), 1e-8 * root
        rows = zip(*state, slope(state[0], *data), strict=True)
        out = []
        for p, m, s, g in rows:
            m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * (g * g)
            p = p - length.astype(p.dtype) * m / (jnp.sqrt(s) + floor.astype(p.dtype))
            out.append((p, m, s))
        return [list(column) for column in zip(*out, strict=True)]

    zeros = [jnp.zeros_like(p) for p in params]
    start = params if case.optimizer == "sgd" else [params, zeros, zeros]
    body = descend if case.optimizer == "sgd" else adam
    loop = jax.jit(lambda steps, state: jax.lax.fori_loop(0, steps, body, state))

    def train(steps: int) -> Params:
        state = loop(steps, start)
        return [np.asarray(p) for p in (state if case.optimizer == "sgd" else state[0])]

    return train


def with_torch(case: Case, dtype: str, **options: bool) -> Train:
    """Eager, a Python loop."""
    import torch

    torch.set_num_threads(options.pop("threads"))
    params, data = ([torch.from_numpy(a) for a in arrays] for arrays in case.arrays(dtype))
    classes = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    loss = case.loss(torch)

    def train(steps: int) -> Params:
        weights = [torch.nn.Parameter(p.clone()) for p in params]
        optimizer = classes[case.optimizer](weights, lr=case.rate, **options)
        for _ in range(steps):
            optimizer.zero_grad()
            loss(weights, *data).backward()
            optimizer.step()
        return [w.detach().numpy() for w in weights]

    return train


def with_c(case: Case, dtype: str) -> Train:
    """C by hand, by gcc at -O3 for this processor."""
    params, data = case.arrays(dtype)
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "f.c"), Path(folder, "f.so")
        source.write_text(case.c)
        options = "-O3 -march=native -fPIC -shared".split()
        subprocess.run(["cc", *options, source, "-o", library, "-lm"], check=True)
        function = ctypes.CDLL(str(library)).train

    def train(steps: int) -> Params:
        weights = [p.copy() for p in params]
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*weights, *data)]
        function(ctypes.c_long(steps), *pointers)
        return weights

    return train


def systems(case: Case, dtype: str, threads: int) -> Iterator[tuple[str, Callable[[], Train]]]:
    """Those that are installed: a name, and what makes its loop."""
    yield "gradc", lambda: with_gradc(case, dtype)
    if importlib.util.find_spec("jax"):
        yield "jax", lambda: with_jax(case, dtype)
    if importlib.util.find_spec("torch"):
        for name, options in {"torch": {}, "torch fused": {"fused": True}}.items():
            yield name, lambda options=options: with_torch(
                case, dtype, threads=threads, **options
            )
    if case.c and dtype == "float64" and shutil.which("cc"):
        yield "c", lambda: with_c(case, dtype)


# -- cases -----------------------------------------------------------------------------------------

ELEVEN_LINES = r"""
#include <math.h>

static double logistic(double x) { return 1 / (1 + exp(-x)); }

void train(long steps, double *w0, double *w1, const double *x, const double *y) {
    for (long step = 0; step < steps; step++) {
        double l1[4][4], d1[4][4], d2[4];
        for (int s = 0; s < 4; s++) {
            double z2 = 0;
            for (int h = 0; h < 4; h++) {
                double z1 = 0;
                for (int i = 0; i < 3; i++) z1 += x[3 * s + i] * w0[4 * i + h];
                l1[s][h] = logistic(z1);
                z2 += l1[s][h] * w1[h];
            }
            double l2 = logistic(z2);
            d2[s] = (y[s] - l2) * (l2 * (1 - l2));
            for (int h = 0; h < 4; h++)
                d1[s][h] = d2[s] * w1[h] * (l1[s][h] * (1 - l1[s][h]));
        }
        for (int s = 0; s < 4; s++)
            for (int h = 0; h < 4; h++) {
                w1[h] += l1[s][h] * d2[s];
                for (int i = 0; i < 3; i++) w0[4 * i + h] += x[3 * s + i] * d1[s][h];
            }
    }
}
"""


def eleven_lines(xp: Any) -> Callable[..., Any]:
    def loss(params: Any, x: Any, y: Any) -> Any:
        hidden = 1 / (1 + xp.exp(-(x @ params[0])))
        out = 1 / (1 + xp.exp(-(hidden @ params[1])))
        return xp.sum((y - out) ** 2) / 2

    return loss


def exclusive_or() -> tuple[Params, Params]:
    rng = np.random.default_rng(1)
    x = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]], float)
    y = np.array([[0, 1, 1, 0]], float).T
    return [2 * rng.random((3, 4)) - 1, 2 * rng.random((4, 1)) - 1], [x, y]


def regression(xp: Any) -> Callable[..., Any]:
    def loss(params: Any, x: Any, y: Any) -> Any:
        for i in range(0, len(params) - 2, 2):
            x = xp.tanh(x @ params[i] + params[i + 1])
        return xp.mean((x @ params[-2] + params[-1] - y) ** 2)

    return loss


def network(*sizes: int, batch: int) -> Case:
    def make() -> tuple[Params, Params]:
        rng = np.random.default_rng(0)
        params = []
        for rows, cols in zip(sizes, sizes[1:], strict=False):
            params += [rng.normal(size=(rows, cols)) / np.sqrt(rows), np.zeros(cols)]
        return params, [rng.normal(size=(batch, sizes[0])), rng.normal(size=(batch, sizes[-1]))]

    name = f"adam mlp {'-'.join(map(str, sizes))} x{batch}"
    return Case(name, regression, make, "adam", 1e-3)


CASES = (
    Case("sgd eleven lines x4", eleven_lines, exclusive_or, "sgd", 1.0, ("float64",), ELEVEN_LINES),
    network(4, 32, 32, 1, batch=32),
    network(784, 256, 10, batch=256),
)


# -- measuring -------------------------------------------------------------------------------------


def apart(found: Params, expected: Params) -> float:
    """The largest difference, relative to the largest number of each array."""
    return max(
        float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-30))
        for a, b in zip(found, expected, strict=True)
    )


def measure(case: Case, dtype: str, options: argparse.Namespace) -> bool:
    """Print a row; whether all systems made the same parameters."""
    clock = time.process_time if options.cpu else time.perf_counter
    trains: dict[str, tuple[Train, int]] = {}
    expected: Params | None = None
    good = True
    for name, make in systems(case, dtype, options.threads):
        train = make()
        found = train(CHECKED)
        expected = expected or found
        if not (error := apart(found, expected)) <= TOLERANCE[dtype]:
            print(f"{case.name} {dtype} {name}: parameters are off by {error:.1e}")
            good = False
            continue
        start = clock()
        train(CHECKED)
        steps = max(CHECKED, int(CHECKED * ROUND / (clock() - start)))
        start = clock()
        train(steps)  # a call of more steps shows what each of them takes
        trains[name] = train, max(CHECKED, int(steps * ROUND / (clock() - start)))
    samples: dict[str, list[float]] = {name: [] for name in trains}
    for _ in range(3 if options.quick else ROUNDS):
        for name, (train, steps) in trains.items():
            start = clock()
            train(steps)
            samples[name].append((clock() - start) / steps)
    found = {n: min(s) if options.least else statistics.median(s) for n, s in samples.items()}
    cells = [f"{n} {s * 1e6:.3g} µs ({s / found['gradc']:.2f})" for n, s in found.items()]
    print(f"{case.name:<26} {dtype}  {'   '.join(cells)}", flush=True)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="PATTERN", help="part of a case's name")
    parser.add_argument("--threads", type=int, default=1, help="threads a system (1)")
    parser.add_argument("--cpu", action="store_true", help="CPU time in place of the wall's")
    parser.add_argument("--least", action="store_true", help="least times in place of medians")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    options = parser.parse_args()
    limit_threads(options.threads)
    print("time of a step, and in units of gradc's")
    good = True
    for case in CASES:
        for dtype in case.dtypes if options.only in case.name else ():
            good &= measure(case, dtype, options)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
