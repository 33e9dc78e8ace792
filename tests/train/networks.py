"""Networks that the tests train, and the same training written by hand in NumPy."""

from __future__ import annotations

import numpy as np


def order(samples, seed, epoch):
    """The order of the samples in an epoch."""
    key = np.array([seed, epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(samples)


def mlp_loss(params, x, y):
    """Softmax cross-entropy with L2 of a two-layer network; ``y`` are labels."""
    hidden = np.maximum(0, x @ params["W1"] + params["b1"])
    scores = hidden @ params["W2"] + params["b2"]
    scores = scores - np.max(scores, axis=1, keepdims=True)
    logits = scores - np.log(np.sum(np.exp(scores), axis=1, keepdims=True))
    data = -np.mean(logits[np.arange(len(y)), y])
    return data + 1e-3 * (np.sum(params["W1"] ** 2) + np.sum(params["W2"] ** 2))


def mlp_value_and_grad(params, x, y):
    """The same with its gradient by hand."""
    W1, b1, W2, b2 = (params[k] for k in ("W1", "b1", "W2", "b2"))
    hidden = np.maximum(0, x @ W1 + b1)
    scores = hidden @ W2 + b2
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    rows = np.arange(len(y))
    loss = -np.mean(np.log(p[rows, y])) + 1e-3 * (np.sum(W1**2) + np.sum(W2**2))
    d = p.copy()
    d[rows, y] -= 1
    d /= len(y)
    dh = (d @ W2.T) * (hidden > 0)
    grads = {
        "W1": x.T @ dh + 2e-3 * W1, "b1": dh.sum(axis=0),
        "W2": hidden.T @ d + 2e-3 * W2, "b2": d.sum(axis=0),
    }
    return loss, grads


def mlp_data(dtype, samples=53, features=7, hidden=9, classes=4):
    rng = np.random.default_rng(1)
    params = {
        "W1": rng.standard_normal((features, hidden)) / 2,
        "b1": rng.standard_normal(hidden) / 10,
        "W2": rng.standard_normal((hidden, classes)) / 2,
        "b2": np.zeros(classes),
    }
    params = {k: v.astype(dtype) for k, v in params.items()}
    x = rng.standard_normal((samples, features)).astype(dtype)
    return params, x, rng.integers(0, classes, samples)


class Descent:
    """Optimizers by hand, in place, after PyTorch's documentation."""

    def __init__(self, lr, momentum=0.0, nesterov=False):
        self.lr, self.momentum, self.nesterov = lr, momentum, nesterov
        self.velocity = None

    def update(self, params, grads):
        for key, g in grads.items():
            if self.momentum:
                if self.velocity is None:
                    self.velocity = {}
                v = self.velocity.get(key)
                v = g.copy() if v is None else self.momentum * v + g
                self.velocity[key] = v
                g = g + self.momentum * v if self.nesterov else v
            params[key] -= self.lr * g


class Adam:
    def __init__(self, lr, beta1=0.9, beta2=0.999, eps=1e-8):
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
        self.step, self.m, self.v = 0, {}, {}

    def update(self, params, grads):
        self.step += 1
        for key, g in grads.items():
            m = self.m[key] = self.beta1 * self.m.get(key, 0) + (1 - self.beta1) * g
            v = self.v[key] = self.beta2 * self.v.get(key, 0) + (1 - self.beta2) * g * g
            m = m / (1 - self.beta1**self.step)
            v = v / (1 - self.beta2**self.step)
            params[key] -= self.lr * m / (np.sqrt(v) + self.eps)


def by_hand(value_and_grad, optimizer, params, data, *, batch, epochs, seed, shuffle=True):
    """Parameters and the losses of the epochs."""
    params = {k: v.copy() for k, v in params.items()}
    samples, losses = len(data[0]), []
    for epoch in range(epochs):
        rows = order(samples, seed, epoch) if shuffle else np.arange(samples)
        total = 0.0
        for start in range(0, samples, batch):
            chosen = rows[start : start + batch]
            loss, grads = value_and_grad(params, *(array[chosen] for array in data))
            optimizer.update(params, grads)
            total += len(chosen) * float(loss)
        losses.append(total / samples)
    return params, np.array(losses)
