"""How fast members train side by side, as ratios to a plain loop that trains the same members one by one.

    python -m benchmarks.models                 # every shape, about two minutes
    python -m benchmarks.models --shapes mimic  # one of them
    python -m benchmarks.models --grid 20       # the paper's 25 models of MIMIC for 20 epochs

Both take the same number of optimiser steps with the same batch size, dropout and network, on one thread. Rounds of the
two alternate in one process; the figure is the median of the rounds' CPU time per member and epoch. Both figures are of
training alone; the members' validation, which the loop has not, has its own column.

`matrix products` is the floor: the products that a step cannot do without, of the same sizes and as many members side
by side, and nothing else, timed in the same rounds. The last column is how much longer the training takes than they do.

The loop is written as the published code is: one model, one batch, an encoder after the other, each state decoded on
its own, a confusion matrix of torchmetrics and a count of right answers made anew for every state, task and batch,
Python's `any()` over a batch to see whether a value is missing. Its MIMIC batches come from a DataLoader, item by item;
of series, for which nothing was published, they lie ready. `loop, mended` asks the tensor instead of `any()`, which is
one line. The published code itself is not here; known from another machine is how long it takes beside itself with that
line mended: 8.3 times as long on MIMIC's shapes, 1.3 to 1.4 times on 20 encoder steps, 1.05 times on 120. The loop's
own ratio, printed beside these, says how faithful it is. P-Fusion has
no dropout there, hence none here, and nothing is clipped, on either side.

`--grid`: five folds of MultiModN on both tasks and on each alone, which are members of one training, and of P-Fusion on
each. Ours with validation, the best checkpoint and the test items' predictions; the loop's training alone, reckoned
from one epoch of each kind.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics import ConfusionMatrix

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.folds import subject_folds
from mmn.modeling.decoding import MOST_ROWS
from mmn.modeling.inputs import Member
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.train import Training, train
from mmn.modeling.trained import one_thread

DECODER_HIDDEN = 32
FLOOR = "matrix products"


@dataclass(frozen=True)
class Shape:
    """The data of one of the paper's experiments, without its content. published: times the mended loop, known.
    members: how many are trained side by side: on MIMIC the paper's 5 folds x 5 seeds."""

    num_items: int
    num_steps: int
    widths: tuple[int, ...]
    num_tasks: int
    batch: int
    state: int
    dropout: float
    architecture: str
    published: str
    members: int = 5


SHAPES = {
    "mimic": Shape(921, 1, (9, 1024, 768, 99), 2, 16, 50, 0.2, "multimodn", "8.3", 25),
    "mimic p_fusion": Shape(921, 1, (9, 1024, 768, 99), 1, 16, 50, 0.0, "p_fusion", "1", 10),
    "edu": Shape(5611, 10, (25, 17), 3, 64, 20, 0.1, "multimodn", "1.3 to 1.4", 5),
    "weather2k": Shape(1866, 24, (3, 10, 4, 5, 1), 5, 128, 20, 0.1, "multimodn", "1.05", 5),
}


# Of each batch: values (B, width) per encoder application, modality after modality, and targets (B, tasks).
Batches = Iterable[tuple[list[torch.Tensor], torch.Tensor]]


class PlainItems(Dataset):
    """Items without steps, one by one."""

    def __init__(self, values: list[np.ndarray], targets: np.ndarray) -> None:
        self.values, self.targets = values, targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, item: int) -> tuple[list[torch.Tensor], torch.Tensor]:
        return [torch.Tensor(v[item]) for v in self.values], torch.LongTensor(self.targets[item])


class PlainEncoder(nn.Module):
    def __init__(self, width: int, state: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(width + state, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(),
            nn.Linear(32, state), nn.ReLU(),
        )  # fmt: skip

    def forward(self, state: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.layers(torch.cat([x, state], dim=1))


class PlainDecoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, DECODER_HIDDEN), nn.ReLU(), nn.Linear(DECODER_HIDDEN, DECODER_HIDDEN), nn.ReLU(),
            nn.Linear(DECODER_HIDDEN, 2), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        return self.layers(state)


class PlainMultiModN(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.initial = nn.Parameter(torch.randn(1, shape.state))
        self.encoders = nn.ModuleList(PlainEncoder(width, shape.state, shape.dropout) for width in shape.widths)
        self.decoders = nn.ModuleList(PlainDecoder(shape.state) for _ in range(shape.num_tasks))


def plain_epoch(
    model: PlainMultiModN, optimiser: torch.optim.Optimizer, batches: Batches, missing: Callable[[torch.Tensor], bool]
) -> None:
    """missing: how a batch is asked for NaN."""
    criterion = nn.CrossEntropyLoss()
    num_correct = np.zeros(len(model.decoders))
    confused = np.zeros((len(model.decoders), 2, 2))

    def keep_score(d: int, said: torch.Tensor, target: torch.Tensor) -> None:
        num_correct[d] += float(sum(said.argmax(dim=1) == target))
        confused[d] += ConfusionMatrix(task="multiclass", num_classes=2)(said.detach(), target).numpy()

    for inputs, targets in batches:
        optimiser.zero_grad()
        state = model.initial.tile((len(targets), 1))
        losses = []
        for d, decoder in enumerate(model.decoders):
            said = decoder(state)
            losses.append(criterion(said, targets[:, d]))
            keep_score(d, said, targets[:, d])
        for number, x in enumerate(inputs):
            if missing(x):
                continue
            state = model.encoders[number % len(model.encoders)](state, x)
            for d, decoder in enumerate(model.decoders):
                said = decoder(state)
                losses.append(criterion(said, targets[:, d]))
                keep_score(d, said, targets[:, d])
        (torch.stack(losses).sum() / (len(model.decoders) * (len(inputs) + 1))).backward()
        optimiser.step()


def plain_fusion_epoch(model: nn.Module, optimiser: torch.optim.Optimizer, batches: Batches) -> None:
    criterion = nn.CrossEntropyLoss()
    correct = 0
    for inputs, targets in batches:
        optimiser.zero_grad()
        said = model(torch.cat([torch.nan_to_num(x) for x in inputs], dim=1))
        correct += int((said.argmax(dim=1) == targets[:, 0]).sum())
        criterion(said, targets[:, 0]).backward()
        optimiser.step()


def python_any(x: torch.Tensor) -> bool:
    return any(x.isnan().flatten())


def tensor_any(x: torch.Tensor) -> bool:
    return bool(x.isnan().any())


def make_world(shape: Shape) -> tuple[Cohort, dict[str, Embeddings], tuple[Task, ...]]:
    """Noise of the right shape, nothing missing: both sides then take every encoder in every batch."""
    rng = np.random.default_rng(0)
    names = [f"i{n}" for n in range(shape.num_items)]
    items = pd.DataFrame({"item": names, "subject": names, "prediction_time": pd.NaT})
    embeddings = {
        f"m{n}": Embeddings(
            items=items["item"].to_numpy(dtype=object),
            values=rng.standard_normal((1, shape.num_items, shape.num_steps, width)).astype(np.float32),
            present=np.ones((shape.num_items, shape.num_steps), dtype=bool),
        )
        for n, width in enumerate(shape.widths)
    }
    tasks = tuple(
        Task(name=f"t{n}", number=None, kind="binary", description="noise", read_step=shape.num_steps - 1)
        for n in range(shape.num_tasks)
    )
    targets = {task.name: (rng.random(shape.num_items) < 0.4).astype(float) for task in tasks}
    folds = subject_folds(items, targets["t0"].astype(int), 5, 0)
    return Cohort(items=items, targets=targets, folds=folds, num_steps=shape.num_steps), embeddings, tasks


def plain_batches(
    shape: Shape, cohort: Cohort, embeddings: dict[str, Embeddings], most: int
) -> tuple[Batches, int, float]:
    """Batches of the first fold: of series at most `most`; how many, and by how much an epoch is longer."""
    rows = cohort.rows(0, "train")
    targets = np.stack([t[rows] for t in cohort.targets.values()], axis=1).astype(np.int64)
    values = [e.values[0, rows] for e in embeddings.values()]
    if shape.num_steps == 1:
        loader = DataLoader(PlainItems([v[:, 0] for v in values], targets), shape.batch)
        return loader, len(loader), 1.0
    batches = []
    for first in range(0, len(rows), shape.batch):
        part = slice(first, first + shape.batch)
        inputs = [torch.from_numpy(v[part, step]) for step in range(shape.num_steps) for v in values]
        batches.append((inputs, torch.from_numpy(targets[part])))
    kept = batches[:most]
    return kept, len(kept), len(batches) / len(kept)


def products(shape: Shape, num_members: int = 1) -> list[tuple[int, int, int, int]]:
    """(times, M, inner, N) of every matrix product of one optimiser step of one member, forwards and backwards.

    num_members: the more there are, the fewer rows of each are decoded at a time, so that they stay in the cache."""
    B, S, H, T = shape.batch, shape.state, 32, shape.num_steps
    if shape.architecture == "p_fusion":
        rows, inputs, sizes = B, sum(shape.widths), (H, H, 2)
        first = [(1, B, inputs, H), (1, inputs, B, H)]
        return first + [p for i, o in pairwise(sizes) for p in both_ways(rows, i, o)]
    found = []
    for width in shape.widths:
        found += [(1, T * B, width, H), (1, width, T * B, H)]
        for i, o in ((S, H), (H, H), (H, S)):
            # The state goes step by step; weight gradients can wait for the last one.
            found += [(T, B, i, o), (T, B, o, i), (1, i, T * B, o)]
    rows = (T * len(shape.widths) + 1) * B
    parts = -(-rows * num_members * shape.num_tasks // MOST_ROWS)
    layers = (S, DECODER_HIDDEN, DECODER_HIDDEN, 2)
    decoder = [p for i, o in pairwise(layers) for p in both_ways(-(-rows // parts), i, o)]
    return found + [(parts * times, m, inner, n) for times, m, inner, n in decoder] * shape.num_tasks


def both_ways(rows: int, inputs: int, outputs: int) -> list[tuple[int, int, int, int]]:
    """Of a layer: what it gives, the gradient by what it reads, and the one by its weights."""
    return [(1, rows, inputs, outputs), (1, rows, outputs, inputs), (1, inputs, rows, outputs)]


def products_alone(shape: Shape, num_members: int) -> Callable[[], None]:
    """One step's products of all members, on numbers that lie ready. Narrow products are turned round."""
    work = []
    for times, m, inner, n in products(shape, num_members):
        rows, columns = (n, m) if n < 8 else (m, n)
        a, b = torch.randn(num_members, rows, inner), torch.randn(num_members, inner, columns)
        work.append((times, a, b, torch.empty(num_members, rows, columns)))

    def run() -> None:
        for times, a, b, out in work:
            for _ in range(times):
                torch.bmm(a, b, out=out)

    return run


def plain_way(shape: Shape, batches: Batches, missing: Callable[[torch.Tensor], bool]) -> Callable[[], None]:
    """An epoch of a fresh model of the plain loop."""
    if shape.architecture == "p_fusion":
        layers = [layer for i, o in ((sum(shape.widths), 32), (32, 32)) for layer in (nn.Linear(i, o), nn.ReLU())]
        fusion = nn.Sequential(*layers, nn.Linear(32, 2), nn.Sigmoid())
        optimiser = torch.optim.Adam(fusion.parameters(), lr=1e-3)
        return lambda: plain_fusion_epoch(fusion, optimiser, batches)
    model = PlainMultiModN(shape)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    return lambda: plain_epoch(model, optimiser, batches, missing)


def measure(name: str, num_members: int, rounds: int, epochs: int) -> tuple[dict[str, float], dict[str, float]]:
    """CPU seconds per member and epoch of each way, medians of alternating rounds: training, and validation."""
    shape = SHAPES[name]
    cohort, embeddings, tasks = make_world(shape)
    batches, num_batches, longer = plain_batches(shape, cohort, embeddings, 12)
    settings = TrainingSettings(
        batch_size=shape.batch, dropout=shape.dropout, state=shape.state, device="cpu", loss="published",
        clip_norm=0.0,
    )  # fmt: skip
    trainings = {
        count: Training(
            cohort, embeddings, tasks, shape.architecture, settings,
            [Member(fold=n % 5, seed=n // 5) for n in range(count)],
        )
        for count in dict.fromkeys((1, num_members))
    }  # fmt: skip
    floor = products_alone(shape, num_members)
    spent: dict[str, list[float]] = {}
    validating: dict[str, list[float]] = {}

    def clock(into: dict[str, list[float]], way: str, work: Callable[[], object], share: float) -> None:
        started = time.process_time()
        work()
        into.setdefault(way, []).append((time.process_time() - started) * share)

    for _ in range(rounds):
        if shape.architecture != "p_fusion":
            clock(spent, "loop", plain_way(shape, batches, python_any), longer)
        clock(spent, "loop, mended", plain_way(shape, batches, tensor_any), longer)
        for _ in range(epochs):
            for count, training in trainings.items():
                way = f"side by side, {count}"
                clock(spent, way, lambda: training.epoch(np.ones(count, dtype=bool)), 1 / count)  # noqa: B023
                clock(validating, way, training.validate, 1 / count)
            clock(spent, FLOOR, lambda: [floor() for _ in range(5)], num_batches * longer / (5 * num_members))
    median = statistics.median
    return {k: median(v) for k, v in spent.items()}, {k: median(v) for k, v in validating.items()}


def grid(epochs: int) -> dict[str, float]:
    """CPU seconds of the 25 models: the loop's two forms, ours."""
    shape = SHAPES["mimic"]
    cohort, embeddings, tasks = make_world(shape)
    batches, _, _ = plain_batches(shape, cohort, embeddings, 0)
    alone, fusion = replace(shape, num_tasks=1), SHAPES["mimic p_fusion"]
    spent = {}
    for form, missing in (("loop", python_any), ("loop, mended", tensor_any)):
        costs = []
        for one in (shape, alone, fusion):
            epoch, started = plain_way(one, batches, missing), time.process_time()
            epoch()
            costs.append(time.process_time() - started)
        spent[form] = epochs * (5 * costs[0] + 10 * costs[1] + 10 * costs[2])
    settings = TrainingSettings(
        batch_size=shape.batch, dropout=shape.dropout, state=shape.state, device="cpu", epochs=epochs, clip_norm=0.0
    )
    sets = ((), *((task.name,) for task in tasks))
    started = time.process_time()
    train(cohort, embeddings, tasks, "multimodn", settings, [Member(fold=f, tasks=s) for f in range(5) for s in sets])
    for task in tasks:
        train(cohort, embeddings, (task,), "p_fusion", replace(settings, dropout=0.0))
    return {**spent, "ours": time.process_time() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--members", type=int, default=0, help="side by side; 0: as many as suit each shape")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="of the members, per round")
    parser.add_argument("--grid", type=int, default=0, metavar="EPOCHS", help="the 25 models of MIMIC instead")
    options = parser.parse_args()
    if options.grid:
        with one_thread():
            spent = grid(options.grid)
        told = ", ".join(f"{form} {s:.1f} s ({s / spent['ours']:.1f}x)" for form, s in spent.items())
        print(f"25 models of MIMIC, {options.grid} epochs, CPU time: {told}")
        return
    print(f"{'':<39}{'ms per member and epoch':>25}{'loop':>9}{'mended':>9}{'over the':>10}")
    print(f"{'shape':<16}{'way':<23}{'training':>13}{'validation':>12}{'/ it':>9}{'/ it':>9}{'floor':>10}")
    with one_thread():
        for name in options.shapes:
            members = options.members or SHAPES[name].members
            spent, validating = measure(name, members, options.rounds, options.epochs)
            flops = sum(2 * times * m * inner * n for times, m, inner, n in products(SHAPES[name]))
            for way, seconds in spent.items():
                loop, mended = spent.get("loop"), spent["loop, mended"]
                print(
                    f"{name:<16}{way:<23}{seconds * 1e3:>13.1f}"
                    f"{f'{validating[way] * 1e3:.2f}' if way in validating else '':>12}"
                    f"{f'{loop / seconds:.1f}x' if loop else '-':>9}{f'{mended / seconds:.1f}x':>9}"
                    f"{f'{seconds / spent[FLOOR]:.1f}x':>10}"
                )
            print(
                f"{name:<16}one step of one member is {flops / 1e6:.1f} million floating-point operations of products;"
            )
            print(f"{'':<16}the published code took {SHAPES[name].published} times the mended loop, where measured\n")


if __name__ == "__main__":
    main()
