"""The circuits and networks of the classic lectures, to the digits that the lectures give."""

from __future__ import annotations

import numpy as np
import pytest

import gradc

rng = np.random.default_rng(0)


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


# -- circuits ------------------------------------------------------------------------------------


def test_product_of_a_sum():
    @gradc.compile(argnums=(0, 1, 2))
    def f(x, y, z):
        return (x + y) * z

    assert f(-2, 5, -4) == -12
    value, gradient = f.value_and_grad(-2, 5, -4)
    assert value == -12
    assert gradient == (-4, -4, 3)
    assert all(type(g) is np.float64 for g in gradient)


def test_sigmoid_neuron():
    @gradc.compile(argnums=(0, 1))
    def neuron(w, x):
        return 1 / (1 + np.exp(-(w[0] * x[0] + w[1] * x[1] + w[2])))

    value, (dw, dx) = neuron.value_and_grad([2, -3, -3], [-1, -2])
    assert round(float(value), 2) == 0.73
    np.testing.assert_allclose(dw, [-0.20, -0.39, 0.20], atol=0.005)
    np.testing.assert_allclose(dx, [0.39, -0.59], atol=0.005)


@pytest.mark.parametrize(
    ("rest", "at", "slope"),
    [
        (lambda t: 1 / t, 1 + np.exp(-1.0), -0.53),
        (lambda t: 1 / (t + 1), np.exp(-1.0), -0.53),
        (lambda t: 1 / (np.exp(t) + 1), -1.0, -0.20),
        (lambda t: 1 / (np.exp(t * -1) + 1), 1.0, 0.20),
    ],
)
def test_sigmoid_gate_by_gate(rest, at, slope):
    """What flows back out of each of the gates ·(−1), exp, +1, 1/x."""
    assert round(float(gradc.grad(rest)(at)), 2) == slope


def patterns(x, y, z, w):
    return 2 * (x * y + max_gate(z, w))


def max_gate(z, w):
    return np.maximum(z, w)


def test_add_mul_max():
    value, gradient = gradc.value_and_grad(patterns, argnums=(0, 1, 2, 3))(3, -4, 2, -1)
    assert value == -20
    assert gradient == (-8, 6, 2, 0)


def test_tie_at_a_max_gate():
    """Both inputs are the maximum: they share the slope equally."""
    assert gradc.grad(max_gate, argnums=(0, 1))(2.0, 2.0) == (0.5, 0.5)
    assert gradc.grad(patterns, argnums=(2, 3))(3, -4, 2, 2) == (1, 1)


def test_squared_norm_of_a_product():
    @gradc.compile(argnums=("W", "x"))
    def f(W, x):
        return np.sum((W @ x) ** 2)

    W, x = [[0.1, 0.5], [-0.3, 0.8]], [0.2, 0.4]
    value, (dW, dx) = f.value_and_grad(W, x)
    assert round(float(value), 3) == 0.116
    np.testing.assert_allclose(dW, [[0.088, 0.176], [0.104, 0.208]], rtol=1e-12)
    np.testing.assert_allclose(dx, [-0.112, 0.636], rtol=1e-12)
    np.testing.assert_allclose(f(W, x), 0.116)


def test_neuron_with_squared_cost():
    @gradc.compile(argnums=(0, 1))
    def cost(b, W, x, y):
        return (sigmoid(b + np.dot(W, x)) - y) ** 2

    b, W, x, y = -2.0, np.array([-1, 0.5, 10]), np.array([4.0, -2, 1]), 1.0
    value, (db, dW) = cost.value_and_grad(b, W, x, y)
    a = sigmoid(3.0)  # −2 − 4 − 1 + 10
    np.testing.assert_allclose(value, (a - y) ** 2, rtol=1e-14)
    np.testing.assert_allclose(db, 2 * (a - y) * a * (1 - a), rtol=1e-12)
    np.testing.assert_allclose(dW, db * x, rtol=1e-12)


# -- linear models -------------------------------------------------------------------------------


def test_linear_regression_closed_gradient():
    X, y, w, b = rng.normal(size=(50, 3)), rng.normal(size=50), rng.normal(size=3), 0.3

    @gradc.compile(argnums=(0, 1))
    def loss(w, b, X, y):
        return np.mean((X @ w + b - y) ** 2)

    value, (dw, db) = loss.value_and_grad(w, b, X, y)
    residual = X @ w + b - y
    np.testing.assert_allclose(value, np.mean(residual**2), rtol=1e-14)
    np.testing.assert_allclose(dw, 2 / 50 * X.T @ residual, rtol=1e-12)
    np.testing.assert_allclose(db, 2 * residual.mean(), rtol=1e-12)


def test_sigmoid_perceptron_closed_gradient():
    X, w, b = rng.normal(size=(40, 4)), rng.normal(size=4), -0.2
    y = (rng.random(40) < 0.5).astype(float)

    @gradc.compile(argnums=(0, 1))
    def loss(w, b, X, y):
        p = sigmoid(X @ w + b)
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

    _, (dw, db) = loss.value_and_grad(w, b, X, y)
    p = sigmoid(X @ w + b)
    np.testing.assert_allclose(dw, X.T @ (p - y) / 40, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(db, np.mean(p - y), rtol=1e-10, atol=1e-14)


# -- scores and their losses ---------------------------------------------------------------------


def svm_loss(scores, y):
    """Multiclass SVM loss with margin 1, mean over the rows."""
    rows = np.arange(scores.shape[0])
    margins = np.maximum(0, scores - scores[rows, y][:, None] + 1)
    return np.mean(np.sum(margins, axis=1) - 1)  # the correct class contributes its margin, 1


def softmax_loss(scores, y):
    """Cross-entropy of the softmax, mean over the rows."""
    shifted = scores - np.max(scores, axis=1, keepdims=True)
    log_p = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    return -np.mean(log_p[np.arange(scores.shape[0]), y])


def svm_slope(scores, y):
    rows = np.arange(len(y))
    active = (scores - scores[rows, y][:, None] + 1 > 0).astype(float)
    active[rows, y] = 0
    active[rows, y] = -active.sum(axis=1)
    return active / len(y)


def softmax_slope(scores, y):
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return p / len(y)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(
    ("data_loss", "slope"), [(svm_loss, svm_slope), (softmax_loss, softmax_slope)]
)
def test_score_functions(layers, data_loss, slope):
    """W x, W2 max(0, W1 x) and W3 max(0, W2 max(0, W1 x)), each with L2."""
    sizes = [5, 7, 6, 4][: layers] + [3]
    weights = [rng.normal(size=(m, n)) for m, n in zip(sizes[:-1], sizes[1:], strict=True)]
    X, y, reg = rng.normal(size=(8, 5)), rng.integers(0, 3, 8), 0.1

    @gradc.compile
    def loss(weights, X, y):
        hidden = X
        for W in weights[:-1]:
            hidden = np.maximum(0, hidden @ W)
        return data_loss(hidden @ weights[-1], y) + reg * sum(np.sum(W * W) for W in weights)

    value, gradients = loss.value_and_grad(weights, X, y)
    assert isinstance(gradients, list)

    activations = [X]
    for W in weights[:-1]:
        activations.append(np.maximum(0, activations[-1] @ W))
    scores = activations[-1] @ weights[-1]
    expected = data_loss(scores, y) + reg * sum(np.sum(W * W) for W in weights)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    back = slope(scores, y)
    for k in reversed(range(layers)):
        by_hand = activations[k].T @ back + 2 * reg * weights[k]
        np.testing.assert_allclose(gradients[k], by_hand, rtol=1e-10, atol=1e-13)
        back = (back @ weights[k].T) * (activations[k] > 0)


def toy_network():
    np.random.seed(0)
    params = {
        "W1": 0.1 * np.random.randn(4, 10), "b1": np.zeros(10),
        "W2": 0.1 * np.random.randn(10, 3), "b2": np.zeros(3),
    }
    np.random.seed(1)
    return params, 10 * np.random.randn(5, 4), np.array([0, 1, 2, 2, 1])


@gradc.compile
def toy_scores(params, X):
    hidden = np.maximum(0, X @ params["W1"] + params["b1"])
    return hidden @ params["W2"] + params["b2"]


@gradc.compile
def toy_loss(params, X, y):
    penalty = np.sum(params["W1"] ** 2) + np.sum(params["W2"] ** 2)
    return softmax_loss(toy_scores(params, X), y) + 0.05 * penalty


def test_two_layer_toy_network():
    params, X, y = toy_network()
    first = toy_scores(params, X)[0]
    np.testing.assert_allclose(first, [-0.81233741, -1.27654624, -0.70335995], atol=5e-9)
    assert round(float(toy_loss(params, X, y)), 11) == 1.30378789133
    gradient = toy_loss.grad(params, X, y)
    assert list(gradient) == ["W1", "b1", "W2", "b2"]
    gradc.check_grads(lambda p: toy_loss(p, X, y), (params,), order=1)


# -- networks by gradient descent ----------------------------------------------------------------


def test_sigmoid_network_of_13_weights():
    """2-3-1 with biases, full-batch gradient descent against the gradient by hand."""
    X = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    y = np.array([[0.0], [1], [1], [0]])
    start = [rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=(3, 1)),
             rng.normal(size=1)]
    assert sum(p.size for p in start) == 13

    @gradc.compile
    def cost(params, X, y):
        W1, b1, W2, b2 = params
        return 0.5 * np.sum((sigmoid(sigmoid(X @ W1 + b1) @ W2 + b2) - y) ** 2)

    ours, by_hand = list(start), [p.copy() for p in start]
    costs = []
    for _ in range(300):
        value, gradient = cost.value_and_grad(ours, X, y)
        costs.append(value)
        ours = [p - 2.0 * g for p, g in zip(ours, gradient, strict=True)]

        W1, b1, W2, b2 = by_hand
        hidden = sigmoid(X @ W1 + b1)
        out = sigmoid(hidden @ W2 + b2)
        d_out = (out - y) * out * (1 - out)
        d_hidden = d_out @ W2.T * hidden * (1 - hidden)
        slopes = [X.T @ d_hidden, d_hidden.sum(0), hidden.T @ d_out, d_out.sum(0)]
        by_hand = [p - 2.0 * g for p, g in zip(by_hand, slopes, strict=True)]
    assert costs[-1] < costs[0] / 2
    for mine, theirs in zip(ours, by_hand, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-8, atol=1e-10)


def test_network_of_eleven_lines():
    """Its update is gradient descent of rate 1 on half the squared error."""
    X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    y = np.array([[0, 1, 1, 0]]).T
    np.random.seed(1)
    syn0, syn1 = 2 * np.random.random((3, 4)) - 1, 2 * np.random.random((4, 1)) - 1

    @gradc.compile
    def cost(weights, X, y):
        return 0.5 * np.sum((y - sigmoid(sigmoid(X @ weights[0]) @ weights[1])) ** 2)

    weights = (syn0.copy(), syn1.copy())
    for _ in range(200):
        d0, d1 = cost.grad(weights, X, y)
        weights = (weights[0] - d0, weights[1] - d1)

        l1 = 1 / (1 + np.exp(-(np.dot(X, syn0))))
        l2 = 1 / (1 + np.exp(-(np.dot(l1, syn1))))
        l2_delta = (y - l2) * (l2 * (1 - l2))
        l1_delta = l2_delta.dot(syn1.T) * (l1 * (1 - l1))
        syn1 += l1.T.dot(l2_delta)
        syn0 += X.T.dot(l1_delta)
    np.testing.assert_allclose(weights[0], syn0, rtol=1e-9)
    np.testing.assert_allclose(weights[1], syn1, rtol=1e-9)


def test_network_of_eleven_lines_in_one_native_loop():
    X = np.array([[0.0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    y = np.array([[0.0, 1, 1, 0]]).T
    np.random.seed(1)
    syn0, syn1 = 2 * np.random.random((3, 4)) - 1, 2 * np.random.random((4, 1)) - 1

    def cost(weights, X, y):
        return 0.5 * np.sum((y - sigmoid(sigmoid(X @ weights[0]) @ weights[1])) ** 2)

    trainer = gradc.train(cost, optimizer=gradc.optim.sgd(1.0))
    result = trainer.fit((syn0, syn1), (X, y), epochs=60_000)
    for _ in range(60_000):
        l1 = 1 / (1 + np.exp(-(np.dot(X, syn0))))
        l2 = 1 / (1 + np.exp(-(np.dot(l1, syn1))))
        l2_delta = (y - l2) * (l2 * (1 - l2))
        l1_delta = l2_delta.dot(syn1.T) * (l1 * (1 - l1))
        syn1 += l1.T.dot(l2_delta)
        syn0 += X.T.dot(l1_delta)
    np.testing.assert_allclose(result.params[0], syn0, rtol=1e-9)
    np.testing.assert_allclose(result.params[1], syn1, rtol=1e-9)
    assert result.losses[-1] < 1e-4 < 0.1 < result.losses[0]


def test_five_sigmoid_layers():
    """σ(W5 σ(W4 σ(W3 σ(W2 σ(W1 x))))) summed, and the gradients of its five matrices."""
    sizes = [4, 6, 5, 5, 3, 2]
    weights = tuple(rng.normal(size=(n, m)) for m, n in zip(sizes[:-1], sizes[1:], strict=True))
    x = rng.normal(size=4)

    @gradc.compile(argnums=(0, 1, 2, 3, 4))
    def deep(W1, W2, W3, W4, W5, x):
        return np.sum(sigmoid(W5 @ sigmoid(W4 @ sigmoid(W3 @ sigmoid(W2 @ sigmoid(W1 @ x))))))

    value, gradients = deep.value_and_grad(*weights, x)
    activations = [x]
    for W in weights:
        activations.append(sigmoid(W @ activations[-1]))
    np.testing.assert_allclose(value, activations[-1].sum(), rtol=1e-13)
    back = np.ones(2)
    for k in reversed(range(5)):
        delta = back * activations[k + 1] * (1 - activations[k + 1])
        np.testing.assert_allclose(gradients[k], np.outer(delta, activations[k]), rtol=1e-9)
        back = weights[k].T @ delta
    gradc.check_grads(lambda *W: deep(*W, x), weights, order=2)
