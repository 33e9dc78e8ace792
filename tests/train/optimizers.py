"""Optimizers as their papers have them, in NumPy, for one array at a time; and cases to compare.

``step(p, g, s, t, **options)`` gives the new parameter of step t = 1, 2, ...; ``s`` is a dict that
is empty at the first.
"""

from __future__ import annotations

import numpy as np


def sgd(p, g, s, t, *, lr, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0):
    g = g + weight_decay * p
    if momentum:
        s["v"] = g if t == 1 else momentum * s["v"] + (1 - dampening) * g
        g = g + momentum * s["v"] if nesterov else s["v"]
    return p - lr * g


def lion(p, g, s, t, *, lr, betas=(0.9, 0.99), weight_decay=0.0):
    """Chen et al. 2023, algorithm 2."""
    m = s.get("m", 0 * g)
    c = betas[0] * m + (1 - betas[0]) * g
    s["m"] = betas[1] * m + (1 - betas[1]) * g
    return p - lr * (np.sign(c) + weight_decay * p)


def adagrad(p, g, s, t, *, lr=1e-2, lr_decay=0.0, weight_decay=0.0,
            initial_accumulator_value=0.0, eps=1e-10):
    g = g + weight_decay * p
    s["total"] = s.get("total", initial_accumulator_value) + g**2
    return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["total"]) + eps)


def rmsprop(p, g, s, t, *, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0,
            centered=False):
    g = g + weight_decay * p
    s["square"] = alpha * s.get("square", 0 * g) + (1 - alpha) * g**2
    s["mean"] = alpha * s.get("mean", 0 * g) + (1 - alpha) * g
    variance = s["square"] - s["mean"] ** 2 if centered else s["square"]
    g = g / (np.sqrt(variance) + eps)
    if momentum:
        g = s["v"] = momentum * s.get("v", 0 * g) + g
    return p - lr * g


def adam(p, g, s, t, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False):
    """Kingma & Ba 2015, algorithm 1; Reddi et al. 2018, with the corrections of PyTorch."""
    g = g + weight_decay * p
    s["m"] = betas[0] * s.get("m", 0 * g) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0 * g) + (1 - betas[1]) * g**2
    s["top"] = np.maximum(s.get("top", 0 * g), s["v"])
    m = s["m"] / (1 - betas[0] ** t)
    v = (s["top"] if amsgrad else s["v"]) / (1 - betas[1] ** t)
    return p - lr * m / (np.sqrt(v) + eps)


def adamw(p, g, s, t, *, lr=1e-3, weight_decay=1e-2, **options):
    """Loshchilov & Hutter 2019, algorithm 2, with the decay of PyTorch, which the rate scales."""
    return adam(p - lr * weight_decay * p, g, s, t, lr=lr, **options)


STEPS = {f.__name__: f for f in (sgd, lion, adagrad, rmsprop, adam, adamw)}

#: name: (the optimizer's name, its options)
CASES = {
    "sgd": ("sgd", {"lr": 0.01}),
    "sgd decay": ("sgd", {"lr": 0.01, "weight_decay": 0.1}),
    "momentum": ("sgd", {"lr": 0.01, "momentum": 0.9}),
    "dampening": ("sgd", {"lr": 0.01, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1}),
    "nesterov": ("sgd", {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "adagrad": ("adagrad", {}),
    "adagrad options": ("adagrad", {"lr": 0.1, "lr_decay": 0.01, "weight_decay": 0.1,
                                    "initial_accumulator_value": 0.5, "eps": 1e-3}),
    "rmsprop": ("rmsprop", {}),
    "rmsprop momentum": ("rmsprop", {"lr": 1e-3, "alpha": 0.9, "momentum": 0.9, "eps": 1e-3}),
    "rmsprop centered": ("rmsprop", {"lr": 1e-3, "centered": True, "weight_decay": 0.1}),
    "rmsprop both": ("rmsprop", {"lr": 1e-3, "centered": True, "momentum": 0.5}),
    "adam": ("adam", {}),
    "adam options": ("adam", {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-4,
                              "weight_decay": 0.1}),
    "amsgrad": ("adam", {"lr": 0.01, "amsgrad": True}),
    "adamw": ("adamw", {}),
    "adamw options": ("adamw", {"lr": 0.01, "betas": (0.5, 0.9), "weight_decay": 0.1,
                                "amsgrad": True}),
    "lion": ("lion", {"lr": 1e-3}),
    "lion options": ("lion", {"lr": 1e-3, "betas": (0.95, 0.98), "weight_decay": 0.1}),
}


def params_of(dtype):
    """A pytree: a matrix, a vector, a number."""
    rng = np.random.default_rng(0)
    return {
        "W": rng.standard_normal((3, 5)).astype(dtype),
        "rest": [rng.standard_normal(7).astype(dtype), dtype(0.5)],
    }


def gradients(dtype, steps):
    """A pytree of the gradients of all steps, of many sizes; some numbers never get one."""
    rng = np.random.default_rng(1)

    def noise(*shape):
        scale = 10 ** rng.uniform(-3, 2, (1, *shape))
        drift = rng.standard_normal((1, *shape))
        found = scale * (rng.standard_normal((steps, *shape)) + drift)
        return found.astype(dtype)

    grads = {"W": noise(3, 5), "rest": [noise(7), noise()]}
    grads["W"][:, 0, 0] = 0
    grads["rest"][0][: steps // 2, 2] = 0
    return grads


def leaves(tree):
    return [tree["W"], *tree["rest"]]


def at(grads, t):
    return {"W": grads["W"][t], "rest": [g[t] for g in grads["rest"]]}


def by_hand(name, options, params, grads, steps):
    """The leaves after every step."""
    current, states = leaves(params), [{} for _ in leaves(params)]
    for t in range(steps):
        rates = {"lr": options["lr"](t)} if callable(options.get("lr")) else {}
        current = [
            STEPS[name](p, g, s, t + 1, **options | rates)
            for p, g, s in zip(current, leaves(at(grads, t)), states, strict=True)
        ]
        yield current
