"""Reference files in the published layout: the golden one, and ones worked here in plain numpy, item by item."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mmn.data.dataset import Task
from mmn.data.embeddings import embeddings_from_rows, write_embeddings
from mmn.data.errors import ContractError, ParamsError
from mmn.modeling.published_weights import read_weights
from mmn.modeling.reference import beyond, read_reference, verify_reference
from mmn.modeling.storage import write_model
from mmn.orchestration.cli import app
from mmn.orchestration.predict import predict

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden" / "multimodn_official_small.npz"
QUANTITIES = ["probabilities", "final_state", "loss_per_sample", "mean_loss", "gradnorm", "grad.init_state"]
WIDTHS, STATE, NUM_ITEMS = (2, 4), 5, 9
# Hidden widths of each encoder and decoder: other than each other, and of every depth.
DEPTHS = {
    "three layers": ([(7, 3), (4, 6)], [(4, 3), (5, 2), (3, 3)]),
    "one to five layers": ([(6,), (3, 4, 5, 6)], [(), (4,), (3, 6, 2)]),
    "no hidden layer": ([(), ()], [(), (), ()]),
}


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def layers_of(world: dict, module: str) -> list[tuple[np.ndarray, np.ndarray]]:
    depth = sum(key.startswith(f"{module}.") and key.endswith(".weight") for key in world)
    return [(world[f"{module}.layer{j}.weight"], world[f"{module}.layer{j}.bias"]) for j in range(depth)]


def run_one(world: dict, n: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Item n: probabilities (M + 1, T, 2), final state, loss."""
    M, T = world["present"].shape[1], world["y"].shape[1]
    probabilities, state, loss = np.full((M + 1, T, 2), np.nan), world["init_state"], 0.0
    for number in range(M + 1):
        if number > 0:
            if not world["present"][n, number - 1]:
                continue
            state = np.concatenate([world[f"x{number - 1}"][n], state])
            for weight, bias in layers_of(world, f"encoder{number - 1}"):
                state = np.maximum(weight @ state + bias, 0)
        for t in range(T):
            value = state
            *hidden, (weight, bias) = layers_of(world, f"decoder{t}")
            for w, b in hidden:
                value = np.maximum(w @ value + b, 0)
            out = sigmoid(weight @ value + bias)
            probabilities[number, t] = out
            loss += np.log(np.exp(out).sum()) - out[world["y"][n, t]]
    return probabilities, state, loss / (T * (M + 1))


def mean_loss(world: dict) -> float:
    return float(np.mean([run_one(world, n)[2] for n in range(NUM_ITEMS)]))


def gradient(world: dict, key: str, step: float = 1e-6) -> np.ndarray:
    """Of the mean loss, by central differences."""
    found = np.zeros_like(world[key])
    for index in np.ndindex(found.shape):
        sides = []
        for sign in (1, -1):
            moved = world[key].copy()
            moved[index] += sign * step
            sides.append(mean_loss({**world, key: moved}))
        found[index] = (sides[0] - sides[1]) / (2 * step)
    return found


def make_weights(encoders: list[tuple[int, ...]], decoders: list[tuple[int, ...]], seed: int = 0) -> dict:
    """Weights, inputs and targets."""
    rng = np.random.default_rng(seed)
    world = {"init_state": rng.standard_normal(STATE)}
    modules = {f"encoder{i}": (WIDTHS[i] + STATE, *hidden, STATE) for i, hidden in enumerate(encoders)}
    modules |= {f"decoder{t}": (STATE, *hidden, 2) for t, hidden in enumerate(decoders)}
    for module, sizes in modules.items():
        for j in range(len(sizes) - 1):
            world[f"{module}.layer{j}.weight"] = rng.standard_normal((sizes[j + 1], sizes[j])) * 0.5
            world[f"{module}.layer{j}.bias"] = rng.standard_normal(sizes[j + 1]) * 0.3
    world["present"] = rng.random((NUM_ITEMS, len(WIDTHS))) < 0.7
    world["present"][0] = False
    world["y"] = rng.integers(0, 2, (NUM_ITEMS, len(decoders)))
    for i, width in enumerate(WIDTHS):
        world[f"x{i}"] = rng.standard_normal((NUM_ITEMS, width))
        world[f"x{i}"][~world["present"][:, i]] = np.nan if i == 0 else 1e6
    return world


def make_reference(encoders: list[tuple[int, ...]], decoders: list[tuple[int, ...]], seed: int = 0) -> dict:
    world = make_weights(encoders, decoders, seed)
    results = [run_one(world, n) for n in range(NUM_ITEMS)]
    answers = {
        "probabilities": np.stack([p for p, _, _ in results]),
        "final_state": np.stack([s for _, s, _ in results]),
        "loss_per_sample": np.array([loss for _, _, loss in results]),
        "mean_loss": np.array(mean_loss(world)),
        "grad.init_state": gradient(world, "init_state"),
    }
    answers["gradnorm.init_state.state_value"] = np.linalg.norm(answers["grad.init_state"])
    for key in [key for key in world if ".layer" in key]:
        module, number, layer, part = re.fullmatch(r"(\w+?)(\d+)\.layer(\d+)\.(\w+)", key).groups()
        published = int(layer) + (module == "encoder")
        answers[f"gradnorm.{module}s.{number}.layers.{published}.{part}"] = np.linalg.norm(gradient(world, key))
    return world | answers


@pytest.fixture(scope="module")
def worked():
    return make_reference(*DEPTHS["three layers"])


def save(folder: Path, world: dict, **changes) -> Path:
    """A change to None leaves the key out; a dot in a key is written __."""
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    path = folder / "reference.npz"
    np.savez(path, **{key: value for key, value in {**world, **changes}.items() if value is not None})
    return path


def verify_on_the_command_line(path: Path):
    return CliRunner().invoke(app, ["verify-reference", str(path)])


def test_the_golden_file_is_met():
    if not GOLDEN.exists():
        pytest.skip(f"the reference values are not there: {GOLDEN}")
    differences = verify_reference(GOLDEN)
    assert list(differences) == QUANTITIES
    assert beyond(differences, 1e-6) == []
    result = verify_on_the_command_line(GOLDEN)
    assert result.exit_code == 0
    assert all(quantity in result.output for quantity in QUANTITIES)


@pytest.mark.parametrize("depths", DEPTHS)
def test_files_of_other_shapes_worked_by_hand_are_met(tmp_path, depths):
    world = make_reference(*DEPTHS[depths], seed=1)
    assert np.isnan(world["x0"]).any()
    differences = verify_reference(save(tmp_path, world))
    # Central differences are good to about 1e-9.
    assert beyond(differences, 1e-8) == []
    assert beyond({name: differences[name] for name in QUANTITIES[:4]}, 1e-13) == []


def test_float32_weights_and_gradients_numbered_without_a_dropout_are_read_too(tmp_path, worked):
    renamed = {
        re.sub(r"(encoders\.\d+\.layers\.)(\d+)", lambda m: f"{m[1]}{2 * (int(m[2]) - 1)}", key): value
        for key, value in worked.items()
    }
    assert "gradnorm.encoders.1.layers.4.bias" in renamed
    assert beyond(verify_reference(save(tmp_path, renamed)), 1e-8) == []
    rounded = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in worked.items()}
    assert beyond(verify_reference(save(tmp_path, rounded))) == []


def test_a_changed_weight_fails_and_every_quantity_that_moved_is_named(tmp_path, worked):
    weight = worked["decoder2.layer1.weight"].copy()
    weight[0, 0] += 0.1
    path = save(tmp_path, worked, decoder2__layer1__weight=weight)
    # A decoder does not move the state.
    assert beyond(verify_reference(path)) == [name for name in QUANTITIES if name != "final_state"]
    result = verify_on_the_command_line(path)
    assert result.exit_code == 1
    assert (
        "not met within 1e-05: probabilities, loss_per_sample, mean_loss, gradnorm, grad.init_state." in result.output
    )


@pytest.mark.parametrize(
    ("key", "quantity"),
    [
        *((quantity, quantity) for quantity in QUANTITIES if quantity != "gradnorm"),
        ("gradnorm.encoders.1.layers.2.bias", "gradnorm"),
    ],
)
def test_a_changed_answer_fails_alone(tmp_path, worked, key, quantity):
    changed = {**worked, key: worked[key] + 2e-5}
    assert beyond(verify_reference(save(tmp_path, changed))) == [quantity]


def test_not_a_number_is_no_agreement():
    assert beyond({"probabilities": float("nan"), "mean_loss": 0.0}) == ["probabilities"]


@pytest.mark.parametrize(
    "key",
    [
        "init_state", "encoder1.layer2.weight", "encoder0.layer0.bias", "decoder2.layer0.weight", "x1", "present", "y",
        "probabilities", "final_state", "loss_per_sample", "mean_loss", "grad.init_state",
        "gradnorm.init_state.state_value", "gradnorm.encoders.0.layers.1.weight", "gradnorm.decoders.2.layers.2.bias",
    ],
)  # fmt: skip
def test_a_missing_key_is_named(tmp_path, worked, key):
    path = save(tmp_path, {k: v for k, v in worked.items() if k != key})
    with pytest.raises(ContractError, match=rf"key '{re.escape(key)}' is missing"):
        read_reference(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("encoder0__layer1__weight", np.zeros((3, 8)), r"encoder0.layer1.weight.*\(3, 8\).*\('any', 7\)"),
        ("decoder1__layer2__weight", np.zeros((3, 2)), r"decoder1.layer2.weight.*\(3, 2\).*\(2, 2\)"),
        ("x0", np.zeros((NUM_ITEMS - 1, 2)), r"'x0' has shape \(8, 2\)"),
        ("x1", np.full((NUM_ITEMS, 4), np.nan), r"'x1' has \d+ NaN"),
        ("init_state", np.full(STATE, np.inf), r"'init_state' has 5 NaN or infinite"),
        ("y", np.full((NUM_ITEMS, 3), 2), r"'y' has 27 values that are neither 0 nor 1"),
        ("y", np.zeros((NUM_ITEMS + 1, 3)), r"present has 9 items, y has 10"),
        ("probabilities", np.full((NUM_ITEMS, 3, 3, 2), np.nan), r"'probabilities' has \d+ NaN"),
        ("probabilities", np.zeros((NUM_ITEMS, 3, 3, 2)), "after modalities that are absent"),
        ("mean_loss", np.zeros(1), r"'mean_loss' has shape \(1,\)"),
        ("final_state", np.full((NUM_ITEMS, STATE), "a"), r"'final_state' is of type <U1"),
        ("encoder2__layer0__weight", np.zeros((3, 3)), r"'encoder2.layer0.weight' .* belongs to no modality"),
        ("x2", np.zeros((NUM_ITEMS, 1)), "'x2' .* belongs to no modality"),
    ],
)
def test_what_breaks_the_layout_is_refused_by_name(tmp_path, worked, key, value, message):
    with pytest.raises(ContractError, match=message):
        read_reference(save(tmp_path, worked, **{key: value}))


def test_python_objects_are_never_unpickled(tmp_path, worked):
    path = save(tmp_path, worked, mean_loss=np.array({"a": 1}, dtype=object))
    with pytest.raises(ContractError, match=r"'mean_loss' cannot be read.*allow_pickle=False"):
        read_reference(path)


def test_what_is_no_npz_is_refused(tmp_path, worked):
    with pytest.raises(ContractError, match="no such file"):
        read_reference(tmp_path / "nowhere.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "empty.npz").touch()
    whole = save(tmp_path, worked).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("array.npy", "empty.npz", "cut.npz"):
        with pytest.raises(ContractError, match=f"{name}: this is not an .npz file"):
            read_reference(tmp_path / name)
    at = whole.index(b"NUMPY") + 200
    (tmp_path / "flipped.npz").write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
    with pytest.raises(ContractError, match=r"'\w+.*' cannot be read"):
        read_reference(tmp_path / "flipped.npz")


# Weights alone


def weights_alone(world: dict) -> dict:
    return {key: value for key, value in world.items() if re.match(r"init_state$|(encoder|decoder)\d+\.", key)}


@pytest.mark.parametrize("depths", ["three layers", "fewer layers"])
def test_weights_alone_become_a_model_folder_that_predicts_as_the_published_one(tmp_path, depths):
    world = make_weights(*(DEPTHS | {"fewer layers": ([(6,), ()], [(4,), (5, 2)])})[depths])
    weights = read_weights(save(tmp_path, weights_alone(world)))
    tasks = tuple(Task(name=f"t{t}", number=None, kind="binary", description="") for t in range(len(weights.decoders)))
    write_model(tmp_path / "m", weights.trained(("first", "second"), tasks), {"step": "import"})
    items = np.array([f"item{n}" for n in range(NUM_ITEMS)], dtype=object)
    for i, name in enumerate(("first", "second")):
        e = embeddings_from_rows(items, world[f"x{i}"], world["present"][:, i])
        write_embeddings(tmp_path / f"{name}.parquet", e, {})
    files = {name: tmp_path / f"{name}.parquet" for name in ("first", "second")}
    assert "first, second: the model's card" in predict(tmp_path / "m", files, tmp_path / "p.parquet")["not compared"]
    table = pd.read_parquet(tmp_path / "p.parquet").set_index(["item", "task", "modality"])["prediction"]
    for n, item in enumerate(items):
        outputs, _, _ = run_one(world, n)
        expected = outputs[..., 1] / outputs.sum(axis=-1)
        for t, task in enumerate(tasks):
            for place, modality in enumerate(("prior", "first", "second")):
                found = table.get((item, task.name, modality), np.nan)
                np.testing.assert_allclose(found, expected[place, t], atol=1e-6, equal_nan=True)


def test_weights_are_read_from_a_file_with_answers_too_and_are_its_own(tmp_path, worked):
    path = save(tmp_path, worked)
    weights, reference = read_weights(path), read_reference(path)
    assert weights.widths == WIDTHS
    for own, other in zip(weights.encoders[1], reference.encoders[1], strict=True):
        assert np.array_equal(own.weight, other.weight) and np.array_equal(own.bias, other.bias)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("encoder1__layer0__weight", None, "'encoder1.layer0.weight' is missing"),
        ("encoder3__layer0__weight", np.ones((2, 9)), "'encoder2.layer0.weight' is missing"),
        ("decoder0__layer7__bias", np.ones(2), "'decoder0.layer3.weight' is missing"),
        ("decoder0__scale", np.ones(2), "'decoder0.scale' .* belongs to no modality, task or layer"),
        ("encoder0__layer0__weight", np.ones((7, STATE)), "encoder0 reads a state of 5 and no evidence"),
        ("init_state", None, "'init_state' is missing"),
    ],
)
def test_weights_that_break_the_layout_are_refused_by_name(tmp_path, worked, key, value, message):
    with pytest.raises(ContractError, match=message):
        read_weights(save(tmp_path, weights_alone(worked), **{key: value}))


def test_names_that_do_not_fit_and_layers_that_no_stored_model_has_are_refused(tmp_path, worked):
    weights = read_weights(save(tmp_path, weights_alone(worked)))
    tasks = tuple(Task(name=f"t{t}", number=None, kind="binary", description="") for t in range(3))
    with pytest.raises(ParamsError, match="modalities are one; the weights have 2, name each"):
        weights.trained(("one",), tasks)
    with pytest.raises(ParamsError, match="tasks are t0, t0, t1; the weights have 3"):
        weights.trained(("one", "other"), (tasks[0], *tasks[:2]))
    with pytest.raises(ParamsError, match="level: the published decoders are of binary tasks alone"):
        weights.trained(
            ("one", "other"), (*tasks[:2], Task(name="level", number=None, kind="regression", description=""))
        )
    for number, depths in enumerate(
        (([(), ()], [(), (4,), (4,)]), ([(7,) * 4, ()], [(4,)] * 3), ([(), ()], [(33,)] * 3))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        deep = read_weights(save(folder, weights_alone(make_weights(*depths))))
        with pytest.raises(ParamsError, match="a stored model's encoders and decoders have 2 hidden layers"):
            deep.trained(("one", "other"), tasks)
