"""Whether bfloat16 is near enough to float32 on the pictures at hand: measured at the start of every such run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mmn.data.errors import ContractError
from mmn.featurizers.image_networks import Encode
from mmn.featurizers.image_stream import PictureStream, first_shard
from mmn.featurizers.shards import NOWHERE, shard_key

# bfloat16 keeps 8 bits. A tenth of what tells one picture from another is a hundredth of the variance: less than two
# films of one patient differ by. DenseNet-121 stays below it, EfficientNet-Lite0 (0.19 on chest X-rays) does not.
TOLERANCE = 0.1


def compare_with_float32(stream: PictureStream, files: list[Path], exact: Encode, modality: str) -> dict[str, float]:
    """The first shard's pictures in both, for the card. stream: in bfloat16; what it makes is kept for the run.

    The error is relative to the spread between pictures: both as root mean squares over all features, the spread
    around the pictures' mean. Raises ContractError above TOLERANCE.
    """
    first = first_shard(files)
    key = shard_key("bfloat16 against float32", stream.key_of(first))
    if (kept := stream.shards.get(key)) is None:
        rough, reasons = stream.run(first, _quietly)
        sound = reasons == ""
        fine = replace(stream, encode=exact, shards=NOWHERE).run(first, _quietly)[0][sound]
        measured = [len(fine), _error(rough[sound], fine), _lowest_cosine(rough[sound], fine)]
        kept = {"measured": np.asarray(measured, dtype=np.float64)}
        stream.shards.put(key, kept)
    pictures, error, cosine = (float(value) for value in kept["measured"])
    if not error <= TOLERANCE:
        raise ContractError(
            f"{modality}: on the first {pictures:.0f} pictures bfloat16 differs from float32 by {error:.3f} of the "
            f"spread between pictures (lowest cosine {cosine:.6f}); at most {TOLERANCE} is allowed. Set `dtype: "
            "float32`."
        )
    rounded = {"error": round(error, 6), "lowest cosine": round(cosine, 6), "tolerance": TOLERANCE}
    return {"pictures": int(pictures), **rounded}


def _error(rough: np.ndarray, fine: np.ndarray) -> float:
    """0 where there is no picture; of a single one, relative to its own size."""
    spread = float(np.linalg.norm(fine - fine.mean(axis=0) if len(fine) > 1 else fine))
    return float(np.linalg.norm(rough - fine)) / max(spread, 1e-30) if len(fine) else 0.0


def _lowest_cosine(rough: np.ndarray, fine: np.ndarray) -> float:
    lengths = np.linalg.norm(rough, axis=1) * np.linalg.norm(fine, axis=1)
    return float(((rough * fine).sum(axis=1) / np.maximum(lengths, 1e-30)).min(initial=1.0))


def _quietly(done: int, total: int) -> None:
    pass
