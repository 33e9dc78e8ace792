"""A network learns to read handwritten digits: 1797 of them, trained in one native call.

Run it:  python examples/digits.py
It prints its progress and saves a figure, digits.png, in the current directory.
"""

from __future__ import annotations

import time

import matplotlib
import numpy as np
from sklearn.datasets import load_digits

import gradc

HIDDEN, CLASSES = 64, 10
BATCH, EPOCHS, LR, L2 = 32, 40, 0.3, 1e-4


def scores(params, x):
    hidden = np.maximum(0, x @ params["W1"] + params["b1"])
    return hidden @ params["W2"] + params["b2"]


def loss(params, x, labels):
    """Softmax cross-entropy, and a penalty on large weights."""
    s = scores(params, x)
    s = s - np.max(s, axis=1, keepdims=True)
    log_p = s - np.log(np.sum(np.exp(s), axis=1, keepdims=True))
    data = -np.mean(log_p[np.arange(len(labels)), labels])
    return data + L2 * (np.sum(params["W1"] ** 2) + np.sum(params["W2"] ** 2))


def step_by_hand(params, x, labels):
    """The same step in NumPy: the gradient derived by hand, the parameters updated in place."""
    W1, b1, W2, b2 = params.values()
    hidden = np.maximum(0, x @ W1 + b1)
    s = hidden @ W2 + b2
    e = np.exp(s - s.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    value = -np.mean(np.log(p[rows, labels])) + L2 * (np.sum(W1**2) + np.sum(W2**2))
    ds = p
    ds[rows, labels] -= 1
    ds /= len(labels)
    dhidden = ds @ W2.T
    dhidden[hidden <= 0] = 0
    W2 -= LR * (hidden.T @ ds + 2 * L2 * W2)
    b2 -= LR * ds.sum(axis=0)
    W1 -= LR * (x.T @ dhidden + 2 * L2 * W1)
    b1 -= LR * dhidden.sum(axis=0)
    return value


def initial(rng):
    return {
        "W1": rng.standard_normal((64, HIDDEN)) * np.sqrt(2 / 64),
        "b1": np.zeros(HIDDEN),
        "W2": rng.standard_normal((HIDDEN, CLASSES)) * np.sqrt(2 / HIDDEN),
        "b2": np.zeros(CLASSES),
    }


def accuracy(params, x, labels):
    return np.mean(np.argmax(scores(params, x), axis=1) == labels)


def numpy_seconds(params, x, labels, epochs):
    """The time of one epoch of the same steps in NumPy: the fastest of a few."""
    params = {name: value.copy() for name, value in params.items()}
    rng, times = np.random.default_rng(0), []
    for _ in range(epochs):
        start = time.perf_counter()
        order = rng.permutation(len(x))
        for at in range(0, len(x), BATCH):
            rows = order[at : at + BATCH]
            step_by_hand(params, x[rows], labels[rows])
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    digits = load_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(digits.data))
    x, labels = digits.data[order] / 16, digits.target[order]
    held = 360
    train, test = (x[held:], labels[held:]), (x[:held], labels[:held])
    params = initial(rng)
    steps = -(-len(train[0]) // BATCH)
    print(f"{len(train[0])} digits of 8 x 8 to learn from, {held} held back")
    print(f"network 64 - {HIDDEN} - {CLASSES}, {EPOCHS} epochs of {steps} steps of {BATCH}\n")

    trainer = gradc.train(loss, optimizer=gradc.optim.sgd(LR), batch_size=BATCH)
    start = time.perf_counter()
    trainer.fit(params, train, epochs=0)
    print(f"compiled in {time.perf_counter() - start:.2f} s: loss, gradient, update and loop\n")

    def progress(epoch, value):
        if epoch in (0, 1, 2, 4) or (epoch + 1) % 10 == 0:
            print(f"  epoch {epoch + 1:3d}   loss {value:.4f}   {'▪' * round(20 * value)}")

    result = trainer.fit(params, train, epochs=EPOCHS, callback=progress)
    print(f"\naccuracy on the {held} held back   {accuracy(result.params, *test):.2%}")
    print(f"accuracy on those it learnt    {accuracy(result.params, *train):.2%}\n")

    times = []
    for _ in range(5):
        start = time.perf_counter()
        trainer.fit(params, train, epochs=10)
        times.append((time.perf_counter() - start) / 10)
    native, hand = min(times), numpy_seconds(params, *train, epochs=10)
    print(f"a step in NumPy, its gradient derived by hand   {hand / steps * 1e6:6.1f} µs")
    print(f"a step of gradc                                 {native / steps * 1e6:6.1f} µs"
          f"   {hand / native:.1f} times as fast")
    figure(result, digits.images[order][:held], test)
    print("\nfigure saved as digits.png")


def figure(result, images, test):
    """The losses, and digits that were held back: some read rightly, and all misread ones."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    read = np.argmax(scores(result.params, test[0]), axis=1)
    wrong = np.flatnonzero(read != test[1])[:8]
    right = np.flatnonzero(read == test[1])[: 24 - len(wrong)]
    fig = plt.figure(figsize=(9, 3.4), layout="constrained")
    left, grid = fig.subfigures(1, 2, width_ratios=(1, 1.5))
    axis = left.subplots()
    axis.semilogy(np.arange(1, EPOCHS + 1), result.losses, color="tab:blue")
    axis.set(xlabel="epoch", ylabel="loss", title="training")
    axis.grid(alpha=0.3)
    grid.suptitle("held back, and what the network reads", fontsize="medium")
    for cell, k in zip(grid.subplots(3, 8).flat, [*right, *wrong], strict=True):
        cell.imshow(images[k], cmap="gray_r", interpolation="nearest")
        color = "tab:green" if read[k] == test[1][k] else "tab:red"
        cell.set_title(str(read[k]), color=color, fontsize="small", pad=2)
        cell.set_axis_off()
    fig.savefig("digits.png", dpi=150)
    plt.close(fig)


if __name__ == "__main__":
    main()
