"""MNIST's idx files and the Free Spoken Digit Dataset's recordings, as they are published."""

from __future__ import annotations

import gzip
import re
import wave
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmn.data.errors import ContractError, RawFileError

IDX = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
RATE = 8_000
_RECORDING = re.compile(r"([0-9])_([a-z]+)_([0-9]+)\.wav")


def read_mnist(folder: Path, side: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, 28, 28) uint8 and (N,) uint8. side: "train" or "test"; each file plain, or packed as .gz."""
    pictures, labels = (_read_idx(_find(folder, name), rank) for name, rank in zip(IDX[side], (3, 1), strict=True))
    if pictures.shape[1:] != (28, 28) or len(pictures) != len(labels):
        raise ContractError(
            f"{folder}: {side} has pictures of shape {pictures.shape} and {len(labels)} labels. Take MNIST's "
            "four files."
        )
    if labels.size and labels.max() > 9:
        raise ContractError(
            f"{folder}: {side} has a label of {labels.max()}, which is no digit. Take MNIST's four files."
        )
    return pictures, labels


def _find(folder: Path, name: str) -> Path:
    """Some copies write a point before idx."""
    for told in (name, f"{name}.gz", name.replace("-idx", ".idx"), name.replace("-idx", ".idx") + ".gz"):
        if (folder / told).is_file():
            return folder / told
    raise RawFileError(f"{folder}: {name} is missing, plain or as .gz. Put MNIST's four files there.")


def _read_idx(path: Path, rank: int) -> np.ndarray:
    """Unsigned bytes with `rank` axes: two zeros, type 8, rank, the sizes (big-endian), the numbers."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise RawFileError(f"{path}: cannot be unpacked ({error}). Download it again.") from error
    if data[:4] != bytes([0, 0, 8, rank]):
        raise RawFileError(f"{path}: does not begin as an idx file of {rank} axes of bytes. Take MNIST's file.")
    sizes = np.frombuffer(data[4 : 4 + 4 * rank], dtype=">u4").astype(int)
    body = np.frombuffer(data, dtype=np.uint8, offset=min(len(data), 4 + 4 * rank))
    if len(sizes) < rank or len(body) != sizes.prod():
        raise RawFileError(f"{path}: {len(body):,} bytes for {sizes.tolist()}; it is cut short. Download it again.")
    return body.reshape(sizes)


def find_recordings(folder: Path) -> dict[Path, tuple[int, str, int]]:
    """Path -> digit, speaker, number, of all `{digit}_{speaker}_{number}.wav` in the folder or its `recordings`."""
    inside = folder / "recordings" if (folder / "recordings").is_dir() else folder
    found = {path: _RECORDING.fullmatch(path.name) for path in sorted(inside.glob("*.wav"))}
    named = {path: (int(m[1]), m[2], int(m[3])) for path, m in found.items() if m}
    if not named:
        raise RawFileError(f"{inside}: no recording such as 7_jackson_32.wav. Put the Free Spoken Digit Dataset there.")
    return named


def read_recording(path: Path) -> np.ndarray:
    """(samples,) float64 in [-1, 1), at 8 kHz."""
    try:
        with wave.open(str(path)) as sound:
            told = (sound.getnchannels(), sound.getsampwidth(), sound.getframerate())
            data = sound.readframes(sound.getnframes())
    except (wave.Error, EOFError) as error:
        raise RawFileError(f"{path}: not a whole wav file ({error}). Download it again.") from error
    if told != (1, 2, RATE):
        raise ContractError(
            f"{path}: {told[0]} channels of {8 * told[1]} bits at {told[2]} Hz, expected 1 of 16 at {RATE}. Take the "
            "published recordings."
        )
    if not data:
        raise RawFileError(f"{path}: holds no sound. Download it again.")
    return np.frombuffer(data, dtype="<i2") / 32_768.0


def write_idx(path: Path, values: np.ndarray) -> None:
    """As MNIST's files are; what the tests' worlds are written with."""
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
    path.write_bytes(head + values.astype(np.uint8).tobytes())


def write_recording(path: Path, sound: Sequence[float] | np.ndarray) -> None:
    """sound: in [-1, 1)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(np.asarray(sound), -1, 0.9999) * 32_768).astype("<i2").tobytes())
