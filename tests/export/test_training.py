"""Exported training against that in Python, to the bit, called through the Python loader."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import ArgumentError, OptionError
from tests.export.test_values import load, same

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")

Array = np.ndarray[Any, Any]


def outputs(params: Any, x: Any) -> Any:
    return np.tanh(x @ params["W"] + params["b"]) @ params["V"]


def loss(params: Any, x: Any, y: Any) -> Any:
    return np.mean((outputs(params, x) - y) ** 2)


def problem(samples: int, dtype: str = "f8") -> tuple[Any, tuple[Array, Array]]:
    rng = np.random.default_rng(samples)
    params = {
        "W": rng.normal(size=(5, 7)).astype(dtype), "b": rng.normal(size=7).astype(dtype),
        "V": rng.normal(size=7).astype(dtype),
    }
    return params, (rng.normal(size=(samples, 5)).astype(dtype),
                    rng.normal(size=samples).astype(dtype))


def read(module: ModuleType, state: Array, like: Any) -> list[Array]:
    """The parameters in a state."""
    found = []
    for name, leaf in like.items():
        at = getattr(module, f"MODEL_AT_PARAMS_{name.upper()}")
        found.append(state[at : at + leaf.nbytes].view(leaf.dtype).reshape(leaf.shape))
    return found


CASES = {
    "all": {"optimizer": gradc.optim.sgd(0.1), "batch_size": None},
    "batches": {"optimizer": gradc.optim.adam(0.01), "batch_size": 8},
    "in_order": {"optimizer": gradc.optim.momentum(0.05), "batch_size": 8, "shuffle": False},
    "whole_batches": {"optimizer": gradc.optim.adamw(0.01), "batch_size": 5, "shuffle": False},
    "skipping": {
        "optimizer": gradc.optim.rmsprop(0.01), "batch_size": 7, "on_nonfinite": "skip",
    },
    "single": {"optimizer": gradc.optim.adam(0.01), "batch_size": 8},
}


@pytest.mark.parametrize("case", CASES)
def test_training_is_equal_to_the_bit(case: str, tmp_path: Path) -> None:
    params, data = problem(30, "f4" if case == "single" else "f8")
    trainer = gradc.train(loss, **CASES[case])
    made = trainer.export(
        tmp_path / "model", params, data, formats=("so", "py", "h"),
        functions={"outputs": (outputs, data[0]), "loss": loss},
    )
    module = load(made.files["py"])
    state = module.init()
    same(read(module, state, params), list(params.values()))

    expected = trainer.fit(params, data, epochs=6, seed=11)
    steps = 6 * module.MODEL_STEPS_OF_EPOCH
    losses = np.zeros(6)
    first = module.train(state, *data, 11, steps - 2, losses)
    assert np.isfinite(first)
    after = losses[5:]  # the calls go on where the last one ended, in the middle of an epoch
    ended = (steps - 2) // module.MODEL_STEPS_OF_EPOCH
    module.train(state, *data, 11, 2, losses[ended:])
    assert after.any()
    np.testing.assert_array_equal(losses, expected.losses)
    same(read(module, state, params), list(expected.params.values()))
    same(module.outputs(state, data[0]), gradc.compile(outputs)(expected.params, data[0]))
    size = module.MODEL_BATCH
    batch = [x[:size] for x in data]
    same(module.loss(state, *batch), gradc.compile(loss)(expected.params, *batch))


@pytest.mark.parametrize("case", ["batches", "skipping"])
def test_single_steps(case: str, tmp_path: Path) -> None:
    params, data = problem(30)
    trainer = gradc.train(loss, **CASES[case])
    made = trainer.export(tmp_path / "model", params, data, formats=("so", "py"))
    module = load(made.files["py"])
    size = module.MODEL_BATCH
    batch = [x[:size] for x in data]
    state = module.init()
    values = [module.step(state, *batch) for _ in range(4)]
    alone = gradc.train(loss, CASES[case]["optimizer"], None)
    expected = alone.fit(params, batch, epochs=4)
    np.testing.assert_allclose(values, expected.losses, rtol=1e-15)
    for got, wanted in zip(read(module, state, params), expected.params.values(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-13)


def noisy(params: Any, x: Any, y: Any, *, key: Any) -> Any:
    if key is not None:
        x = x + 0.1 * gradc.random.normal(key, x.shape, x.dtype)
    return np.mean((outputs(params, x) - y) ** 2)


def test_random_numbers(tmp_path: Path) -> None:
    params, data = problem(30)
    trainer = gradc.train(noisy, gradc.optim.adam(0.01), 8)
    made = trainer.export(
        tmp_path / "model", params, data, formats=("so", "py", "h"), functions={"loss": noisy}
    )
    assert "decides the order of the samples and the random" in made.files["h"].read_text()
    module = load(made.files["py"])
    expected = trainer.fit(params, data, epochs=3, seed=2**63 + 1)
    state, losses = module.init(), np.zeros(3)
    for count, room in ((5, losses), (7, losses[1:])):
        module.train(state, *data, 2**63 + 1, count, room)
    np.testing.assert_array_equal(losses, expected.losses)
    same(read(module, state, params), list(expected.params.values()))
    batch = [x[:8] for x in data]
    same(module.loss(state, *batch), gradc.compile(noisy)(expected.params, *batch, key=None))

    state = module.init()
    values = [module.step(state, *batch, 5, step) for step in range(3)]
    alone = gradc.train(noisy, gradc.optim.adam(0.01)).fit(params, batch, epochs=3, seed=5)
    np.testing.assert_array_equal(values, alone.losses)
    same(read(module, state, params), list(alone.params.values()))


def test_more_epochs_than_one_run_has_room_for(tmp_path: Path) -> None:
    x, y = np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([1.0, 2.0])

    def line(w: Any, x: Any, y: Any) -> Any:
        return np.mean((x @ w - y) ** 2)

    trainer = gradc.train(line, gradc.optim.sgd(0.001))
    made = trainer.export(tmp_path / "model", np.zeros(2), (x, y), formats=("so", "py"))
    module = load(made.files["py"])
    state, losses = module.init(), np.zeros(40_000)
    module.train(state, x, y, 0, 40_000, losses)
    np.testing.assert_array_equal(losses, trainer.fit(np.zeros(2), (x, y), epochs=40_000).losses)


def test_types_in_place_of_data_and_what_fails(tmp_path: Path) -> None:
    params, data = problem(30)
    trainer = gradc.train(loss, gradc.optim.sgd(1e300), 8)
    made = trainer.export(
        tmp_path / "model", params, ("f64[30,5]", "f64[30]"), formats=("so", "py")
    )
    module = load(made.files["py"])
    state = module.init()
    with pytest.raises(FloatingPointError, match="not finite"):
        module.train(state, *data, 0, 100)
    with pytest.raises(ValueError, match="state is written"):
        module.train(
            np.frombuffer(bytes(state), np.uint8), *data, 0, 1
        )
    with pytest.raises(ValueError, match="x has the shape"):
        module.train(state, data[0][:3], data[1], 0, 1)


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    params, data = problem(30)
    trainer = gradc.train(loss, gradc.optim.sgd(0.1), 8)

    def export(**options: Any) -> Any:
        return trainer.export(tmp_path / "model", params, data, **options)

    with pytest.raises(OptionError, match="model_F is taken"):  # its macros would be those of f
        export(functions={"f": loss, "F": loss})
    for name in ("class", "_step"):
        with pytest.raises(OptionError, match="no function of a Python module"):
            export(functions={name: loss})
    with pytest.raises(OptionError, match="model_step is taken"):
        export(functions={"step": loss})
    with pytest.raises(OptionError, match="cannot begin with 'a b'"):
        export(functions={"a b": loss})
    with pytest.raises(ArgumentError, match="functions by name, not list"):
        export(functions=[loss])
    with pytest.raises(ArgumentError, match="no function"):
        export(functions={"f": 3})
    with pytest.raises(ArgumentError, match="no type"):
        export(functions={"f": (loss, "f64", "double")})
    assert not list(tmp_path.iterdir())


def test_every_target_has_the_functions(tmp_path: Path) -> None:
    from gradc.codegen.targets import NAMED
    from tests.export.symbols import OWN, symbols

    params, data = problem(30)
    trainer = gradc.train(loss, gradc.optim.adam(0.1), 8)
    for target in NAMED:
        made = trainer.export(tmp_path / "model", params, data, formats="o", target=target)
        found = symbols(made.files["o"].read_bytes())
        names = {name.removeprefix("_") for name in found.defined - OWN.get(target, set())}
        assert names == {"model_init", "model_step", "model_train", "model_message"}
        allowed = {"__stack_pointer", "__indirect_function_table", "___chkstk_ms"}
        assert found.undefined <= allowed


def test_a_step_between_does_not_change_the_mean_of_an_epoch(tmp_path: Path) -> None:
    params, (x, y) = problem(23)
    trainer = gradc.train(loss, gradc.optim.sgd(0.0), 5, on_nonfinite="skip")
    made = trainer.export(tmp_path / "model", params, (x, y), formats=("so", "py"))
    module = load(made.files["py"])
    state, losses = module.init(), np.zeros(1)
    module.train(state, x, y, 0, 3)
    module.step(state, x[:5], y[:5])
    module.train(state, x, y, 0, 2, losses)
    same([losses], [trainer.fit(params, (x, y), epochs=1).losses])
