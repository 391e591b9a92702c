"""How fast a manifest is made: files/s on tiny images, MB/s on images of MIMIC's size, beside md5sum and sha256sum.

python -m benchmarks.manifest [--tiny 50000] [--large 200] [--repeats 3] [--folder PATH]

All ways read the same bytes from the page cache, in turn, so what is compared is computing; from a disk the slower of
the two counts. With `--tiny 377110` the tree has as many images as MIMIC-CXR-JPG.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmn.data.manifest import SUMS_FILE, make_manifest
from mmn.data.mimic.layout import image_globs

NUM_IMAGES = 377_110
GIGABYTES = 557.6


@dataclass(frozen=True)
class Took:
    wall: float
    cpu: float


def make_images(root: Path, num: int, num_bytes: int) -> int:
    """A tree of `num` files as MIMIC-CXR-JPG has it, one per study, four studies per patient; the bytes in all."""
    noise = np.random.default_rng(0).bytes(num_bytes)
    for study in range(num):
        subject = 10_000_000 + study // 4 * 7 % 9_999_999
        folder = root / f"files/p{str(subject)[:2]}/p{subject}/s{50_000_000 + study}"
        folder.mkdir(parents=True)
        (folder / f"{study:08x}-{study:08x}.jpg").write_bytes(study.to_bytes(8, "little") + noise[8:])
    return num * num_bytes


def manifest(root: Path) -> dict:
    return make_manifest(root, image_globs(), version="x")


def checksums(root: Path, tool: str) -> str:
    """What md5sum or sha256sum prints for the tree, two at a time as the manifest has threads."""
    find = subprocess.run(["find", "files", "-name", "*.jpg", "-print0"], cwd=root, capture_output=True, check=True)
    command = ["xargs", "-0", "-n", "2000", "-P", str(os.cpu_count() or 1), tool]
    return subprocess.run(command, cwd=root, input=find.stdout, capture_output=True, check=True).stdout.decode()


def compare(root: Path, repeats: int) -> dict[str, Took]:
    """The fastest of `repeats` of each way, interleaved."""
    (root / SUMS_FILE).unlink(missing_ok=True)
    sums = "".join(sorted(checksums(root, "sha256sum").splitlines(keepends=True)))
    ways: dict[str, Callable[[], object]] = {
        "manifest (md5)": lambda: manifest(root),
        "manifest (md5, sha256 compared)": lambda: manifest(root),
        "md5sum": lambda: checksums(root, "md5sum"),
        "sha256sum": lambda: checksums(root, "sha256sum"),
    }
    best: dict[str, Took] = {}
    for _ in range(repeats):
        for name, run in ways.items():
            if "compared" in name:
                (root / SUMS_FILE).write_text(sums)
            took = _timed(run)
            (root / SUMS_FILE).unlink(missing_ok=True)
            best[name] = min(best.get(name, took), took, key=lambda t: t.wall)
    return best


def _timed(run: Callable[[], object]) -> Took:
    before, wall = _cpu(), time.perf_counter()
    run()
    return Took(time.perf_counter() - wall, _cpu() - before)


def _cpu() -> float:
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", type=int, default=50_000, help="how many images of 600 bytes")
    parser.add_argument("--large", type=int, default=200, help="how many images of 1.48 MB")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the trees are made, for a while")
    args = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    for kind, num, num_bytes in (("tiny", args.tiny, 600), ("large", args.large, round(GIGABYTES * 1e9 / NUM_IMAGES))):
        with tempfile.TemporaryDirectory(prefix="mmn-manifest-", dir=args.folder) as folder:
            total = make_images(Path(folder), num, num_bytes)
            took = compare(Path(folder), args.repeats)
        base = took["manifest (md5)"].wall
        print(f"\n{num:,} {kind} images, {total / 1e6:,.0f} MB{'':14}wall s   CPU s   files/s     MB/s   ratio")
        for name, t in took.items():
            rates = f"{num / t.wall:9,.0f} {total / 1e6 / t.wall:8,.0f}"
            print(f"  {name:34} {t.wall:8.2f} {t.cpu:7.2f} {rates} {t.wall / base:7.2f}")
            if kind == "tiny" and "manifest" in name:
                print(f"    {NUM_IMAGES:,} images at that rate: {NUM_IMAGES * t.wall / num:.0f} s")
            if kind == "large" and "manifest" in name:
                print(f"    {GIGABYTES:,.0f} GB at that rate: {GIGABYTES * 1e3 / (total / 1e6 / t.wall) / 60:.0f} min")


if __name__ == "__main__":
    main()
