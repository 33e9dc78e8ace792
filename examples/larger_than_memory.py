"""Regression on data that may be larger than memory: files that are mapped, and never copied.

Run it:  python examples/larger_than_memory.py [megabytes]

It writes two .npy files into a temporary folder, block by block, and trains on their paths. Pages
of a mapped file are the system's: it reads them when they are touched, ahead of those that are read
in order, and takes them back when it wants memory. What a process itself occupies is its anonymous
memory (RssAnon in Linux's /proc/self/status), which hardly grows; its resident set (VmRSS, or
``ru_maxrss`` of getrusage) counts pages of files too, as long as nobody else wants the memory.

Of files larger than memory a sample from anywhere costs a page, with what the system reads around
it, or hundreds of kilobytes. So they are shuffled by blocks (``shuffle="blocks"``).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

import gradc

FEATURES, BATCH, EPOCHS, BLOCK = 100, 256, 4, 1 << 14
STATUS = Path("/proc/self/status")


def write(folder, megabytes, seed=0):
    """Files of so many megabytes in all: the paths, and the slope that the data follow."""
    samples = megabytes * 10**6 // (4 * (FEATURES + 1))
    paths = Path(folder, "x.npy"), Path(folder, "y.npy")
    x = open_memmap(paths[0], "w+", np.float32, (samples, FEATURES))
    y = open_memmap(paths[1], "w+", np.float32, (samples,))
    rng = np.random.default_rng(seed)
    slope = rng.standard_normal(FEATURES, np.float32)
    for at in range(0, samples, BLOCK):
        block = x[at : at + BLOCK]
        rng.standard_normal(dtype=np.float32, out=block)
        noise = rng.standard_normal(len(block), np.float32)
        y[at : at + BLOCK] = np.tanh(block @ slope / 10) + noise / 10
    return paths, slope


def loss(params, x, y):
    return np.mean((np.tanh(x @ params["slope"] / 10 + params["offset"]) - y) ** 2)


def memory():
    """Megabytes of this process in Linux: its own, and with pages of files."""
    fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return [int(fields[name].split()[0]) * 1024 / 1e6 for name in ("RssAnon", "VmRSS")]


def train(paths, shuffle, every_epoch, epochs=EPOCHS):
    """The result of training on files, which are only read."""
    params = {"slope": np.zeros(FEATURES, np.float32), "offset": np.float32(0)}
    rate = gradc.optim.step(0.01, every=500, factor=0.5)
    trainer = gradc.train(
        loss, optimizer=gradc.optim.adam(rate), batch_size=BATCH, shuffle=shuffle)
    trainer.compile(params, paths)
    every_epoch(-1, np.nan)
    return trainer.fit(params, paths, epochs=epochs, callback=every_epoch)


def main():
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        paths, slope = write(folder, megabytes)
        size = sum(path.stat().st_size for path in paths) / 1e6
        print(f"{size:.0f} MB written in {time.perf_counter() - start:.1f} s")

        def show(epoch, value):
            sizes = ""
            if STATUS.exists():
                own, both = memory()
                sizes = f"own memory {own:4.0f} MB, with pages of files {both:4.0f} MB"
            print(f"  {'compiled     ' if epoch < 0 else f'loss {value:.5f}'}   {sizes}")

        for shuffle in (False, "blocks"):
            print("\nshuffled by blocks" if shuffle else "\nin the order of the file")
            start = time.perf_counter()
            result = train(paths, shuffle, show)
            took = time.perf_counter() - start
            print(f"  {EPOCHS * size / took:.0f} MB a second; the slope is off by at most "
                  f"{np.abs(result.params['slope'] - slope).max():.3f}")


if __name__ == "__main__":
    main()
