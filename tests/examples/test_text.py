"""The LSTM that learns a text: its loss against scalar formulas, its steps against PyTorch's."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

import gradc
from tests.examples.loading import check, load

text = load("text")


def codes_of(letters: str) -> tuple[Any, Any]:
    alphabet, codes = np.unique(list(letters), return_inverse=True)
    return alphabet, np.lib.stride_tricks.sliding_window_view(
        codes.astype(np.uint8), text.LENGTH + 1)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A network of four cells for six letters."""
    monkeypatch.setattr(text, "HIDDEN", 4)
    params: dict[str, Any] = text.initial(6, np.random.default_rng(0))
    return params


def loss_by_formulas(params: dict[str, Any], window: list[int]) -> float:
    """Of one window, number by number (Hochreiter & Schmidhuber 1997, Gers et al. 2000)."""
    n = len(params["hidden"])
    h, c, total = [0.0] * n, [0.0] * n, 0.0
    for now, following in zip(window[:-1], window[1:], strict=True):
        gate = [
            params["letter"][now][j] + params["bias"][j]
            + sum(h[k] * params["hidden"][k][j] for k in range(n))
            for j in range(4 * n)
        ]
        i, f, o = ([1 / (1 + math.exp(-x)) for x in gate[p * n : (p + 1) * n]] for p in range(3))
        c = [f[k] * c[k] + i[k] * math.tanh(gate[3 * n + k]) for k in range(n)]
        h = [o[k] * math.tanh(c[k]) for k in range(n)]
        scores = [
            params["out_bias"][v] + sum(h[k] * params["out"][k][v] for k in range(n))
            for v in range(len(params["out_bias"]))
        ]
        total += math.log(sum(math.exp(s) for s in scores)) - scores[following]
    return total / (len(window) - 1)


def test_the_loss_is_that_of_the_formulas(small: dict[str, Any]) -> None:
    windows = np.random.default_rng(1).integers(6, size=(3, 21)).astype(np.uint8)
    expected = np.mean([loss_by_formulas(small, list(w)) for w in windows])
    np.testing.assert_allclose(gradc.compile(text.loss)(small, windows), expected, rtol=1e-13)

    def loss(*leaves: Any) -> Any:
        *leaves, windows = leaves
        return text.loss(dict(zip(small, leaves, strict=True)), windows)

    check(loss, tuple(small.values()), (windows,))


def test_the_steps_are_those_of_pytorch(small: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    windows = np.random.default_rng(1).integers(6, size=(8, 21)).astype(np.uint8)
    optimizer = gradc.optim.clip_norm(gradc.optim.adam(0.01), 0.1)
    trainer = gradc.train(text.loss, optimizer=optimizer, batch_size=4, shuffle=False)
    result = trainer.fit(small, (windows,), epochs=3)

    torch.set_default_dtype(torch.float64)
    lstm, out = torch.nn.LSTM(6, 4, batch_first=True), torch.nn.Linear(4, 6)
    order = np.r_[0:8, 12:16, 8:12]  # PyTorch's gates: input, forget, cell, output
    own = {
        "letter": lstm.weight_ih_l0, "hidden": lstm.weight_hh_l0, "bias": lstm.bias_ih_l0,
        "out": out.weight, "out_bias": out.bias,
    }
    with torch.no_grad():
        lstm.bias_hh_l0.zero_()
        for name, value in small.items():
            moved = value if name.startswith("out") else value[..., order]
            own[name].copy_(torch.from_numpy(moved.T.copy()))
    adam = torch.optim.Adam(own.values(), lr=0.01)
    for step in range(6):
        batch = torch.from_numpy(windows[4 * (step % 2) :][:4].astype(np.int64))
        scores = out(lstm(torch.nn.functional.one_hot(batch[:, :-1], 6).double())[0])
        adam.zero_grad()
        torch.nn.functional.cross_entropy(
            scores.reshape(-1, 6), batch[:, 1:].reshape(-1)).backward()
        torch.nn.utils.clip_grad_norm_(list(own.values()), 0.1)
        adam.step()
    back = np.argsort(order)
    for name, value in result.params.items():
        found = own[name].detach().numpy().T
        found = found if name.startswith("out") else found[..., back]
        np.testing.assert_allclose(value, found, rtol=1e-9, atol=1e-11)


def test_it_learns_the_zen_and_writes_words() -> None:
    zen = text.zen()
    alphabet, windows = codes_of(zen)
    params = text.initial(len(alphabet), np.random.default_rng(0))
    optimizer = gradc.optim.clip_norm(gradc.optim.adam(0.01), 1.0)
    trainer = gradc.train(text.loss, optimizer=optimizer, batch_size=text.BATCH)
    result = trainer.fit(params, (windows,), epochs=10)
    assert 0.5 * math.log(len(alphabet)) < result.losses[0] < math.log(len(alphabet))
    assert result.losses[-1] < 0.2 * result.losses[0]

    key, first = gradc.random.key(1), np.int64(windows[0, 0])
    letters = text.write(result.params, first, key, 0.5, length=300)
    by_numpy = text.write.__wrapped__(result.params, first, key, 0.5, length=300)
    np.testing.assert_array_equal(letters, by_numpy)
    written = re.findall(r"[a-z]+", "".join(alphabet[letters]).lower())[1:-1]
    known = set(re.findall(r"[a-z]+", zen.lower()))
    assert len(written) > 30
    assert np.mean([word in known for word in written]) > 0.8
