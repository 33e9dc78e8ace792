"""The circuits of the classic lectures on backpropagation: values forward, gradients back.

Run it:  python examples/lectures.py
"""

from __future__ import annotations

import numpy as np

import gradc


def show(title, expression, value, **gradients):
    print(f"\n{title}\n  {expression}")
    print(f"  value {np.asarray(value):.4g}")
    for name, gradient in gradients.items():
        text = np.array2string(np.asarray(gradient), precision=4, suppress_small=True)
        print(f"  d{name:<3} {text}".replace("\n", "\n       "))


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


def circuits():
    @gradc.compile(argnums=("x", "y", "z"))
    def product(x, y, z):
        return (x + y) * z

    value, (dx, dy, dz) = product.value_and_grad(-2, 5, -4)
    show("A product of a sum, at (−2, 5, −4)", "f = (x + y) z", value, x=dx, y=dy, z=dz)

    @gradc.compile(argnums=("w", "x"))
    def neuron(w, x):
        return sigmoid(w[0] * x[0] + w[1] * x[1] + w[2])

    value, (dw, dx) = neuron.value_and_grad([2, -3, -3], [-1, -2])
    show("A sigmoid neuron", "f = σ(w0 x0 + w1 x1 + w2)", value, w=dw, x=dx)

    @gradc.compile(argnums=("x", "y", "z", "w"))
    def gates(x, y, z, w):
        return 2 * (x * y + np.maximum(z, w))

    value, (dx, dy, dz, dw) = gates.value_and_grad(3, -4, 2, -1)
    show("Add, multiply and max gates", "f = 2 (x y + max(z, w))", value, x=dx, y=dy, z=dz, w=dw)

    @gradc.compile(argnums=("W", "x"))
    def norm(W, x):
        return np.sum((W @ x) ** 2)

    value, (dW, dx) = norm.value_and_grad([[0.1, 0.5], [-0.3, 0.8]], [0.2, 0.4])
    show("A squared norm", "f = ‖W x‖²", value, W=dW, x=dx)

    @gradc.compile(argnums=("b", "W"))
    def cost(b, W, x, y):
        return (sigmoid(b + W @ x) - y) ** 2

    value, (db, dW) = cost.value_and_grad(-2, [-1, 0.5, 10], np.array([4.0, -2.0, 1.0]), 1.0)
    show("A neuron and its squared cost", "f = (σ(b + W·x) − 1)²", value, b=db, W=dW)


def chain():
    """What flows back out of each gate of 1 / (1 + exp(−x)) at x = 1."""
    print("\nFour gates in a chain\n  f = 1 / (1 + exp(−x)) at x = 1")
    gates = [
        ("·(−1)", np.negative), ("exp", np.exp), ("+1", lambda t: t + 1), ("1/x", lambda t: 1 / t),
    ]
    values = [1.0]
    for _, gate in gates:
        values.append(gate(values[-1]))
    flow = 1.0
    for (name, gate), value in zip(reversed(gates), reversed(values[:-1]), strict=True):
        flow *= gradc.grad(gate)(value)
        print(f"  {name:>5}: {value:7.2f} in, gradient {flow:5.2f}")


def toy_network():
    """Two layers, softmax loss, L2: the loss falls from 1.3038 by gradient descent."""
    np.random.seed(0)
    params = {
        "W1": 0.1 * np.random.randn(4, 10), "b1": np.zeros(10),
        "W2": 0.1 * np.random.randn(10, 3), "b2": np.zeros(3),
    }
    np.random.seed(1)
    X, y = 10 * np.random.randn(5, 4), np.array([0, 1, 2, 2, 1])

    @gradc.compile
    def loss(params, X, y):
        hidden = np.maximum(0, X @ params["W1"] + params["b1"])
        scores = hidden @ params["W2"] + params["b2"]
        shifted = scores - np.max(scores, axis=1, keepdims=True)
        log_p = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
        penalty = np.sum(params["W1"] ** 2) + np.sum(params["W2"] ** 2)
        return -np.mean(log_p[np.arange(len(X)), y]) + 0.05 * penalty

    print("\nA two-layer network\n  softmax loss + 0.05 (‖W1‖² + ‖W2‖²)")
    for step in range(101):
        value, slope = loss.value_and_grad(params, X, y)
        if step % 25 == 0:
            print(f"  step {step:3}: loss {value:.8f}")
        params = {name: params[name] - 0.1 * slope[name] for name in params}
    gradc.check_grads(lambda p: loss(p, X, y), (params,), order=1)
    print("  the gradient agrees with central differences")


if __name__ == "__main__":
    circuits()
    chain()
    toy_network()
