"""The systems side by side: each takes a workload and arrays, and gives a contender.

A contender takes NumPy arrays and returns a value and gradients as NumPy's, ready to read. A system
that cannot do a workload raises Skip.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from workloads.workload import Array, Contender, Workload

import gradc


class Skip(Exception):
    """The system has no way to do this workload."""


def _logsumexp(x: Any, axis: int, keepdims: bool) -> Any:
    largest = np.max(x, axis=axis, keepdims=True)
    total = np.log(np.sum(np.exp(x - largest), axis=axis, keepdims=True)) + largest
    return total if keepdims else np.squeeze(total, axis=axis)


def _softmax(x: Any, axis: int) -> Any:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


#: NumPy's names, and how one writes the other two in NumPy
NUMPY = SimpleNamespace(**{k: getattr(np, k) for k in dir(np) if not k.startswith("_")})
NUMPY.logsumexp, NUMPY.softmax = _logsumexp, _softmax


def with_gradc(w: Workload, arrays: Sequence[Array], count: int) -> Contender:
    """One native function."""
    argnums, loss = tuple(range(count)), w.loss(NUMPY)
    if w.kind != "hvp":
        contender: Contender = gradc.value_and_grad(loss, argnums=argnums)
        return contender

    def along(*given: Any) -> Any:
        point, direction, data = given[:count], given[count : 2 * count], given[2 * count :]
        slopes = gradc.grad(lambda *p: loss(*p, *data), argnums=argnums)
        gradients, products = gradc.jvp(slopes, point, direction)
        slope = sum(np.sum(g * d) for g, d in zip(gradients, direction, strict=True))
        return slope, products

    compiled: Contender = gradc.compile(along)
    return compiled


def gradc_primal(w: Workload, arrays: Sequence[Array], count: int) -> Contender:
    """The value alone: what a gradient's cost is a multiple of."""
    if w.kind == "hvp":
        raise Skip
    compiled: Contender = gradc.compile(w.loss(NUMPY))
    return compiled


def numpy_primal(w: Workload, arrays: Sequence[Array], count: int) -> Contender:
    """The value alone, in NumPy."""
    if w.kind != "gradient":
        raise Skip
    return w.loss(NUMPY)


def numba_primal(w: Workload, arrays: Sequence[Array], count: int) -> Contender:
    """The value alone, by Numba from the same source."""
    if w.primal is None or importlib.util.find_spec("numba") is None:
        raise Skip
    return w.primal()


def numpy_by_hand(w: Workload, arrays: Sequence[Array], count: int) -> Contender:
    """The gradient that a person writes."""
    return w.by_hand


def with_numba(w: Workload, arrays: Sequence[Array], count: int) -> Contender:
    """The same as loops, compiled."""
    if w.loops is None:
        raise Skip
    import numba

    compiled = numba.njit(fastmath=True)(w.loops)

    def run(*given: Array) -> tuple[Any, Sequence[Array]]:
        value, *gradients = compiled(*given)
        return value, gradients

    return run


def with_jax(w: Workload, arrays: Sequence[Array], count: int) -> Contender:
    """``jit(value_and_grad)``, waited for."""
    import jax

    jax.config.update("jax_enable_x64", True)
    names = {k: getattr(jax.numpy, k) for k in dir(jax.numpy) if not k.startswith("_")}
    xp = SimpleNamespace(**names)
    xp.logsumexp, xp.softmax = jax.scipy.special.logsumexp, jax.nn.softmax
    argnums, loss = tuple(range(count)), w.jax(jax) if w.jax else w.loss(xp)
    of = jax.value_and_grad(loss, argnums=argnums)
    if w.kind == "hvp":

        def of(*given: Any) -> Any:
            point, direction, data = given[:count], given[count : 2 * count], given[2 * count :]
            slopes = jax.grad(lambda *p: loss(*p, *data), argnums=argnums)
            gradients, products = jax.jvp(slopes, point, direction)
            return sum(
                xp.sum(g * d) for g, d in zip(gradients, direction, strict=True)
            ), products

    compiled = jax.jit(of)

    def run(*given: Array) -> tuple[Any, Sequence[Array]]:
        value, gradients = jax.block_until_ready(compiled(*given))
        return np.asarray(value), [np.asarray(g) for g in gradients]

    return run


def _torch_names() -> SimpleNamespace:
    import torch

    return SimpleNamespace(
        exp=torch.exp, log=torch.log, log1p=torch.log1p, sin=torch.sin, tanh=torch.tanh,
        sqrt=torch.sqrt, sum=torch.sum, mean=torch.mean, min=torch.amin,
        swapaxes=torch.swapaxes, logsumexp=torch.logsumexp, softmax=torch.softmax,
        maximum=lambda x, least: torch.clamp(x, min=least),
    )


def with_torch(w: Workload, arrays: Sequence[Array], count: int, compiled: bool = False
               ) -> Contender:
    """Eager, on tensors that share the arrays' memory."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    loss = w.loss(_torch_names())
    if compiled:
        torch._dynamo.reset()
        loss = torch.compile(loss)

    def gradient(*given: Array) -> tuple[Any, Sequence[Array]]:
        tensors = [torch.from_numpy(a) for a in given]
        parameters = [t.requires_grad_() for t in tensors[:count]]
        value = loss(*parameters, *tensors[count:])
        gradients = torch.autograd.grad(value, parameters)
        return value.detach().numpy(), [g.numpy() for g in gradients]

    def hvp(*given: Array) -> tuple[Any, Sequence[Array]]:
        tensors = [torch.from_numpy(a) for a in given]
        parameters = [t.requires_grad_() for t in tensors[:count]]
        value = loss(*parameters, *tensors[2 * count :])
        gradients = torch.autograd.grad(value, parameters, create_graph=True)
        pairs = zip(gradients, tensors[count : 2 * count], strict=True)
        slope = sum(torch.sum(g * d) for g, d in pairs)
        products = torch.autograd.grad(slope, parameters)
        return slope.detach().numpy(), [g.numpy() for g in products]

    if compiled and w.kind == "hvp":
        raise Skip  # AOTAutograd does not differentiate twice
    return gradient if w.kind == "gradient" else hvp


def with_torch_compile(w: Workload, arrays: Sequence[Array], count: int) -> Contender:
    """The same, through Inductor's C++."""
    return with_torch(w, arrays, count, compiled=True)


def with_autograd(w: Workload, arrays: Sequence[Array], count: int) -> Contender:
    """A tape of NumPy calls."""
    import autograd
    from autograd.scipy.special import logsumexp

    names = {k: getattr(autograd.numpy, k) for k in dir(autograd.numpy) if not k.startswith("_")}
    xp = SimpleNamespace(**names)
    xp.logsumexp = logsumexp

    def softmax(x: Any, axis: int) -> Any:
        return xp.exp(x - logsumexp(x, axis=axis, keepdims=True))

    xp.softmax = softmax
    argnums, loss = tuple(range(count)), w.loss(xp)
    if w.kind == "gradient":
        contender: Contender = autograd.value_and_grad(loss, argnum=argnums)
        return contender

    def hvp(*given: Array) -> tuple[Any, Sequence[Array]]:
        direction, data = given[count : 2 * count], given[2 * count :]
        slopes = autograd.grad(lambda *p: loss(*p, *data), argnum=argnums)

        def slope(*p: Any) -> Any:
            return sum(xp.sum(g * d) for g, d in zip(slopes(*p), direction, strict=True))

        found: tuple[Any, Sequence[Array]] = autograd.value_and_grad(slope, argnum=argnums)(
            *given[:count]
        )
        return found

    return hvp


def with_pytensor(w: Workload, arrays: Sequence[Array], count: int) -> Contender:
    """A symbolic graph, through Numba; types are trusted, for speed."""
    import pytensor
    import pytensor.tensor as pt

    pytensor.config.floatX = str(arrays[0].dtype)
    xp = SimpleNamespace(**{k: getattr(pt, k) for k in dir(pt) if not k.startswith("_")})
    xp.softmax = pt.special.softmax
    inputs = [
        pt.tensor(f"argument{i}", dtype=str(a.dtype), shape=a.shape)
        for i, a in enumerate(arrays)
    ]
    if w.kind == "gradient":
        value = w.loss(xp)(*inputs)
        gradients = pytensor.grad(value, inputs[:count])
    else:
        loss = w.loss(xp)(*inputs[:count], *inputs[2 * count :])
        pairs = zip(pytensor.grad(loss, inputs[:count]), inputs[count : 2 * count], strict=True)
        value = sum(pt.sum(g * d) for g, d in pairs)
        gradients = pytensor.grad(value, inputs[:count], disconnected_inputs="ignore")
    compiled = pytensor.function(
        inputs, [value, *gradients], mode="NUMBA", on_unused_input="ignore"
    )
    compiled.trust_input = True

    def run(*given: Array) -> tuple[Any, Sequence[Array]]:
        value, *gradients = compiled(*given)
        return value, gradients

    return run


def _casadi_function(w: Workload, arrays: Sequence[Array], count: int) -> Any:
    """Value and gradients as a graph of scalars, each argument a flat vector."""
    if not w.scalars or arrays[0].dtype != np.float64 or w.kind != "gradient":
        raise Skip
    import casadi

    symbols = [casadi.SX.sym(f"a{i}", a.size) for i, a in enumerate(arrays)]
    shaped = []
    for symbol, array in zip(symbols, arrays, strict=True):
        flat = np.empty(array.size, object)
        flat[:] = casadi.vertsplit(symbol)
        shaped.append(flat.reshape(array.shape))
    value = w.loss(NUMPY)(*shaped)
    gradients = [casadi.gradient(value, s) for s in symbols[:count]]
    return casadi.Function("f", symbols, [value, *gradients])


def _buffered(function: Any, arrays: Sequence[Array], count: int) -> Contender:
    """A call through a buffer that is bound to arrays once: the cheapest that CasADi has."""
    buffer, call = function.buffer()
    value, gradients = np.zeros(()), [np.zeros(a.shape) for a in arrays[:count]]
    for i, array in enumerate(arrays):
        buffer.set_arg(i, memoryview(array))
    for i, array in enumerate((value, *gradients)):
        buffer.set_res(i, memoryview(array))

    def run(*given: Array) -> tuple[Any, Sequence[Array]]:
        call()
        return value, gradients

    run.alive = (function, buffer)  # type: ignore[attr-defined]
    return run


def with_casadi(w: Workload, arrays: Sequence[Array], count: int) -> Contender:
    """CasADi's own interpreter."""
    return _buffered(_casadi_function(w, arrays, count), arrays, count)


#: of straight-line C, beyond which a compiler takes minutes (and the code is slow)
STATEMENTS = 20_000


def with_casadi_c(w: Workload, arrays: Sequence[Array], count: int) -> Contender:
    """C that CasADi generated, compiled for this processor."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Skip
    function = _casadi_function(w, arrays, count)
    if function.n_instructions() > STATEMENTS:
        raise Skip
    import casadi

    with tempfile.TemporaryDirectory() as folder:
        here = os.getcwd()
        os.chdir(folder)  # generate() writes beside the process only
        try:
            function.generate("f.c")
        finally:
            os.chdir(here)
        library = _shared(os.path.join(folder, "f.c"))
        return _buffered(casadi.external("f", library), arrays, count)


def _shared(source: str) -> str:
    """The library made of a file of C."""
    library = source.removesuffix(".c") + ".so"
    options = "-O2 -march=native -fPIC -shared".split()
    subprocess.run(["cc", *options, source, "-o", library, "-lm"], check=True)
    return library


def with_c(w: Workload, arrays: Sequence[Array], count: int) -> Contender:
    """The gradient by hand in C, called through ctypes with addresses that are ready."""
    if not w.c or shutil.which("cc") is None:
        raise Skip
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "f.c")
        with open(source, "w") as file:
            file.write(f"#include <math.h>\n#include <string.h>\n{w.c}")
        function = ctypes.CDLL(_shared(source)).gradient
    gradients = [np.zeros_like(a) for a in arrays[:count]]
    given = [ctypes.c_void_p(a.ctypes.data) for a in (*arrays, *gradients)]
    function.restype = ctypes.c_double

    def run(*_: Array) -> tuple[Any, Sequence[Array]]:
        return function(*given), gradients

    run.alive = (arrays, gradients)  # type: ignore[attr-defined]
    return run


@dataclass(frozen=True)
class System:
    """A contender's maker, the package it needs, and whether it differentiates by itself."""

    make: Callable[[Workload, Sequence[Array], int], Contender]
    package: str
    differentiates: bool
    slow_to_compile: bool = False

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None


SYSTEMS = {
    "gradc": System(with_gradc, "gradc", True),
    "numpy": System(numpy_by_hand, "numpy", False),
    "numba": System(with_numba, "numba", False),
    "jax": System(with_jax, "jax", True),
    "torch": System(with_torch, "torch", True),
    "compile": System(with_torch_compile, "torch", True, slow_to_compile=True),
    "autograd": System(with_autograd, "autograd", True),
    "pytensor": System(with_pytensor, "pytensor", True, slow_to_compile=True),
    "casadi": System(with_casadi, "casadi", True),
    "casadi-c": System(with_casadi_c, "casadi", False),
    "c": System(with_c, "ctypes", False),
}

#: timed beside them, to set the gradient's cost against the value's
PRIMALS = {
    "gradc primal": gradc_primal, "numpy primal": numpy_primal, "numba primal": numba_primal
}
