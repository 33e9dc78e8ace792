"""The network of sigmoids, against Nielsen's equations of back-propagation in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from scipy.special import expit

import gradc
from tests.examples.loading import load

pytest.importorskip("sklearn")
sigmoid_digits = load("sigmoid_digits")


def backpropagated(layers: Any, x: Any, y: Any) -> list[Any]:
    """The gradient of one sample's cost: the four equations of Nielsen's second chapter."""
    activations = [x]
    for weights, biases in layers:
        activations.append(expit(activations[-1] @ weights + biases))
    error, gradient = 2 * (activations[-1] - y), []
    for k in reversed(range(len(layers))):
        error = error * activations[k + 1] * (1 - activations[k + 1])
        gradient = [np.outer(activations[k], error), error, *gradient]
        error = layers[k][0] @ error
    return gradient


@pytest.fixture(scope="module")
def samples() -> Any:
    return sigmoid_digits.digits(np.random.default_rng(0))


@pytest.fixture
def layers() -> Any:
    return sigmoid_digits.initial(np.random.default_rng(1))


def test_the_images_are_scaled_up_as_scipy_does_it() -> None:
    images = np.random.default_rng(0).random((5, 8, 8))
    expected = scipy.ndimage.zoom(
        images, (1, 3.5, 3.5), order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(sigmoid_digits.scaled_up(images), expected, rtol=1e-12)


def test_there_are_13002_numbers_and_their_gradients_average(samples: Any, layers: Any) -> None:
    x, y = (part[:10] for part in samples[0])
    expected = np.array([
        np.concatenate([part.ravel() for part in backpropagated(layers, *sample)])
        for sample in zip(x, y, strict=True)
    ])
    found = sigmoid_digits.sample_gradients(layers, x, y)
    assert found.shape == (10, 13002)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-14)
    of_mean = sigmoid_digits.flat(gradc.grad(sigmoid_digits.cost)(layers, x, y))
    np.testing.assert_allclose(of_mean, expected.mean(axis=0), rtol=1e-9, atol=1e-14)


def test_training_is_descent_along_averages_of_sample_gradients(
    samples: Any, layers: Any
) -> None:
    train, held = [part[:64] for part in samples[0]], samples[1]
    trainer = gradc.train(
        sigmoid_digits.cost, optimizer=gradc.optim.sgd(1.0), batch_size=10)
    result = trainer.fit(
        layers, train, epochs=2, seed=3, validation=held,
        metrics={"accuracy": sigmoid_digits.accuracy})

    parts = [part.copy() for layer in layers for part in layer]
    measured = []
    for epoch in range(2):
        key = np.array([3, epoch], np.uint64)
        order = np.random.Generator(np.random.Philox(key=key)).permutation(64)
        for at in range(0, 64, 10):
            now = list(zip(parts[::2], parts[1::2], strict=True))
            rows = order[at : at + 10]
            gradients = [backpropagated(now, train[0][k], train[1][k]) for k in rows]
            for part, *of_samples in zip(parts, *gradients, strict=True):
                part -= np.mean(of_samples, axis=0)
        now = list(zip(parts[::2], parts[1::2], strict=True))
        wrong = sigmoid_digits.output(now, held[0]) - held[1]
        right = np.argmax(wrong + held[1], axis=1) == np.argmax(held[1], axis=1)
        measured.append((np.mean(np.sum(wrong**2, axis=1)), np.mean(right)))
    found = [part for layer in result.params for part in layer]
    for part, expected in zip(found, parts, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-9, atol=1e-12)
    losses, accuracies = zip(*measured, strict=True)
    values = result.validation.values
    np.testing.assert_allclose(values["loss"], losses, rtol=1e-9)
    np.testing.assert_array_equal(values["accuracy"], accuracies)


def test_it_reads_digits_that_it_was_not_shown(samples: Any, layers: Any) -> None:
    train, held = samples
    trainer = gradc.train(
        sigmoid_digits.cost, optimizer=gradc.optim.sgd(1.0), batch_size=10)
    result = trainer.fit(layers, train, epochs=15)
    assert sigmoid_digits.accuracy(layers, *held) < 0.3
    assert sigmoid_digits.accuracy(result.params, *held) > 0.9
