"""Training by every system that is installed, in one process: microseconds a step.

    python tests/bench/training.py [--only PATTERN] [--threads N] [--rounds N] [--peers A,B]

The same steps are taken from the same start on the same full batch; the losses at the end are
compared. JAX runs its steps in one ``fori_loop``, torch one by one, as one writes them (its fused
Adam has a column too), C is written by hand and compiled with ``-O3 -march=native``. Systems take
turns; a figure is the median over the rounds, without the first one, which compiles.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from run import limit_threads

Array = np.ndarray[Any, Any]
#: a run of all steps: the loss at the end
Run = Callable[[], float]

ELEVEN_LINES = r"""
#include <math.h>
#include <string.h>
static const double X[4][3] = {{0,0,1},{0,1,1},{1,0,1},{1,1,1}}, Y[4] = {0,1,1,0};
double train(const double *start, long steps) {
    double w[3][4], v[4], loss = 0;
    memcpy(w, start, sizeof w);
    memcpy(v, start + 12, sizeof v);
    for (long n = 0; n < steps; n++) {
        double h[4][4], d[4], dv[4] = {0}, dw[3][4] = {{0}};
        loss = 0;
        for (int i = 0; i < 4; i++) {
            double o = 0;
            for (int j = 0; j < 4; j++) {
                double z = 0;
                for (int k = 0; k < 3; k++) z += X[i][k] * w[k][j];
                h[i][j] = 1 / (1 + exp(-z));
                o += h[i][j] * v[j];
            }
            o = 1 / (1 + exp(-o));
            loss += (Y[i] - o) * (Y[i] - o) / 2;
            d[i] = (Y[i] - o) * o * (1 - o);
        }
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) {
                double e = d[i] * v[j] * h[i][j] * (1 - h[i][j]);
                dv[j] += h[i][j] * d[i];
                for (int k = 0; k < 3; k++) dw[k][j] += X[i][k] * e;
            }
        for (int j = 0; j < 4; j++) {
            v[j] += dv[j];
            for (int k = 0; k < 3; k++) w[k][j] += dw[k][j];
        }
    }
    return loss;
}
"""


@dataclass(frozen=True)
class Training:
    """A network of ``sizes``, on ``batch`` samples, for so many steps; by Adam, or at rate 1."""

    name: str
    sizes: tuple[int, ...]
    batch: int
    steps: int
    dtype: str
    adam: bool = True
    torch_steps: int = 0  # it is given fewer steps where it takes long

    def start(self) -> tuple[list[tuple[Array, Array]], Array, Array]:
        """Weights and biases, inputs, what is wanted."""
        if not self.adam:
            rng = np.random.default_rng(1)
            shapes = zip(self.sizes, self.sizes[1:], strict=False)
            weights = [(2 * rng.random((a, b)) - 1, np.zeros(0)) for a, b in shapes]
            x = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]], self.dtype)
            return weights, x, np.array([[0], [1], [1], [0]], self.dtype)
        rng = np.random.default_rng(0)
        layers = [
            (rng.standard_normal((a, b)).astype(self.dtype) / a**0.5, np.zeros(b, self.dtype))
            for a, b in zip(self.sizes, self.sizes[1:], strict=False)
        ]
        x = rng.standard_normal((self.batch, self.sizes[0])).astype(self.dtype)
        return layers, x, rng.standard_normal((self.batch, self.sizes[-1])).astype(self.dtype)

    def loss(self, xp: Any) -> Callable[..., Any]:
        """The loss in terms of a namespace."""
        def eleven(params: Any, x: Any, y: Any) -> Any:
            for w, _ in params:
                x = 1 / (1 + xp.exp(-(x @ w)))
            return xp.sum((y - x) ** 2) / 2

        def mlp(params: Any, x: Any, y: Any) -> Any:
            for w, b in params[:-1]:
                x = xp.tanh(x @ w + b)
            w, b = params[-1]
            return xp.mean((x @ w + b - y) ** 2)

        return mlp if self.adam else eleven


TRAININGS = (
    Training("eleven lines", (3, 4, 1), 4, 60_000, "float64", adam=False, torch_steps=1000),
    Training("adam 4-32-32-1 x32 f64", (4, 32, 32, 1), 32, 5000, "float64", torch_steps=300),
    Training("adam 4-32-32-1 x32 f32", (4, 32, 32, 1), 32, 5000, "float32", torch_steps=300),
    Training("adam 784-256-10 x256 f64", (784, 256, 10), 256, 30, "float64"),
    Training("adam 784-256-10 x256 f32", (784, 256, 10), 256, 30, "float32"),
)


def with_gradc(t: Training, steps: int) -> Run:
    import gradc

    params, x, y = t.start()
    optimizer = gradc.optim.adam(1e-3) if t.adam else gradc.optim.sgd(1.0)
    trainer = gradc.train(t.loss(np), optimizer)
    return lambda: float(trainer.fit(params, (x, y), epochs=steps).losses[-1])


def with_jax(t: Training, steps: int) -> Run:
    import jax

    jax.config.update("jax_enable_x64", True)
    params, x, y = jax.tree.map(jax.numpy.asarray, t.start())
    gradient = jax.value_and_grad(t.loss(jax.numpy))
    each = jax.tree.map

    def step(n: Any, carry: Any) -> Any:
        params, mean, square, _ = carry
        value, grads = gradient(params, x, y)
        if not t.adam:
            return each(lambda p, g: p - g, params, grads), mean, square, value
        mean = each(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
        square = each(lambda s, g: 0.999 * s + 0.001 * g * g, square, grads)
        count = (n + 1).astype(x.dtype)
        rate, spread = 1e-3 / (1 - 0.9**count), jax.numpy.sqrt(1 - 0.999**count)
        params = each(
            lambda p, m, s: p - rate * m / (jax.numpy.sqrt(s) / spread + 1e-8),
            params, mean, square,
        )
        return params, mean, square, value

    @jax.jit
    def train(params: Any) -> Any:
        zeros = each(jax.numpy.zeros_like, params)
        first = (params, zeros, zeros, jax.numpy.zeros((), x.dtype))
        return jax.lax.fori_loop(0, steps, step, first)

    return lambda: float(train(params)[3].block_until_ready())


def with_torch(t: Training, steps: int, **options: bool) -> Run:
    import torch

    given, x, y = t.start()
    x, y = torch.tensor(x), torch.tensor(y)

    def run() -> float:
        params = [tuple(torch.tensor(a, requires_grad=True) for a in pair) for pair in given]
        leaves = [a for pair in params for a in pair]
        optimizer: Any = torch.optim.SGD(leaves, lr=1.0)
        if t.adam:
            optimizer = torch.optim.Adam(leaves, lr=1e-3, **options)
        loss, value = t.loss(torch), None
        for _ in range(steps):
            optimizer.zero_grad()
            value = loss(params, x, y)
            value.backward()
            optimizer.step()
        return float(value.detach()) if value is not None else float("nan")

    return run


def with_fused(t: Training, steps: int) -> Run:
    if not t.adam:
        raise ImportError("no Adam")
    return with_torch(t, steps, fused=True)


def with_c(t: Training, steps: int) -> Run:
    compiler = shutil.which("cc")
    if t.adam or compiler is None:
        raise ImportError("no C")
    folder = Path(tempfile.mkdtemp())
    (folder / "train.c").write_text(ELEVEN_LINES)
    subprocess.run(
        [compiler, "-O3", "-march=native", "-shared", "-fPIC", "train.c", "-o", "train.so", "-lm"],
        cwd=folder, check=True,
    )
    function = ctypes.CDLL(str(folder / "train.so")).train
    function.restype = ctypes.c_double
    params, _, _ = t.start()
    flat = np.concatenate([w.reshape(-1) for w, _ in params])
    shutil.rmtree(folder)
    return lambda: float(function(ctypes.c_void_p(flat.ctypes.data), ctypes.c_long(steps)))


SYSTEMS: dict[str, Callable[[Training, int], Run]] = {
    "gradc": with_gradc, "jax": with_jax, "torch": with_torch, "torch fused": with_fused,
    "c": with_c,
}


def measure(t: Training, systems: list[str], rounds: int) -> dict[str, float]:
    """Seconds a step by system."""
    runs: dict[str, tuple[Run, int]] = {}
    losses: dict[int, float] = {}
    for name in systems:
        steps = t.torch_steps or t.steps if name.startswith("torch") else t.steps
        try:
            run = SYSTEMS[name](t, steps)
        except ImportError:
            continue
        runs[name] = run, steps
        loss = run()
        if steps not in losses:
            losses[steps] = loss
        tolerance = 1e-2 if t.dtype == "float32" else 1e-6
        if abs(loss - losses[steps]) > tolerance * abs(losses[steps]) + 1e-12:
            print(f"  {name}: the loss is {loss}, not {losses[steps]}")
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (run, steps) in runs.items():
            started = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - started) / steps)
    return {name: statistics.median(row) for name, row in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="PATTERN", help="part of a training's name")
    parser.add_argument("--threads", type=int, default=1, help="threads a system (1)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peers", default="jax,torch,torch fused,c", metavar="A,B")
    options = parser.parse_args()
    limit_threads(options.threads)
    systems = ["gradc"]
    for name in filter(None, options.peers.split(",")):
        module = name.split()[0]
        if module == "c" or importlib.util.find_spec(module):
            systems.append(name)
    if any(name.startswith("torch") for name in systems):
        import torch

        torch.set_num_threads(options.threads)
    for t in TRAININGS:
        if options.only in t.name:
            found = measure(t, systems, options.rounds)
            mine = found["gradc"]
            others = ", ".join(
                f"{name} {s * 1e6:.3g} us ({s / mine:.2f})" for name, s in found.items()
                if name != "gradc"
            )
            print(f"{t.name:26} gradc {mine * 1e6:.3g} us; {others}", flush=True)


if __name__ == "__main__":
    main()
