"""A network that reads handwritten digits leaves Python: a C program classifies and trains it on.

Run it:  python examples/export/digits.py
It trains the network 784-16-16-10 for a while, exports it as a C library, builds digits.c against
the header and the library alone, and has it train on: to the same losses as Python, bit for bit.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import gradc

SIZES = (784, 16, 16, 10)
BATCH, LR, SEED = 32, 3.0, 1
HERE = Path(__file__).parent


def digits():
    """1797 images of 28 x 28, the originals scaled up, and their classes, one-hot."""
    images, classes = load_digits(return_X_y=True)
    large = np.kron(images.reshape(-1, 8, 8) / 16, np.ones((4, 4)))[:, 2:-2, 2:-2]
    return large.reshape(-1, 784).copy(), np.eye(10)[classes]


def initial(rng):
    """Weights of each layer, whose last row are the biases."""
    pairs = zip(SIZES[:-1], SIZES[1:], strict=True)
    return [rng.normal(size=(n + 1, m)) / np.sqrt(n) for n, m in pairs]


def outputs(weights, x):
    for w in weights:
        x = 1 / (1 + np.exp(-(x @ w[:-1] + w[-1])))
    return x


def loss(weights, x, t):
    """Half the squared error of an example, averaged over the batch."""
    return np.sum((outputs(weights, x) - t) ** 2) / (2 * len(x))


def classify(weights, x):
    return np.argmax(outputs(weights, x))


def trainer():
    return gradc.train(loss, gradc.optim.sgd(LR), BATCH)


def export(folder, weights, data, formats, target=None):
    """Write the library digits: digits_init, digits_step, digits_train and digits_classify."""
    return trainer().export(
        Path(folder) / "digits", weights, data, formats=formats, target=target,
        functions={"classify": (classify, "f64[784]")},
    )


def write_data(path, data):
    """The arrays as a C program reads them: one after the other, numbers of 8 bytes."""
    with open(path, "wb") as file:
        for array in data:
            array.tofile(file)


def build(folder):
    """The program, built by the C compiler."""
    program = Path(folder) / "digits"
    command = ["cc", "-O2", "-std=c99", "-Wall", "-Wextra", "-Werror", HERE / "digits.c",
               "-I", folder, "-L", folder, "-ldigits", f"-Wl,-rpath,{folder}", "-o", program]
    subprocess.run(list(map(str, command)), check=True)
    return program


def main(epochs=5):
    data = digits()
    weights = trainer().fit(initial(np.random.default_rng(0)), data, epochs=epochs).params
    count = sum(w.size for w in weights)
    print(f"{count} weights, {epochs} epochs in Python")
    with tempfile.TemporaryDirectory() as folder:
        made = export(folder, weights, data, ("so", "h"))
        size = made.files["so"].stat().st_size
        print(f"{made.files['so'].name}: {size:,} bytes; digits.h: {len(made.functions)} functions")
        write_data(Path(folder) / "digits.dat", data)
        command = [build(folder), Path(folder) / "digits.dat", str(epochs), str(SEED)]
        printed = subprocess.run(
            list(map(str, command)), check=True, capture_output=True, text=True
        ).stdout
    print(printed, end="")
    in_c = [float.fromhex(line.split()[-1]) for line in printed.splitlines() if "0x" in line]
    in_python = trainer().fit(weights, data, epochs=epochs, seed=SEED).losses
    if in_c != list(in_python):
        sys.exit("the losses differ from Python's")
    print(f"{epochs} more epochs in Python give the same losses, to the last bit")


if __name__ == "__main__":
    main()
