"""Programs that write into parts of arrays of unknown length: the whole has what they write."""

from __future__ import annotations

import numpy as np

import gradc
from tests.dynamic.programs import A, X, program


@program(X)
def parts_of_computed(x):
    s = 0.0
    for i in gradc.range(2, 10):
        t = x[:i] * 2
        u = t[1:]
        u *= 3
        t[::-1][0] = 7.0
        t[:1] += u[0]
        column = t[:, None]
        column[0, 0] *= 0.5
        s += np.sum(t * t) + np.sum(u) + np.sum(column)
    return s


@program(X)
def parts_before_writes(x):
    t = x[x > 0]
    turned = t[::-1]
    t[0] = 9.0
    turned[0] *= 2
    return turned[0] + turned[-1] + np.sum(t)


@program(A)
def rows_of_computed(A):
    s = 0.0
    for i in gradc.range(2, 10):
        t = A[:i, :] * 2
        row = t[0]
        row[:] = 1.0
        t[1, 0] = 5.0
        q = t[:, 2:4]
        q[0, 0] = A[0, 0]
        q += 1
        t.T[3] *= 0.5
        s += np.sum(t * t)
    return s


@program(A)
def rows_of_views(A):
    a = A.copy()
    for i in gradc.range(2, 10):
        t = a[:i]
        t[0][3] = 4.0
        t[1:][0][0] = 7.0
        t[:, 5:][1:, 1:][0, 1:][2] = 6.0
        a[2][:i][:, None][1, 0] += 0.3
        a[i:, :i][:, -1] *= 1.5
        for row in t:
            row *= 1.1
    return a


@program(A)
def transposed_views(A):
    a = A.copy()
    for i in gradc.range(2, 10):
        q = a[:, :i].T
        q[0] = 1.0
        q *= 1.1
        w = np.transpose(a)[:i]
        w[:2, 1] += a[0, 0]
        a[:i, :i] = a[:i, :i].T
    return a


@program(X)
def the_same_array(x):
    a = x.copy()
    for i in gradc.range(2, 10):
        v = a[i:].astype(np.float64, copy=False)
        v[0] = 3.0
        v = np.asarray(a[:i], dtype=np.float64)
        v[0] *= 2.0
        v = np.real(a[:i])
        v[1] += 0.3
        v = a[:i].ravel()
        v[-1] *= 0.5
        v = a[:i].flatten()
        v[:] = 0.0
    return a


@program(A)
def parts_read_in_loops_inside(A):
    s = 0.0
    for i in gradc.range(2, 10):
        t = A[:i, :] * 2
        for j in gradc.range(i):
            s += np.sum(t[j] * t[-1]) + np.sum(t[:j, 1] ** 2)
    return s


@program(X)
def written_in_branches(x):
    s = 0.0
    for i in gradc.range(2, 10):
        t = x[:i] * 2
        if x[i] > 0:
            s += t[0]
            t[0] = 7.0
            t[1:] *= 0.5
        else:
            s += t[-1] * 2
        s += np.sum(t * t)
    return s


@program(X)
def written_in_loops(x):
    s = 0.0
    for i in gradc.range(2, 10):
        t = x[:i] * 2
        for j in gradc.range(i):
            s += t[0] * t[j]
            t[j] += x[i]
            if t[j] > 0:
                t[::-1][0] *= 0.9
        while np.sum(t * t) > 1:
            t *= 0.5
        s += np.sum(t)
    return s


@program(A)
def rows_written_in_loops(A):
    s = 0.0
    A = A.copy()
    for i in gradc.range(2, 10):
        t = A[:i, :] * 2
        A[0] += 1.0
        for row in t:
            A[i] += row
            row *= 2
        s += np.sum(t * t)
    return s


@program(A)
def methods_with_options(A):
    s = 0.0
    for i in gradc.range(2, 10):
        t = A[:i] * A[i]
        s += np.sum(t - t.mean(axis=1, keepdims=True)) + np.sum(t.sum(axis=0, keepdims=True) ** 2)
        s += np.sum(t / t.std(axis=1, keepdims=True)) + t.max(axis=1, keepdims=True).sum()
        s += np.sum(t.prod(axis=1, keepdims=True) * t.min(1, keepdims=True))
        s += np.sum(np.mean(t, 0, None, None, True)) + np.linalg.norm(t[0], 2) + t.var(0).sum()
    return s


@program(X)
def with_arrays_of_no_axes(x):
    n = np.argmax(x)
    v = x[:n] * np.where(x[0] > 0, x[1], 2.0) + np.array(x[2])
    v /= np.asarray(x[3])
    return np.sum(v * v)
