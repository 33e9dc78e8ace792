"""Loops and branches on traced values, compiled: values as NumPy's, gradients as differences."""

from __future__ import annotations

import numpy as np
import pytest

import gradc

RNG = np.random.default_rng(7)
X = RNG.normal(size=40)


def relu(x):
    return x if x > 0 else 0.0


def sides(x):
    if x > 1:
        return x * 2
    elif x > 0:
        y = x**2
    else:
        y = np.sin(x)
    return y + 1


def newton(a):
    x = a
    while abs(x * x - a) > 1e-12:
        x = 0.5 * (x + a / x)
    return x


def newton_broken(a):
    x = a
    for _ in range(50):
        new = 0.5 * (x + a / x)
        if abs(new - x) < 1e-13:
            break
        x = new
    else:
        return -1.0
    return x


def newton_returned(a):
    x = a
    while True:
        new = 0.5 * (x + a / x)
        if abs(new - x) < 1e-13:
            return new
        x = new


def gauss_seidel(u, f):
    u = u.copy()
    n = u.shape[0]
    for _ in range(2):
        for i in range(1, n - 1):
            for j in range(1, n - 1):
                u[i, j] = 0.25 * (u[i - 1, j] + u[i + 1, j] + u[i, j - 1] + u[i, j + 1] - f[i, j])
    return np.sum(u**2)


def rows(x):
    total = 0.0
    for row in x:
        if np.sum(row) < 0:
            continue
        total += np.sum(row**2)
    return total


def pairs(x):
    total = 0.0
    for i, (a, b) in enumerate(zip(x, x[::-1], strict=False)):
        total += i * a * b
    for i in reversed(range(len(x))):
        total = total * 0.9 + x[i]
    return total


def largest(x):
    m = x[0]
    for i in range(1, len(x)):
        m = max(m, x[i])
    return m * m


def helper(v, low):
    if v < low:
        return low * v
    return v


def helped(x):
    out = np.zeros(len(x))
    for i in range(len(x)):
        out[i] = helper(x[i], 0.1)
    return np.sum(out * out)


def listed(x):
    terms = []
    for i in range(30):
        terms.append(x * i)
    return sum(terms)


def truths(x, y):
    if x > 0 and y > 0 or not x < 5:
        return x + y
    if 0 < x < 3:
        return x
    return (y or 1.0) * (x and y)


def nested(x):
    total = 0.0
    for i in range(20):
        for j in range(20):
            if j > i:
                break
            if x[j] > 1.0:
                continue
            total += x[i] * x[j]
        if total > 50:
            return total * 2
    return total


def counted_by_closure(x):
    total = 0.0

    def add(v):
        nonlocal total
        if v > 0:
            total = total + v * v

    for i in range(len(x)):
        add(x[i])
    return total


CASES = [
    (relu, 1.5), (relu, -1.5), (sides, 2.0), (sides, 0.5), (sides, -0.5), (newton, 2.0),
    (newton_broken, 3.0), (newton_returned, 5.0),
    (gauss_seidel, RNG.normal(size=(6, 6)), RNG.normal(size=(6, 6))),
    (gauss_seidel, RNG.normal(size=(20, 20)), RNG.normal(size=(20, 20))),
    (rows, RNG.normal(size=(30, 3))), (rows, RNG.normal(size=(5, 3))), (pairs, X),
    (pairs, X[:5]), (largest, X), (largest, X[:6]), (helped, X), (helped, X[:4]), (listed, 1.5),
    (truths, 1.0, 2.0), (truths, 1.0, -2.0), (truths, 7.0, -2.0), (truths, -7.0, -2.0),
    (nested, X), (nested, 5 * X), (counted_by_closure, X),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].__name__)
def test_values_and_gradients(case):
    function, first, *others = case
    compiled = gradc.compile(function)
    np.testing.assert_allclose(compiled(first, *others), function(first, *others), rtol=1e-12)
    direction = RNG.normal(size=np.shape(first))
    step = 1e-6
    slope = (function(first + step * direction, *others)
             - function(first - step * direction, *others)) / (2 * step)
    with gradc.config(jit=False):
        gradient = compiled.grad(first, *others)
    np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=2e-5, atol=1e-7)


def ops(compiled, *args):
    text = compiled.ir(*args, stage="traced", grad=False)
    return text.count(" = loop "), text.count(" = branch ")


def test_what_becomes_a_loop():
    def power(x, n):
        for _ in range(n):
            x = x * 1.5
        return x

    assert ops(gradc.compile(power, static_argnums=1), 2.0, 16) == (0, 0)
    assert ops(gradc.compile(power, static_argnums=1), 2.0, 17) == (1, 0)

    def forced(x):
        for _ in gradc.range(2):
            x = x * 1.5
        return x

    assert forced(2.0) == 4.5
    assert ops(gradc.compile(forced), 2.0) == (1, 0)
    assert gradc.compile(forced)(2.0) == 4.5
    assert ops(gradc.compile(rows), np.ones((16, 2)))[0] == 0
    assert ops(gradc.compile(rows), np.ones((17, 2)))[0] == 1
    assert ops(gradc.compile(listed), 2.0) == (0, 0)


def test_an_int_argument_is_no_reason_to_compile_again():
    traces = []

    @gradc.compile
    def power(x, n):
        traces.append(n)
        for _ in range(n):
            x = x * 1.5
        return x

    for n in (0, 1, 5, 40):
        assert power(2.0, n) == pytest.approx(2.0 * 1.5**n, rel=1e-15)
    assert len(traces) == 1

    @gradc.compile
    def growing(x, n):
        for _ in range(n):
            x = np.append(x, 1.0)
        return x

    for n in (0, 1, 3):
        assert growing(np.ones(2), n).shape == (2 + n,)


def test_numbers_that_python_can_know_stay_its_own():
    @gradc.compile
    def offsets(theta):
        size, total = 0, 0.0
        for k in range(20):
            total = total + np.sum(theta[:3]) * k
            size += 2
        return total + np.sum(np.ones(size))

    assert offsets(np.ones(5)) == 3 * 190 + 40


def test_an_array_keeps_its_other_names():
    @gradc.compile
    def sums(x):
        out = np.zeros(2)
        whole, part = {"out": out}, out[:1]
        for row in x:
            out += row
            if row[0] > 0:
                out[1] -= 1.0
        return whole["out"], part, out

    x = RNG.normal(size=(25, 2))
    want = x.sum(axis=0) - [0, np.sum(x[:, 0] > 0)]
    whole, part, out = sums(x)
    np.testing.assert_allclose(whole, want)
    np.testing.assert_allclose(part, want[:1])
    np.testing.assert_allclose(out, want)


class Model:
    def __init__(self, w):
        self.w = w

    def step(self, x):
        return self.w * x if x < 3 else x / 2

    @gradc.compile
    def run(self, x):
        for _ in range(30):
            x = self.step(x)
        return x


def test_methods_call_methods():
    model = Model(1.5)
    assert model.run(1.0) == pytest.approx(Model.run.__wrapped__(model, 1.0), rel=1e-14)


def test_rewriting_can_be_left_out():
    with pytest.raises(gradc.GradcError, match="truth of a traced value"):
        gradc.compile(relu, rewrite=False)(1.0)
    with pytest.raises(gradc.GradcError, match="rewrite=False"):
        gradc.compile(relu, rewrite=False).source()
    text = gradc.compile(relu).source()
    assert "gradc__.either(x > 0, lambda: x, lambda: 0.0)" in text
    with pytest.raises(gradc.GradcError, match="nothing in it branches"):
        gradc.compile(lambda x: x * x).source()


def test_in_other_transforms():
    value, slope = gradc.jvp(sides, (0.5,), (1.0,))
    assert (value, slope) == (1.25, 1.0)
    value, pull = gradc.vjp(sides, 0.5)
    assert (value, pull(2.0)[0]) == (1.25, 2.0)
    assert gradc.grad(gradc.grad(sides))(0.5) == 2.0

    def loss(w, x):
        return np.mean(np.where(x > 0, w, 1.0) ** 2) if w > 0 else w * w + np.mean(x)

    trainer = gradc.train(loss, optimizer=gradc.optim.sgd(0.1))
    after = trainer.fit(2.0, (np.array([1.0, -1.0]),), epochs=1)
    assert after.params == pytest.approx(2.0 - 0.1 * 2.0)


def test_a_nest_of_short_loops_is_unrolled_inside_alone() -> None:
    def f(x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        a = np.zeros((12, 12))
        for i in range(12):
            for j in range(12):
                s = x[i] * x[j]
                for k in range(12):
                    s = s + np.sin(a[i, k] * x[k])
                a[i, j] = s
        return np.sum(a)

    x = np.linspace(0.1, 0.5, 12)
    compiled = gradc.compile(f)
    np.testing.assert_allclose(compiled(x), f(x))
    assert compiled.ir(x, stage="traced").count("scatter_set") == 1
