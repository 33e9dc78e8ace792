"""Gradients by hand for Numba: the loops that one would write in C, one pass where one suffices.

Every function takes the parameters and the data of its workload and returns the value, then the
gradients. They run in plain Python too, slowly. Constants are of the arrays' type: in Numba an
integer beside a float32 makes a float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads.workload import Array


def squares(x: Array) -> Any:
    gradient = np.empty_like(x)
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i] * x[i]
        gradient[i] = x[i] + x[i]
    return total, gradient


def rosenbrock(x: Array) -> Any:
    gradient = np.zeros_like(x)
    one, hundred = x.dtype.type(1), x.dtype.type(100)
    total = x.dtype.type(0)
    for i in range(x.size - 1):
        step, rest = x[i + 1] - x[i] * x[i], one - x[i]
        pull = hundred * step
        total += pull * step + rest * rest
        gradient[i] -= (pull + pull) * (x[i] + x[i]) + rest + rest
        gradient[i + 1] += pull + pull
    return total, gradient


def chain(x: Array) -> Any:
    gradient = np.empty_like(x)
    one, total = x.dtype.type(1), x.dtype.type(0)
    for i in range(x.size):
        square, double = x[i] * x[i], x[i] + x[i]
        bell, sine = np.exp(-square), np.sin(x[i])
        total += sine * bell + np.log1p(square)
        gradient[i] = bell * (np.cos(x[i]) - double * sine) + double / (one + square)
    return total, gradient


def logistic_regression(w: Array, x: Array, y: Array) -> Any:
    gradient = np.zeros_like(w)
    one, total = w.dtype.type(1), w.dtype.type(0)
    for i in range(x.shape[0]):
        score = w.dtype.type(0)
        for j in range(w.size):
            score += x[i, j] * w[j]
        bell = np.exp(-y[i] * score)
        total += np.log1p(bell)
        slope = -y[i] * bell / (one + bell)
        for j in range(w.size):
            gradient[j] += slope * x[i, j]
    return total / x.shape[0], gradient / x.dtype.type(x.shape[0])


def logsumexp(x: Array) -> Any:
    gradient = np.empty_like(x)
    largest, total = x[0], x.dtype.type(0)
    for i in range(x.size):
        largest = max(largest, x[i])
    for i in range(x.size):
        gradient[i] = np.exp(x[i] - largest)
        total += gradient[i]
    scale = x.dtype.type(1) / total
    for i in range(x.size):
        gradient[i] *= scale
    return largest + np.log(total), gradient


def cross_entropy(z: Array, y: Array, rows: Array) -> Any:
    d = np.empty_like(z)
    zero, share = z.dtype.type(0), z.dtype.type(1 / z.shape[0])
    value = zero
    for i in range(z.shape[0]):
        largest, total = z[i, 0], zero
        for j in range(z.shape[1]):
            largest = max(largest, z[i, j])
        for j in range(z.shape[1]):
            d[i, j] = np.exp(z[i, j] - largest)
            total += d[i, j]
        value += largest + np.log(total) - z[i, y[i]]
        scale = share / total
        for j in range(z.shape[1]):
            d[i, j] *= scale
        d[i, y[i]] -= share
    return value * share, d


def layer_norm(x: Array, gain: Array, bias: Array, target: Array) -> Any:
    n, one, zero = x.dtype.type(x.shape[1]), x.dtype.type(1), x.dtype.type(0)
    dx, dgain, dbias = np.empty_like(x), np.zeros_like(gain), np.zeros_like(bias)
    value = zero
    for i in range(x.shape[0]):
        mean, variance, first, second = zero, zero, zero, zero
        for j in range(x.shape[1]):
            mean += x[i, j]
        mean /= n
        for j in range(x.shape[1]):
            variance += (x[i, j] - mean) ** 2
        inverse = one / np.sqrt(variance / n + x.dtype.type(1e-5))
        for j in range(x.shape[1]):
            normal = (x[i, j] - mean) * inverse
            value += (normal * gain[j] + bias[j]) * target[i, j]
            dgain[j] += target[i, j] * normal
            dbias[j] += target[i, j]
            first += target[i, j] * gain[j]
            second += target[i, j] * gain[j] * normal
        first /= n
        second /= n
        for j in range(x.shape[1]):
            normal = (x[i, j] - mean) * inverse
            dx[i, j] = inverse * (target[i, j] * gain[j] - first - normal * second)
    return value, dx, dgain, dbias


def regression(*arrays: Array) -> Any:
    w1, b1, w2, b2, w3, b3, x, y = arrays
    h1 = np.tanh(np.dot(x, w1) + b1)
    h2 = np.tanh(np.dot(h1, w2) + b2)
    d3 = np.dot(h2, w3) + b3 - y
    value = np.sum(d3 * d3) / d3.size
    d3 *= y.dtype.type(2 / d3.size)
    one = y.dtype.type(1)
    d2 = np.dot(d3, w3.T) * (one - h2 * h2)
    d1 = np.dot(d2, w2.T) * (one - h1 * h1)
    return (
        value, np.dot(x.T, d1), d1.sum(axis=0), np.dot(h1.T, d2), d2.sum(axis=0),
        np.dot(h2.T, d3), d3.sum(axis=0),
    )


def classifier(
    w1: Array, b1: Array, w2: Array, b2: Array, x: Array, y: Array, rows: Array
) -> Any:
    zero, share = x.dtype.type(0), x.dtype.type(1 / x.shape[0])
    hidden = np.maximum(np.dot(x, w1) + b1, zero)
    z = np.dot(hidden, w2) + b2
    value = zero
    for i in range(z.shape[0]):
        largest, total, right = z[i, 0], zero, z[i, y[i]]
        for j in range(z.shape[1]):
            largest = max(largest, z[i, j])
        for j in range(z.shape[1]):
            z[i, j] = np.exp(z[i, j] - largest)
            total += z[i, j]
        value += largest + np.log(total) - right
        for j in range(z.shape[1]):
            z[i, j] *= share / total
        z[i, y[i]] -= share
    d = np.dot(z, w2.T)
    for i in range(d.shape[0]):
        for j in range(d.shape[1]):
            if hidden[i, j] <= 0:
                d[i, j] = 0
    return (
        value * share, np.dot(x.T, d), d.sum(axis=0), np.dot(hidden.T, z), z.sum(axis=0)
    )


def machine(w: Array, x: Array, y: Array, rows: Array) -> Any:
    d = np.dot(x, w)
    n, value = x.shape[0], w.dtype.type(0)
    for i in range(n):
        right, count = d[i, y[i]], 0
        for j in range(w.shape[1]):
            margin = d[i, j] - right + 1
            if margin > 0:
                value += margin
                count += 1
                d[i, j] = 1 / n
            else:
                d[i, j] = 0
        d[i, y[i]] -= count / n
    gradient = np.dot(x.T, d)
    ridge = w.dtype.type(0)
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            ridge += w[i, j] * w[i, j]
            gradient[i, j] += 2e-3 * w[i, j]
    return value / n + 1e-3 * ridge, gradient


def mixture(
    weights: Array, means: Array, diagonal: Array, lower: Array, x: Array, below: Array
) -> Any:
    (k, d), n = means.shape, x.shape[0]
    half = x.dtype.type(0.5)
    scale = np.exp(diagonal)
    dmeans, dscale, dlower = np.zeros_like(means), np.zeros_like(means), np.zeros_like(lower)
    mass, shift = np.zeros_like(weights), weights + diagonal.sum(axis=1)
    terms, z, apart = np.empty_like(weights), np.empty_like(means), np.empty_like(means)
    value = weights.dtype.type(0)
    for i in range(n):
        for c in range(k):
            square = x.dtype.type(0)
            for j in range(d):
                apart[c, j] = x[i, j] - means[c, j]
                z[c, j] = apart[c, j] * scale[c, j]
                for e in range(j):
                    z[c, j] += lower[c, j, e] * apart[c, e]
                square += z[c, j] * z[c, j]
            terms[c] = shift[c] - half * square
        largest = terms.max()
        terms[:] = np.exp(terms - largest)
        total = terms.sum()
        value -= np.log(total) + largest
        for c in range(k):
            share = terms[c] / total
            mass[c] += share
            for j in range(d):
                dz = share * z[c, j]
                dscale[c, j] += dz * apart[c, j]
                dmeans[c, j] -= dz * scale[c, j]
                for e in range(j):
                    dlower[c, j, e] += dz * apart[c, e]
                    dmeans[c, e] -= dz * lower[c, j, e]
    heaviest = weights.max()
    each = np.exp(weights - heaviest)
    value += n * (np.log(each.sum()) + heaviest) - diagonal.sum()
    for c in range(k):
        for j in range(d):
            value += scale[c, j] ** 2 / 2
            dscale[c, j] = (dscale[c, j] + scale[c, j]) * scale[c, j] - 1 - mass[c]
            for e in range(j):
                value += lower[c, j, e] ** 2 / 2
                dlower[c, j, e] += lower[c, j, e]
    return value, weights.dtype.type(n) * each / each.sum() - mass, dmeans, dscale, dlower


def kmeans(centres: Array, x: Array) -> Any:
    gradient = np.zeros_like(centres)
    value = x.dtype.type(0)
    for i in range(x.shape[0]):
        nearest, least = 0, value
        for c in range(centres.shape[0]):
            distance = x.dtype.type(0)
            for j in range(x.shape[1]):
                distance += (x[i, j] - centres[c, j]) ** 2
            if c == 0 or distance < least:
                nearest, least = c, distance
        value += least
        for j in range(x.shape[1]):
            apart = x[i, j] - centres[nearest, j]
            gradient[nearest, j] -= apart + apart
    return value, gradient


def stencil(u: Array, across: Array, down: Array, f: Array) -> Any:
    du, dacross, ddown = np.zeros_like(u), np.zeros_like(across), np.zeros_like(down)
    two, value = u.dtype.type(2), u.dtype.type(0)
    for i in range(1, u.shape[0] - 1):
        for j in range(1, u.shape[1] - 1):
            row = u[i, j + 1] - two * u[i, j] + u[i, j - 1]
            column = u[i + 1, j] - two * u[i, j] + u[i - 1, j]
            rest = across[i - 1] * row + down[j - 1] * column - f[i - 1, j - 1]
            value += rest * rest
            twice = two * rest
            a, b = twice * across[i - 1], twice * down[j - 1]
            dacross[i - 1] += twice * row
            ddown[j - 1] += twice * column
            du[i, j + 1] += a
            du[i, j - 1] += a
            du[i + 1, j] += b
            du[i - 1, j] += b
            du[i, j] -= two * (a + b)
    return value, du, dacross, ddown


def embedding(table: Array, w: Array, tokens: Array, y: Array) -> Any:
    gradient, dw = np.zeros_like(table), np.zeros_like(w)
    (bags, length), value = tokens.shape, w.dtype.type(0)
    bag = np.empty_like(w)
    for i in range(bags):
        bag[:] = 0
        for t in range(length):
            for j in range(w.size):
                bag[j] += table[tokens[i, t], j]
        error = -y[i]
        for j in range(w.size):
            bag[j] /= length
            error += bag[j] * w[j]
        value += error * error
        slope = 2 * error / bags
        for j in range(w.size):
            dw[j] += slope * bag[j]
        slope /= length
        for t in range(length):
            for j in range(w.size):
                gradient[tokens[i, t], j] += slope * w[j]
    return value / bags, gradient, dw
