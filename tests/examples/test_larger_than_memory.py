"""Training on files that are mapped: the steps against NumPy's, and the memory it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.examples.loading import EXAMPLES, load

larger = load("larger_than_memory")

#: megabytes of anonymous memory before training, and as much as it grew: from files, from arrays
MEASURE = """
import json, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import larger_than_memory as larger
paths = sys.argv[2], sys.argv[3]
sizes = []
def note(epoch, loss):
    sizes.append(larger.memory()[0])
for shuffle in (False, True, "blocks"):
    larger.train(paths, shuffle, note, epochs=2)
files = sizes[:]
larger.train([np.load(path) for path in paths], False, note, epochs=2)
print(json.dumps([max(files[1:3] + files[4:]) - files[0], sizes[-1] - files[0]]))
"""


@pytest.fixture
def written(tmp_path: Path) -> Any:
    return larger.write(tmp_path, 20)


def test_the_file_holds_what_the_data_follow(written: Any) -> None:
    (x, y), slope = (map(np.load, written[0])), written[1]
    assert x.dtype == y.dtype == np.float32
    assert len(x) == len(y) == 20 * 10**6 // (4 * 101)
    assert len(x) > 2 * larger.BLOCK and len(x) % larger.BLOCK
    noise = y - np.tanh(x @ slope / 10)
    np.testing.assert_allclose([x.mean(), x.std(), noise.mean(), noise.std()], [0, 1, 0, 0.1],
                               atol=3e-3)


def adam(x: Any, y: Any, epochs: int) -> Any:
    """Kingma & Ba's steps in float64, with the gradient by hand, through the data in order."""
    params, mean, square = (np.zeros(larger.FEATURES + 1) for _ in range(3))
    step = 0
    for _ in range(epochs):
        for at in range(0, len(x), larger.BATCH):
            a = np.c_[x[at : at + larger.BATCH] / 10, np.ones(len(x[at : at + larger.BATCH]))]
            p = np.tanh(a @ params)
            grad = a.T @ (2 * (p - y[at : at + larger.BATCH]) * (1 - p * p)) / len(a)
            mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad**2
            rate = 0.01 * 0.5 ** (step // 500)
            step += 1
            root = np.sqrt(square / (1 - 0.999**step)) + 1e-8
            params = params - rate * mean / (1 - 0.9**step) / root
    return params


def test_the_steps_are_adams(written: Any) -> None:
    x, y = (np.load(path, mmap_mode="r")[:10_000] for path in written[0])
    result = larger.train((x, y), False, lambda *_: None, epochs=2)
    expected = adam(np.array(x), np.array(y), 2)
    np.testing.assert_allclose(result.params["slope"], expected[:-1], atol=2e-5)
    np.testing.assert_allclose(result.params["offset"], expected[-1], atol=2e-5)


@pytest.mark.parametrize("shuffle", [False, True, "blocks"])
def test_files_are_as_good_as_arrays(written: Any, shuffle: bool | str) -> None:
    paths, slope = written
    mapped = larger.train(paths, shuffle, lambda *_: None, epochs=8)
    given = [np.load(path) for path in paths]
    arrays = larger.train(given, shuffle, lambda *_: None, epochs=8)
    np.testing.assert_array_equal(mapped.params["slope"], arrays.params["slope"])
    np.testing.assert_array_equal(mapped.losses, arrays.losses)
    np.testing.assert_allclose(mapped.losses[-1], 0.01, rtol=0.05)
    np.testing.assert_allclose(mapped.params["slope"], slope, atol=0.05)


@pytest.mark.skipif(not larger.STATUS.exists(), reason="Linux says what memory is anonymous")
def test_training_on_files_takes_no_memory_for_them(written: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(EXAMPLES), *map(str, written[0])],
        capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    files, arrays = json.loads(done.stdout)
    assert files < 8  # two orders of the samples, 0.4 MB each, and compiling two more loops
    assert arrays > 18  # the measure sees what is copied
