"""Autoencoders side by side: all folds and modalities side by side, a stack per modality, and one by one.

python -m benchmarks.autoencoder [--items 1866] [--steps 24] [--widths 3 16 6 5 1] [--folds 5] [--epochs 4]
                                 [--unit step] [--repeats 3]

The three ways fit the same members to the same rows on one thread, in turn, interleaved; the best of `--repeats`
counts.
"one by one" is torch's own: nn.Linear, Adam, a loop over members.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from mmn.data.cohort import Cohort
from mmn.data.embeddings import Embeddings
from mmn.data.folds import subject_folds
from mmn.featurizers.autoencoder import AutoencoderParams, fit_autoencoders


def make_world(
    num_items: int, num_steps: int, widths: list[int], num_folds: int
) -> tuple[dict[str, Embeddings], Cohort]:
    """Modalities of these widths; each row lies near a surface of two dimensions, one in fifty is absent."""
    rng = np.random.default_rng(0)
    names = np.array([f"item{i}" for i in range(num_items)], dtype=object)
    items = pd.DataFrame({"item": names, "subject": names, "prediction_time": pd.NaT})
    folds = subject_folds(items, np.zeros(num_items, dtype=int), num_folds, 0)
    cohort = Cohort(items=items, targets={}, folds=folds, num_steps=num_steps)
    worlds = {}
    for place, width in enumerate(widths):
        values = np.tanh(rng.normal(size=(num_items, num_steps, 2)) @ rng.normal(size=(2, width)))
        present = rng.random((num_items, num_steps)) > 0.02
        values[~present] = np.nan
        worlds[f"m{place}"] = Embeddings(items=names, values=values[None].astype(np.float32), present=present)
    return worlds, cohort


def one_by_one(worlds: dict[str, Embeddings], cohort: Cohort, params: AutoencoderParams) -> None:
    """Plain torch: the same rows, batches, epochs and network for each fold of each modality; no early stop."""
    for embeddings in worlds.values():
        values, present = embeddings.values[0], embeddings.present
        if params.unit == "window":
            values = np.where(present[..., None], values, np.nan).reshape(len(values), 1, -1)
            present = np.asarray(present.any(axis=1, keepdims=True))
        for fold in range(cohort.num_folds):
            x, validation = (
                torch.from_numpy(np.nan_to_num(values[cohort.rows(fold, side)][present[cohort.rows(fold, side)]]))
                for side in ("train", "validation")
            )
            low, span = x.min(dim=0).values, (x.max(dim=0).values - x.min(dim=0).values).clamp(min=1e-6)
            x, validation = (x - low) / span, (validation - low) / span
            n, h, z = x.shape[1], params.hidden, params.code
            sizes = [(n, h), (h, h), (h, z), (z, h), (h, h), (h, n)]
            parts: list[torch.nn.Module] = []
            for place, (inputs, outputs) in enumerate(sizes):
                parts += [torch.nn.Linear(inputs, outputs), torch.nn.Sigmoid() if place == 5 else torch.nn.ReLU()]
            network = torch.nn.Sequential(*parts)
            adam = torch.optim.Adam(network.parameters(), lr=params.learning_rate)
            for _ in range(params.epochs):
                for batch in torch.randperm(len(x)).split(params.batch_size):
                    adam.zero_grad(set_to_none=True)
                    torch.nn.functional.mse_loss(network(x[batch]), x[batch]).backward()
                    adam.step()
                with torch.no_grad():
                    torch.nn.functional.mse_loss(network(validation), validation).item()
            with torch.no_grad():
                network[:6](x)


def compare(
    worlds: dict[str, Embeddings], cohort: Cohort, params: AutoencoderParams, repeats: int
) -> dict[str, tuple[float, float]]:
    """Way -> (wall s, CPU s), the best of the repeats."""
    read_steps = (cohort.num_steps - 1,)

    def nothing(done: int, total: int) -> None:
        """No progress is shown."""

    def per_modality() -> None:
        for name, embeddings in worlds.items():
            fit_autoencoders({name: embeddings}, cohort, params, 0, nothing, read_steps)

    ways: dict[str, Callable[[], object]] = {
        "one by one (torch)": lambda: one_by_one(worlds, cohort, params),
        "a stack per modality": per_modality,
        "all side by side": lambda: fit_autoencoders(worlds, cohort, params, 0, nothing, read_steps),
    }
    best: dict[str, tuple[float, float]] = {}
    for _ in range(repeats):
        for name, run in ways.items():
            cpu, wall = time.process_time(), time.perf_counter()
            run()
            took = (time.perf_counter() - wall, time.process_time() - cpu)
            best[name] = min(best.get(name, took), took, key=lambda t: t[1])
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--widths", type=int, nargs="+", default=[3, 10, 6, 5, 1])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--unit", choices=("step", "mean", "window"), default="step")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    worlds, cohort = make_world(args.items, args.steps, args.widths, args.folds)
    params = AutoencoderParams(
        epochs=args.epochs, least_updates=1, patience=args.epochs, unit=args.unit, batch_size=args.batch
    )
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, one thread; torch {torch.__version__}")
    print(f"{args.items:,} items x {args.steps} steps, widths {args.widths}, {args.folds} folds, unit {args.unit}, "
          f"{args.epochs} epochs, batch {args.batch}\n")  # fmt: skip
    best = compare(worlds, cohort, params, args.repeats)
    base = best["one by one (torch)"][1]
    print(f"{'':24} wall s   CPU s   times faster (CPU)")
    for name, (wall, cpu) in best.items():
        print(f"{name:24} {wall:6.2f}  {cpu:6.2f}   {base / cpu:5.2f}")


if __name__ == "__main__":
    main()
