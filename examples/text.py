"""A recurrent network, an LSTM, learns a text letter by letter, and then writes one.

Run it:  python examples/text.py [file]
Without a file it learns the Zen of Python, which ships with Python.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
import time
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import gradc

HIDDEN, LENGTH, BATCH = 64, 40, 32
EPOCHS = 1, 5, 20


def zen():
    with contextlib.redirect_stdout(io.StringIO()):  # importing it prints it
        import this
    return codecs.decode(this.s, "rot13")


def initial(letters, rng):
    def normal(*shape):
        return rng.standard_normal(shape) / np.sqrt(HIDDEN)

    bias = np.zeros(4 * HIDDEN)
    bias[HIDDEN : 2 * HIDDEN] = 1.0  # at first it remembers
    return {
        "letter": normal(letters, 4 * HIDDEN), "hidden": normal(HIDDEN, 4 * HIDDEN), "bias": bias,
        "out": normal(HIDDEN, letters), "out_bias": np.zeros(letters),
    }


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cell(params, letter, h, c):
    """Hochreiter and Schmidhuber's cell, with the gate that forgets: one letter further."""
    gates = params["letter"][letter] + h @ params["hidden"] + params["bias"]
    write = sigmoid(gates[:, :HIDDEN])
    keep = sigmoid(gates[:, HIDDEN : 2 * HIDDEN])
    show = sigmoid(gates[:, 2 * HIDDEN : 3 * HIDDEN])
    c = keep * c + write * np.tanh(gates[:, 3 * HIDDEN :])
    return show * np.tanh(c), c


def loss(params, windows):
    """The mean surprise at the next letter, over windows of text: (batch, LENGTH + 1)."""
    count, length = windows.shape
    h = c = np.zeros((count, HIDDEN))
    total = 0.0
    for t in range(length - 1):
        h, c = cell(params, windows[:, t], h, c)
        scores = h @ params["out"] + params["out_bias"]
        scores = scores - np.max(scores, axis=1, keepdims=True)
        log_p = scores - np.log(np.sum(np.exp(scores), axis=1, keepdims=True))
        total = total - np.mean(log_p[np.arange(count), windows[:, t + 1]])
    return total / (length - 1)


@gradc.compile
def write(params, first, key, temperature, length):
    """Letters that follow a first one, each drawn with the probability that the network gives."""
    h = c = np.zeros((1, HIDDEN))
    letter, letters = first, np.zeros(length, np.int64)
    for t in range(length):
        h, c = cell(params, np.reshape(letter, 1), h, c)
        scores = (h @ params["out"] + params["out_bias"])[0] / temperature
        # The largest of scores with Gumbel noise is a letter with the probability of its score.
        noise = gradc.random.uniform(gradc.random.fold_in(key, t), scores.shape)
        letter = np.argmax(scores - np.log(-np.log(noise)))
        letters[t] = letter
    return letters


def main():
    text = Path(sys.argv[1]).read_text() if len(sys.argv) > 1 else zen()
    alphabet, codes = np.unique(list(text), return_inverse=True)
    windows = sliding_window_view(codes.astype(np.uint8), LENGTH + 1)
    print(f"{len(text)} letters, {len(alphabet)} of them different; an LSTM of {HIDDEN} cells")

    params = initial(len(alphabet), np.random.default_rng(0))
    optimizer = gradc.optim.clip_norm(gradc.optim.adam(0.01), 1.0)
    trainer = gradc.train(loss, optimizer=optimizer, batch_size=BATCH)
    start = time.perf_counter()
    trainer.compile(params, (windows,))
    print(f"compiled in {time.perf_counter() - start:.2f} s")

    result = trainer.fit(params, (windows,), epochs=0)
    for epochs in EPOCHS:
        start, before = time.perf_counter(), result.steps
        result = trainer.fit(result, (windows,), epochs=epochs)  # goes on where it was
        took = time.perf_counter() - start
        print(f"\n{result.steps} steps, {(result.steps - before) / took:.0f} a second, "
              f"{result.losses[-1] / np.log(2):.2f} bits a letter")
        letters = write(result.params, codes[0], gradc.random.key(1), 0.5, length=240)
        print("    " + "".join(alphabet[letters]).replace("\n", "\n    "))


if __name__ == "__main__":
    main()
