"""The network that reads digits, as a web page that classifies and trains in WebAssembly.

Run it:  python examples/export/web.py FOLDER; python -m http.server -d FOLDER
It trains the network of digits.py for a while and writes the page with all that it needs. The
module is linked by wasm-ld, or by ziglang (pip install "gradc[export]").
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import digits  # noqa: E402  (beside this file)


def write(folder, epochs=5):
    """The page and its files; the weights that it begins with."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = digits.digits()
    start = digits.initial(np.random.default_rng(0))
    weights = digits.trainer().fit(start, data, epochs=epochs).params
    made = digits.export(folder, weights, data, ("so",), target="wasm32")
    (folder / "digits.json").write_text(json.dumps(made.constants))
    digits.write_data(folder / "digits.dat", data)
    shutil.copy(HERE / "digits.js", folder)
    shutil.copy(HERE / "digits.html", folder / "index.html")
    print(f"{made.files['so'].name}: {made.files['so'].stat().st_size:,} bytes")
    return weights


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python web.py FOLDER")
    write(sys.argv[1])
