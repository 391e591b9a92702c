"""AV-MNIST made from MNIST and the Free Spoken Digit Dataset, in the files that MultiBench's reader expects.

    python -m mmn.data.multibench.build_avmnist --mnist PATH --fsdd PATH --out PATH

Every picture gets a recording of the same digit, by lot. Recordings 0 to 4 of each speaker and digit (the published
test set) sound on test pictures alone, 5 to 9 on validation pictures alone. Pictures lose most of what tells them, as
in AV-MNIST: they are put together again from the first principal components, those of the training pictures, that hold
a quarter of the variance. The published set was made otherwise (components of train and test apart, the mean left out),
so its numbers are not met.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from mmn.data.errors import CohortError, MmnError, ParamsError
from mmn.data.files import atomic_path, write_json
from mmn.data.multibench.avmnist import BUILT, FILES, TRAIN_SHARE
from mmn.data.multibench.mnist_files import RATE, find_recordings, read_mnist, read_recording

SIZE, WINDOW, SECONDS, RANGE_DB = 112, 222, 1.0, 80.0
ENERGY = 0.25
# Recordings by their number: test, validation, the others train.
TEST, VALIDATION = range(0, 5), range(5, 10)
_ROWS_AT_ONCE = 2_000


def build_avmnist(
    mnist: Path,
    fsdd: Path,
    out: Path,
    *,
    energy: float = ENERGY,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, object]:
    """Write the folder `out`, which must not be there; gives what its `BUILT.json` says.

    energy: share of the pictures' variance that is kept, 1 = all. Raises RawFileError and ContractError for files that
    are not as published, CohortError where a digit has no recording for a side.
    """
    if not 0 < energy <= 1:
        raise ParamsError(f"energy is {energy}; it must be above 0, up to 1.")
    if out.exists():
        raise ParamsError(f"{out} is there already. Name a new folder.")
    sides = {side: read_mnist(mnist, side) for side in ("train", "test")}
    recordings = find_recordings(fsdd)
    heard = np.stack([_progressing(spectrogram(read_recording(path)), n, len(recordings), progress)
                      for n, path in enumerate(recordings)])  # fmt: skip
    shrink, components = _compression(sides["train"][0], energy)
    chosen = _recordings_for(sides, list(recordings.values()), np.random.default_rng(seed))
    told = {
        "made_from": "MNIST and the Free Spoken Digit Dataset", "seed": seed, "energy": energy,
        "components": components, "recordings": len(recordings),
        "speakers": sorted({speaker for _, speaker, _ in recordings.values()}),
        "pictures": {side: len(labels) for side, (_, labels) in sides.items()},
    }  # fmt: skip
    with atomic_path(out) as folder:
        for place, (side, (pictures, labels)) in enumerate(sides.items()):
            _write(folder / FILES["images"][place], (len(labels), 784), partial(_shrunk, pictures, shrink))
            _write(folder / FILES["audio"][place], (len(labels), SIZE, SIZE), partial(_heard, heard, chosen[side]))
            np.save(folder / FILES["labels"][place], labels)
        write_json(folder / BUILT, told)
    return told


def spectrogram(sound: np.ndarray) -> np.ndarray:
    """(112, 112) uint8, frequency (lowest first) by time, of one second around the sound's middle: power in decibels,
    from 80 below its greatest (0) to that (255)."""
    wanted = int(RATE * SECONDS)
    if len(sound) > wanted:
        sound = sound[(len(sound) - wanted) // 2 :][:wanted]
    padded = np.zeros(wanted)
    first = (wanted - len(sound)) // 2
    padded[first : first + len(sound)] = sound
    starts = np.linspace(0, wanted - WINDOW, SIZE).round().astype(int)
    frames = padded[starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames, axis=1).T) ** 2  # 222 samples give 112 frequencies
    decibels = 10 * np.log10(np.maximum(power, 1e-12) / max(float(power.max()), 1e-12))
    return np.round(255 * np.clip(1 + decibels / RANGE_DB, 0, 1)).astype(np.uint8)


def _compression(train: np.ndarray, energy: float) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """What makes (n, 784) uint8 of pictures, from the training pictures' first components; and how many those are."""
    flat = train.reshape(len(train), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False, bias=True))
    shares = np.cumsum(values[::-1]) / max(float(values.sum()), 1e-12)
    kept = len(values) if energy == 1 else int(np.searchsorted(shares, energy)) + 1
    first = vectors[:, ::-1][:, :kept]

    def shrink(pictures: np.ndarray) -> np.ndarray:
        rows = pictures.reshape(len(pictures), -1)
        if energy == 1:
            return rows
        return np.round(np.clip((rows - mean) @ first @ first.T + mean, 0, 255)).astype(np.uint8)

    return shrink, kept


def _recordings_for(
    sides: dict[str, tuple[np.ndarray, np.ndarray]], named: list[tuple[int, str, int]], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Side -> (N,) the place of each picture's recording."""
    digit, number = (np.array([one[part] for one in named]) for part in (0, 2))
    kind = np.where(np.isin(number, TEST), "test", np.where(np.isin(number, VALIDATION), "validation", "train"))
    found = {}
    for side, (_, labels) in sides.items():
        # The last of the training pictures are validation, as the reader cuts them.
        wanted = np.full(len(labels), side, dtype=object)
        if side == "train":
            wanted[round(TRAIN_SHARE * len(labels)) :] = "validation"
        found[side] = np.zeros(len(labels), dtype=int)
        for what in np.unique(wanted.astype(str)):
            for label in range(10):
                rows = np.flatnonzero((wanted == what) & (labels == label))
                places = np.flatnonzero((kind == what) & (digit == label))
                if len(rows) and not len(places):
                    raise CohortError(
                        f"no recording of the digit {label} is there for the {what} pictures: recordings 0 to 4 of a "
                        "speaker are test, 5 to 9 validation, the others training. Give all of the published ones."
                    )
                found[side][rows] = rng.choice(places, len(rows)) if len(rows) else []
    return found


def _shrunk(pictures: np.ndarray, shrink: Callable[[np.ndarray], np.ndarray], rows: slice) -> np.ndarray:
    return shrink(pictures[rows])


def _heard(spectrograms: np.ndarray, chosen: np.ndarray, rows: slice) -> np.ndarray:
    return spectrograms[chosen[rows]]


def _write(path: Path, shape: tuple[int, ...], of: Callable[[slice], np.ndarray]) -> None:
    """Piece by piece: the sounds of all pictures are 900 MB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    for first in range(0, shape[0], _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        array[rows] = of(rows)
    array.flush()


def _progressing(made: np.ndarray, done: int, total: int, progress: Callable[[int, int], None]) -> np.ndarray:
    progress(done + 1, total)
    return made


def main() -> None:
    """The command: an error that a person can mend is printed as such, without a traceback, and the status is 2."""
    parser = argparse.ArgumentParser(description="AV-MNIST from MNIST and the Free Spoken Digit Dataset.")
    parser.add_argument("--mnist", type=Path, required=True, help="folder of MNIST's four idx files")
    parser.add_argument("--fsdd", type=Path, required=True, help="folder of the recordings, or of `recordings/`")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--energy", type=float, default=ENERGY, help="share of the pictures' variance that is kept")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    try:
        told = build_avmnist(given.mnist, given.fsdd, given.out, energy=given.energy, seed=given.seed)
    except MmnError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(", ".join(f"{name}: {value}" for name, value in told.items()))


if __name__ == "__main__":
    main()
