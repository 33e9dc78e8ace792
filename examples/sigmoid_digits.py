"""The network 784-16-16-10 of sigmoids, 13,002 numbers, learns digits by gradient descent.

Run it:  python examples/sigmoid_digits.py

As in the first chapters on networks of M. Nielsen and of 3Blue1Brown: the cost of one sample is the
squared distance from the wanted output, and a step goes against the average over a small batch of
the samples' gradients. The samples are scikit-learn's digits, scaled up from 8 x 8 to 28 x 28.
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.datasets import load_digits

import gradc

SIZES = 784, 16, 16, 10
BATCH, EPOCHS, RATE, HELD = 10, 30, 1.0, 297


def scaled_up(images, size=28):
    """Images of that many rows and columns, by linear interpolation along both."""
    old = images.shape[1]
    at = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)  # where pixels come from
    first = np.minimum(at.astype(int), old - 2)
    blend = np.zeros((size, old))
    blend[np.arange(size), first] = 1 - (at - first)
    blend[np.arange(size), first + 1] = at - first
    return blend @ images @ blend.T


def digits(rng):
    """Pixels between 0 and 1 and one-hot outputs, to learn from and held back."""
    given = load_digits()
    order = rng.permutation(len(given.images))
    x = scaled_up(given.images[order]).reshape(len(order), -1) / 16
    y = np.eye(10)[given.target[order]]
    return (x[HELD:], y[HELD:]), (x[:HELD], y[:HELD])


def initial(rng):
    """For each layer the weights, (inputs, outputs), and the biases."""
    return [
        (rng.standard_normal((n, m)) / np.sqrt(n), rng.standard_normal(m))
        for n, m in zip(SIZES[:-1], SIZES[1:], strict=True)
    ]


def output(layers, a):
    for weights, biases in layers:
        a = 1 / (1 + np.exp(-(a @ weights + biases)))
    return a


def cost(layers, x, y):
    """Of one sample, or the mean of those of a batch."""
    return np.mean(np.sum((output(layers, x) - y) ** 2, axis=-1))


def accuracy(layers, x, y):
    return np.mean(np.argmax(output(layers, x), axis=1) == np.argmax(y, axis=1))


def flat(layers):
    return np.concatenate([part.ravel() for layer in layers for part in layer])


def sample_gradients(layers, x, y):
    """The gradient of each sample's cost, as rows of 13,002 numbers."""
    gradient = gradc.grad(cost)
    return np.array([flat(gradient(layers, *sample)) for sample in zip(x, y, strict=True)])


def main():
    rng = np.random.default_rng(0)
    train, held = digits(rng)
    layers = initial(rng)
    print(f"{flat(layers).size:,} weights and biases, {len(train[0])} digits of 28 x 28 to learn "
          f"from, {HELD} held back\n")

    batch = [part[:BATCH] for part in train]
    gradients = sample_gradients(layers, *batch)
    of_mean = flat(gradc.grad(cost)(layers, *batch))
    print(f"lengths of the gradients of {BATCH} samples   "
          f"{' '.join(f'{np.linalg.norm(g):.2f}' for g in gradients)}")
    print(f"length of their mean                  {np.linalg.norm(of_mean):.2f}")
    print("largest difference from the gradient of the mean cost "
          f"{np.abs(gradients.mean(axis=0) - of_mean).max():.0e}\n")

    trainer = gradc.train(cost, optimizer=gradc.optim.sgd(RATE), batch_size=BATCH)
    result = trainer.fit(
        layers, train, epochs=EPOCHS, validation=held, metrics={"accuracy": accuracy})
    print("  epoch     cost   held back   rightly read")
    measured = result.validation.values
    for k in (0, 1, 2, *range(4, EPOCHS, 5)):
        print(f"  {k + 1:5d}   {result.losses[k]:.4f}      {measured['loss'][k]:.4f}"
              f"         {measured['accuracy'][k]:.2%}")

    start = time.perf_counter()
    steps = trainer.fit(layers, train, epochs=10).steps
    print(f"\n{(time.perf_counter() - start) / steps * 1e6:.1f} µs a step")


if __name__ == "__main__":
    main()
