"""Small files in MultiBench's formats, drawn from a seed: classes differ, so that they can be learnt."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

MOSEI_WIDTHS = {"vision": 35, "audio": 74, "text": 300}
UR_FUNNY_WIDTHS = {"vision": 371, "audio": 81, "text": 300}


def avmnist(raw: Path, num_train: int = 120, num_test: int = 40, seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    means = {name: random.uniform(0, 128, (10, side * side)) for name, side in (("image", 28), ("audio", 112))}
    for side, num in (("train", num_train), ("test", num_test)):
        digits = np.arange(num) % 10
        np.save(_folder(raw) / f"{side}_labels.npy", digits.astype(np.uint8))
        for name, mean in means.items():
            values = mean[digits] + random.uniform(0, 127, (num, mean.shape[1]))
            shape = (num, 784) if name == "image" else (num, 112, 112)
            np.save(_folder(raw / name) / f"{side}_data.npy", values.reshape(shape).astype(np.float32))


def sentences(num: int, widths: dict[str, int], random: np.random.Generator, num_steps: int = 50) -> dict:
    """One split: sentences of 3 to 12 words at the end of zeros; the words' trend in time tells the class."""
    signs = np.where(np.arange(num) % 2, 1, -1)
    words = random.integers(3, 13, num)
    step = np.arange(num_steps)
    spoken = step >= (num_steps - words)[:, None]
    trend = signs[:, None, None] * step[:, None]
    found = {
        name: (np.where(spoken[..., None], random.normal(0, 1, (num, num_steps, width)) + trend, 0)).astype(np.float32)
        for name, width in widths.items()
    }
    return {**found, "signs": signs}


def mosei(raw: Path, num: int = 12, seed: int = 0, protocol: int = 4, widths: dict[str, int] | None = None) -> dict:
    random = np.random.default_rng(seed)
    file = {}
    for split in ("train", "valid", "test"):
        found = sentences(num, widths or MOSEI_WIDTHS, random)
        found["labels"] = (found.pop("signs") * random.uniform(0.5, 3, num)).astype(np.float32).reshape(num, 1, 1)
        found["id"] = np.array([f"{split}video{row // 2}[{row}]" for row in range(num)])
        file[split] = found
    write_pickle(raw / "mosei_senti_data.pkl", file, protocol)
    return file


def ur_funny(raw: Path, num: int = 12, seed: int = 0, protocol: int = 4) -> dict:
    random = np.random.default_rng(seed)
    file = {}
    for split in ("train", "valid", "test"):
        found = sentences(num, UR_FUNNY_WIDTHS, random, num_steps=20)
        found["labels"] = (found.pop("signs") > 0).astype(np.int64).reshape(num, 1)
        file[split] = found
    write_pickle(raw / "humor.pkl", file, protocol)
    return file


def mimic_iii(raw: Path, num: int = 60, seed: int = 0) -> dict:
    random = np.random.default_rng(seed)
    groups = random.integers(0, 2, (num, 20))
    file = {
        "ep_tdata": random.normal(3, 2, (num, 24, 12)) + groups[:, 7, None, None],
        "adm_features_all": random.normal(50, 9, (num, 5)) + 9 * groups[:, 7, None],
        "adm_labels_all": (np.arange(num)[:, None] % 6 == np.arange(6)).astype(np.int64),
        "y_icd9": groups,
    }
    write_pickle(raw / "im.pk", file)
    return file


def write_pickle(path: Path, value: object, protocol: int = 4) -> None:
    (_folder(path.parent) / path.name).write_bytes(pickle.dumps(value, protocol=protocol))


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def enrico(raw: Path, num: int = 40, seed: int = 0, side: int = 40) -> list[tuple[str, str]]:
    from PIL import Image

    random = np.random.default_rng(seed)
    topics = ("chat", "form", "login", "terms")
    colours = random.integers(0, 255, (len(topics), 3))
    rows = [(str(50100 + row), topics[row % len(topics)]) for row in range(num)]
    for folder, ending in (("screenshots", "jpg"), ("wireframes", "png")):
        for row, (screen, _) in enumerate(rows):
            picture = np.clip(colours[row % len(topics)] + random.integers(-9, 9, (2 * side, side, 3)), 0, 255)
            Image.fromarray(picture.astype(np.uint8)).save(_folder(raw / folder) / f"{screen}.{ending}")
    table = "screen_id,topic\n" + "".join(f"{screen},{topic}\n" for screen, topic in rows)
    (raw / "design_topics.csv").write_text(table)
    return rows


def gentle_push(raw: Path, lengths: tuple[int, ...] = (40, 30), seed: int = 0) -> None:
    """The hand pushes the object ahead of it."""
    import h5py

    random = np.random.default_rng(seed)
    for num in (1000, 10, 300):
        with h5py.File(_folder(raw) / f"gentle_push_{num}.hdf5", "w", libver="latest") as file:
            for number, length in enumerate(lengths):
                hand = np.array([0.5, 0, 0.9]) + np.cumsum(random.normal(0, 0.01, (length, 3)), axis=0)
                arrays = {
                    "eef_pos": hand,
                    "Cylinder0_pos": hand + 0.05,
                    "force": random.normal(0, 1, (length, 6)),
                    "contact": random.integers(0, 2, length).astype(float),
                    "image": random.uniform(0, 1, (length, 32, 32)),
                    "object-state": np.zeros((length, 10)),
                }
                group = file.create_group(f"trajectory{number}")
                for name, array in arrays.items():
                    group.create_dataset(name, data=array.astype(np.float32), compression="lzf")


def vision_touch(raw: Path, runs: int = 10, numbers: int = 2, num_steps: int = 6, seed: int = 0) -> None:
    """The hand touches when the force is up."""
    import h5py

    random = np.random.default_rng(seed)
    for run in range(runs):
        for number in range(numbers):
            touches = random.integers(0, 2, num_steps)
            after = np.append(touches[1:], 0)
            arrays = {
                "image": random.integers(0, 255, (num_steps, 128, 128, 3), dtype=np.uint8),
                "depth_data": random.uniform(0, 1, (num_steps, 128, 128, 1)).astype(np.float32),
                "ee_forces_continuous": random.normal(0, 1, (num_steps, 50, 6)) + 3 * after[:, None, None],
                "proprio": random.normal(0, 1, (num_steps, 8)),
                "action": random.normal(0, 1, (num_steps, 4)),
                "contact": np.repeat(touches[:, None], 50, axis=1).astype(bool),
            }
            with h5py.File(_folder(raw) / f"run{run}_{number}_1000.h5", "w") as file:
                for name, array in arrays.items():
                    file.create_dataset(name, data=array)
