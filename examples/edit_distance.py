"""The edit distance of two words with a soft minimum: its gradient is the expected alignment.

Run it:  python examples/edit_distance.py

The distance is the least cost of a path through a table: down deletes a letter, right inserts one,
a diagonal step replaces one by another. With the soft minimum -t log(Σ exp(-c / t)) in place of the
minimum, all paths count, the cheap ones most. The derivative in the cost of one replacement is the
probability that the two letters are aligned.
"""

from __future__ import annotations

import numpy as np

import gradc


def soft_min(a, b, temperature):
    return -temperature * np.logaddexp(-a / temperature, -b / temperature)


@gradc.compile
def soft_distance(replace, gap, temperature):
    """The soft edit distance. replace: [n, m], the costs of replacing letter i by letter j."""
    n, m = replace.shape
    D = np.zeros((n + 1, m + 1))
    for i in range(1, n + 1):
        D[i, 0] = i * gap
    for j in range(1, m + 1):
        D[0, j] = j * gap
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            best = soft_min(D[i - 1, j] + gap, D[i, j - 1] + gap, temperature)
            D[i, j] = soft_min(best, D[i - 1, j - 1] + replace[i - 1, j - 1], temperature)
    return D[n, m]


def costs(a, b):
    """1 for letters that differ, and 0 for the same."""
    return np.not_equal.outer(list(a), list(b)).astype(float)


def show(a, b, alignment):
    """The table of probabilities, in shades."""
    print("\n      " + "  ".join(b))
    for letter, row in zip(a, alignment, strict=True):
        print(f"   {letter}  " + "  ".join("·░▒▓█"[min(int(5 * p), 4)] for p in row))


def main():
    for a, b in (("kitten", "sitting"), ("differentiation", "integration")):
        replace = costs(a, b)
        print(f"{a} -> {b}\n")
        for temperature in (0.01, 0.1, 0.5):
            value, alignment = soft_distance.value_and_grad(replace, 1.0, temperature)
            print(f"   temperature {temperature:4}   distance {value:8.4f}   "
                  f"letters aligned {alignment.sum():.2f}")
        show(a, b, soft_distance.grad(replace, 1.0, 0.1))
        print()


if __name__ == "__main__":
    main()
