"""Programs that write into slices of unknown length, and those of masks and places."""

from __future__ import annotations

import numpy as np

import gradc
from tests.dynamic.programs import IDX, A, X, Y, program


@program(X)
def in_place(x):
    x = x.copy()
    for i in gradc.range(1, 11):
        x[:i] *= 0.9
        x[i:] += x[i - 1]
    return x


@program(A)
def lu_by_outer_products(A):
    A = A.copy()
    for i in gradc.range(11):
        A[i + 1 :, i] /= 3 + A[i, i]
        A[i + 1 :, i + 1 :] -= 0.1 * np.outer(A[i + 1 :, i], A[i, i + 1 :])
    return A


@program(A)
def rows_and_columns(A):
    A = A.copy()
    for i in gradc.range(1, 11):
        A[:i, :] = A[:i, :] * 0.5 + A[i]
        A[i, i:] = A[i:, i]
        A[:i, :i] = A[:i, :i].T
    return A


@program(X)
def shifts(x):
    x = x.copy()
    for i in gradc.range(2, 11):
        x[1:i] = x[: i - 1] * 1.1
        x[: i - 1] = x[1:i] * 0.9
        x[:i] = x[:i][::-1]
    return x


@program(X)
def views_and_copies(x):
    x = x.copy()
    for i in gradc.range(2, 11):
        t = x[:i] * 2
        v = x[:i]
        x[0] = 7.0
        x[1:i] = t[1:] + v[0]
        v[:] = v + 1
        v[1] = 0.5
        v += t
    return x


@program(X)
def into_rows(x):
    out = np.zeros((12, 12))
    for i in gradc.range(1, 11):
        out[i, :i] = np.cumsum(x[:i])
        out[i, i:] = 3.0
        c = x[:i].copy()
        c[0] = 9.0
        out[i, :i] += c
    return out


@program(X, IDX)
def into_indices(x, idx):
    x = x.copy()
    for i in gradc.range(1, 11):
        x[idx[:i]] = x[:i] * 0.5
        x[idx[:i]] += 1.0
    return x


@program(A)
def swaps(A):
    A = A.copy()
    for i in gradc.range(1, 11):
        A[i, :i], A[:i, i] = A[:i, i], A[i, :i]
    return A


@program(X)
def into_out(x):
    x = x.copy()
    for i in gradc.range(1, 11):
        np.multiply(x[:i], 2.0, out=x[:i])
        np.add(x[:i], x[i], out=x[:i])
    return x


@program(X)
def elements_in_a_loop(x):
    s = 0.0
    for i in gradc.range(1, 11):
        for v in x[:i]:
            s += v * v
    return s


@program(X)
def zip_and_enumerate(x):
    s = 0.0
    for i in gradc.range(1, 11):
        for a, b in zip(x[:i], x[1 : i + 1], strict=False):
            s += a * b
        for k, a in enumerate(x[i:]):
            s += k * a
    return s


@program(X, 7)
def an_argument(x, n):
    return np.sum(x[:n])


@program(X)
def a_computed_bound(x):
    n = np.argmax(x)
    return np.sum(x[:n]) - np.sum(x[n:])


@program(X)
def sort(x):
    n = np.argmax(x)
    return np.sum(np.sort(x[: n + 2]))


@program(X)
def concatenation(x):
    n = np.argmax(x)
    return np.sum(np.concatenate([x[:n], x[n:]]))


@program(X)
def builtins_of_python(x):
    s = 0.0
    for i in gradc.range(2, 11):
        s += len(x[:i]) * x[0] + sum(x[:i]) + max(x[:i]) - min(x[i:])
    return s


@program(X)
def arrays_of_their_own(x):
    s = 0.0
    for i in gradc.range(2, 11):
        t = np.array(x[:i])
        t[0] = 5.0
        u = t
        u *= 2
        s += np.sum(t * x[:i])
        w = x[:i] * 2
        v = w
        v += 1
        v[0] = 0.0
        s += np.sum(w * x[:i]) + np.sum(v)
    return s


@program(X, A)
def in_branches(x, A):
    s = 0.0
    for i in gradc.range(2, 11):
        v = x[:i] * 2
        if x[i] > 0:
            v[0] = x[i]
            s += np.sum(v)
        else:
            s += np.max(x[i:]) * v[-1]
    return s


@program(X, A)
def halves(x, A):
    x = x.copy()
    n = 12
    while n > 1:
        h = n // 2
        x[:h] = x[:h] + x[h : 2 * h] * 0.5
        A = A * 0.9
        n = h
    return np.sum(x) + np.sum(A)


@program(X, A)
def selection_sort(x, A):
    a = x.copy()
    s = 0.0
    for k in gradc.range(5):
        p = np.argmin(a[k:]) + k
        t = a[k]
        a[k] = a[p]
        a[p] = t
        s += a[k] * np.sum(A[k, : k + 1])
    return s + np.sum(a * np.arange(12))


@program(X, A)
def gram_schmidt(x, A):
    Q = A.copy()
    for k in gradc.range(12):
        for j in gradc.range(k):
            Q[:, k] -= (Q[:, j] @ A[:, k]) * Q[:, j]
        Q[:, k] /= np.linalg.norm(Q[:, k])
    return Q


@program(X, A)
def gram_schmidt_by_products(x, A):
    Q = A.copy()
    for k in gradc.range(12):
        Q[:, k] -= Q[:, :k] @ (Q[:, :k].T @ Q[:, k])
        Q[:, k] /= np.linalg.norm(Q[:, k])
        Q[:, k + 1 :] *= 0.9
    return Q


@program(X, A)
def householder(x, A):
    Rm = A.copy()
    n = 12
    for k in gradc.range(n - 1):
        v = Rm[k:, k].copy()
        v[0] += np.sign(v[0]) * np.linalg.norm(v)
        v /= np.linalg.norm(v)
        Rm[k:, k:] -= 2.0 * np.outer(v, v @ Rm[k:, k:])
    return Rm


@program(X, A)
def of_views(x, A):
    s = 0.0
    for i in gradc.range(1, 11):
        row = A[i]
        s += np.sum(row[:i] * x[:i]) + np.sum(A.T[i, :i])
        A2 = A[2:8]
        s += np.sum(A2[:, i:]) + np.sum(A2[i // 2, :i])
    return s


@program(X, A)
def known_and_unknown(x, A):
    s = 0.0
    for i in gradc.range(1, 11):
        s += (
            np.sum(A[1:5, :i] * x[:i])
            + np.sum(A[:i, 2:4].sum(axis=0) ** 2)
            + np.sum(A[:i, ::2][..., -1])
        )
    return s


@program(X, A)
def weights(x, A):
    s = 0.0
    for i in gradc.range(1, 11):
        w = np.exp(-(x[:i] ** 2))
        w /= w.sum()
        s += w @ x[:i]
    return s


@program(X)
def of_a_mask(x):
    return x[x > 0].sum() + x[x < 0].mean() + np.std(x[np.abs(x) < 1])


@program(A)
def into_a_mask(A):
    A = A.copy()
    A[A > 0] = A[A > 0] ** 1.5
    A[A < -1] *= 2
    A[A < -2] = 0.5
    return A


@program(A, X)
def rows_of_a_mask(A, x):
    return np.sum(A[x > 0] @ x) + np.sum(A[x > 0].sum(axis=0) ** 2) + np.sum(A[x > 0][:, 2:4])


@program(X)
def masks_in_a_loop(x):
    s = 0.0
    for i in gradc.range(1, 11):
        s += np.sum(x[x > x[i]] ** 2)
        for v in x[x < 0]:
            s += v * v
    return s + len(x[x > 0])


@program(X, Y)
def one_mask_twice(x, y):
    m = (x > 0) & (y < 1)
    return np.dot(x[m], y[m]) + np.max(x[m]) + np.sum(np.sort(x[m])[:2])


@program(X)
def nonzero(x):
    k = np.nonzero(x > 0)[0]
    j = np.flatnonzero(x < 0)
    return np.sum(x[k] * 2) + np.sum(x[j] ** 2) + x[k[0]] * x[j[-1]] + np.sum(x[np.where(x > 0.5)])


@program(X)
def a_copy_of_a_mask(x):
    b = x[x > 0]
    b *= 2
    b[0] = 9.0
    return np.sum(b) + np.sum(x)


@program(X)
def nothing(x):
    return np.sum(x[x > 100]) + np.mean(x[x > 0])


@program(X, IDX)
def knapsack(x, weights):
    best = np.zeros(31)
    for k in range(12):
        w = weights[k] + 1
        best[w:] = np.maximum(best[w:], best[: 31 - w] + np.abs(x[k]))
    return best


@program(X)
def padded(x):
    out = np.zeros((3, 12))
    n = np.argmax(x)
    out[0, 12 - n :] = x[:n]
    out[1, :n] += x[12 - n :] * x[:n]
    return out


@program(1.0)
def sieve(x):
    prime = np.ones(50, dtype=bool)
    prime[:2] = False
    for k in gradc.range(2, 8):
        if prime[k]:
            prime[k * k :: k] = False
    return x * np.sum(np.nonzero(prime)[0])


@program(X)
def median_of_a_window(x):
    out = np.empty_like(x)
    for k in gradc.range(12):
        out[k] = np.median(x[max(0, k - 2) : min(12, k + 3)])
    return out


@program(X)
def increasing_subsequence(x):
    longest = np.ones(12)
    for k in gradc.range(1, 12):
        longest[k] = 1 + np.max(np.where(x[:k] < x[k], longest[:k], 0))
    return longest * x


@program(X)
def in_a_branch_of_a_loop(x):
    total = 0.0
    for i in gradc.range(1, 9):
        if np.sum(x[:i]) > 0.2:
            x = x * 0.9
            total += np.sum(x[:i] * x[:i]) + np.mean(np.append(x[i // 2 : i], 0.5))
    return total
