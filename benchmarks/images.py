"""How fast X-rays are embedded: the naive way (one at a time, decoded whole, autograd on, float32) beside ours.

python -m benchmarks.images [--images 12] [--rounds 3] [--size 2544x3056] [--device auto|cpu|cuda]

DenseNet-121 at 224 pixels with random weights: as fast as the published ones, and they cannot be downloaded here by
mistake. The pictures are grey JPEGs of MIMIC-CXR's size, smooth with noise, about 2.5 MB. All ways take the same
pictures in turn, in one process; what is compared is the median, within reading, network and both. On a processor ways
are judged by processor time, on a GPU by wall time. A network's share is its arithmetic as a part of what a large
matrix product in the same number format reaches here.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import densenet121

from benchmarks.texts import has_bfloat16, matmul_rate, smallest_cosine
from mmn.data.pictures import digest_of
from mmn.featurizers.image import ImageParams, picture_stream
from mmn.featurizers.image_networks import load_network
from mmn.featurizers.image_reading import read_grey
from mmn.featurizers.image_stream import num_cores
from mmn.featurizers.shards import NOWHERE
from mmn.featurizers.weights import IMAGE_WEIGHTS, Device, Precision, inference, resolve_image

NETWORK, SIDE = "densenet121-res224-chex", 224
DISTINCT = 16


@dataclass(frozen=True, kw_only=True)
class Way:
    """group: what it is compared within, with the first of it. matmul: the number format of its network, "" for none.

    seconds: (processor, wall) of each round; made: float32 (N, D), or nothing.
    """

    group: str
    name: str
    run: Callable[[], np.ndarray | None]
    matmul: str = ""
    seconds: list[tuple[float, float]] = field(default_factory=list)
    made: list[np.ndarray] = field(default_factory=list)


def make_pictures(folder: Path, num: int, width: int, height: int) -> list[Path]:
    """Paths, of which the first DISTINCT are different files, named again and again."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    for number in range(min(num, DISTINCT)):
        rng = np.random.default_rng(number)
        smooth = 127 + 70 * np.sin(x / (250 + 20 * number)) * np.cos(y / 400)
        grey = np.clip(smooth + 8 * rng.standard_normal(smooth.shape, dtype=np.float32), 0, 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"{number}.jpg", quality=90)
    return [folder / f"{number % DISTINCT}.jpg" for number in range(num)]


def random_weights(file: Path) -> Path:
    torch.manual_seed(0)
    network = densenet121(num_classes=18)
    network.features.conv0 = torch.nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    save_file({**network.state_dict(), "op_threshs": torch.tensor(IMAGE_WEIGHTS[NETWORK].thresholds)}, file)
    return file


def naive_network(file: Path, device: torch.device) -> tuple[Callable[[Path], torch.Tensor], Callable[..., np.ndarray]]:
    """(read, embed) as one writes them first: one picture at a time, the whole of it, with a graph for gradients."""
    from safetensors.torch import load_file

    network = densenet121(num_classes=18)
    network.features.conv0 = torch.nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    network.load_state_dict({key: value for key, value in load_file(file).items() if key != "op_threshs"})
    network = network.to(device).eval()

    def read(path: Path) -> torch.Tensor:
        grey = Image.open(path).convert("L")
        side = min(grey.size)
        left, top = (grey.width - side) / 2, (grey.height - side) / 2
        grey = grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
        return (torch.from_numpy(np.array(grey)).float() / 255 * 2 - 1) * 1024

    def embed(picture: torch.Tensor) -> np.ndarray:
        # Rebuilt outside inference mode, as a script that never heard of it would have them.
        with torch.inference_mode(False), torch.enable_grad():
            features = network.features(picture.clone().to(device)[None, None])
            return torch.relu(features).mean(dim=(2, 3)).detach().cpu().numpy()[0]

    return read, embed


def compare(num: int, rounds: int, size: tuple[int, int], wanted: Device, folder: Path) -> dict[str, Any]:
    files = make_pictures(folder, num, *size)
    weights = random_weights(folder / "random.safetensors")
    params = ImageParams(weights=NETWORK, weights_path=str(weights), image_size=SIDE)
    resolved = resolve_image(params.weights, params.weights_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with inference(wanted) as device:
            with torch.inference_mode(False):
                read, embed = naive_network(weights, device)
            grey = np.stack([read_grey(file, SIDE) for file in files])
            slow = [read(file) for file in files]
            stream = picture_stream(resolved, params, device, NOWHERE)
            batch, threads = stream.batch_size, num_cores() if device.type == "cuda" else 1

            def network(dtype: Precision) -> Callable[[], np.ndarray]:
                encode = load_network(resolved, SIDE, dtype, device)
                return lambda: np.concatenate([encode(grey[i : i + batch]) for i in range(0, num, batch)])

            def both(dtype: Precision, threads: int) -> Callable[[], np.ndarray]:
                whole = picture_stream(resolved, replace(params, dtype=dtype), device, NOWHERE)
                return lambda: replace(whole, threads=threads).run(files, lambda *_: None)[0]

            formats: tuple[Precision, ...] = ("float32", "bfloat16") if has_bfloat16(device) else ("float32",)
            ways = [
                Way(group="reading", name="naive: decoded whole", run=lambda: _each(read, files)),
                Way(group="reading", name="ours: decoded at a quarter", run=lambda: _each(_clean, files)),
                Way(group="reading", name="ours, mode haim", run=lambda: _each(_haim, files)),
                Way(group="reading", name="hashing, for the shards' keys", run=lambda: _each(digest_of, files)),
                Way(group="network", name="naive", matmul="float32", run=lambda: np.stack([embed(x) for x in slow])),
                *(Way(group="network", name=f"ours, {kind}", matmul=kind, run=network(kind)) for kind in formats),
                Way(group="both", name="naive", run=lambda: np.stack([embed(read(file)) for file in files])),
            ]
            for kind, count in product(formats, sorted({threads, num_cores()})):
                ways += [Way(group="both", name=f"ours, {kind}, threads: {count}", run=both(kind, count))]
            products = {kind: matmul_rate(device, kind) for kind in formats}
            work = _arithmetic(weights)
            for round_ in range(rounds + 1):
                for way in ways:
                    seconds, made = _timed(way.run)
                    if round_:  # the first round warms up
                        way.seconds.append(seconds)
                    way.made[:] = [] if made is None else [made]
            return _table(ways, num, work, products, device)
    finally:
        torch.set_num_threads(before)


def _table(
    ways: list[Way], num: int, work: float, products: Mapping[Any, float], device: torch.device
) -> dict[str, Any]:
    clock = 1 if device.type == "cuda" else 0
    table: dict[str, Any] = {}
    for way in ways:
        first = next(other for other in ways if other.group == way.group)
        took = [seconds[clock] for seconds in way.seconds]
        seconds = float(np.median(took))
        table[f"{way.group}: {way.name}"] = {
            "ratio": float(np.median([other[clock] for other in first.seconds])) / seconds,
            "ms": (1e3 * min(took) / num, 1e3 * max(took) / num),
            "images/s": num / seconds,
            "wall images/s": num / float(np.median([wall for _, wall in way.seconds])),
            "share": num * work / seconds / products[way.matmul] if way.matmul else None,
            "cosine": smallest_cosine(first.made[0], way.made[0]) if way.made and first.made else None,
        }
    kind = torch.cuda.get_device_name() if device.type == "cuda" else "a processor, one thread unless said"
    return {"images": num, "device": kind, "ways": table}


def _clean(file: Path) -> Any:
    return read_grey(file, SIDE)


def _haim(file: Path) -> Any:
    return read_grey(file, SIDE, "haim")


def _each(work: Callable[[Path], Any], files: list[Path]) -> None:
    for file in files:
        work(file)


def _arithmetic(weights: Path) -> float:
    """Floating-point operations of one picture."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode(False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        naive_network(weights, torch.device("cpu"))[1](torch.zeros(SIDE, SIDE))
    return float(counter.get_total_flops())


def _timed(run: Callable[[], Any]) -> tuple[tuple[float, float], Any]:
    cpu, wall = time.process_time(), time.perf_counter()
    made = run()  # its last step fetches the result, so that a GPU is done
    return (time.process_time() - cpu, time.perf_counter() - wall), made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="2544x3056", help="width x height in pixels")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    chosen = parser.parse_args()
    width, height = (int(side) for side in chosen.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        found = compare(chosen.images, chosen.rounds, (width, height), chosen.device, Path(folder))
        size = sum(file.stat().st_size for file in Path(folder).glob("*.jpg")) / min(chosen.images, DISTINCT)
    print(f"{found['images']} JPEGs of {chosen.size}, {size / 1e6:.1f} MB each, on {found['device']}")
    print(f"{'':40}{'faster':>8}{'ms an image':>16}{'images/s':>10}{'wall':>8}{'of a matmul':>13}{'min cosine':>12}")
    for name, way in found["ways"].items():
        spread = f"{way['ms'][0]:.1f}..{way['ms'][1]:.1f}"
        share = "" if way["share"] is None else f"{way['share']:.0%}"
        cosine = "" if way["cosine"] is None else f"{way['cosine']:.6f}"
        print(
            f"{name:40}{way['ratio']:>7.2f}x{spread:>16}{way['images/s']:>10,.1f}{way['wall images/s']:>8,.1f}"
            f"{share:>13}{cosine:>12}"
        )


if __name__ == "__main__":
    main()
