"""How Vision & Touch's trajectories are split: ours, by whole runs, and the published draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmn.data.errors import ContractError

ENDING = "_1000.h5"
VALIDATION_SHARE, TEST_SHARE, PUBLISHED_SHARE = 0.1, 0.1, 0.2
FEWEST_RUNS = 10
# A run is recorded in trajectories numbered from 0.
NUM_NUMBERS = 20

Sides = dict[str, str | None]


def clean_sides(names: Sequence[str], seed: int) -> tuple[Sides, tuple[str, ...]]:
    """Name -> side: 80, 10, 10 in a hundred runs, drawn by the seed; trajectories of a run stay together.

    Where there are fewer than ten runs, or the names have no numbers, trajectories are drawn one by one.
    """
    runs = [_run_of(name) for name in names]
    together = all(runs) and len({run[0] for run in runs if run}) >= FEWEST_RUNS
    groups = [run[0] if together and run else name for run, name in zip(runs, names, strict=True)]
    distinct = sorted(set(groups))
    drawn = [distinct[at] for at in np.random.default_rng(seed).permutation(len(distinct))]
    num_test, num_validation = (max(1, round(share * len(drawn))) for share in (TEST_SHARE, VALIDATION_SHARE))
    side = dict.fromkeys(drawn, "train")
    side |= dict.fromkeys(drawn[:num_test], "test")
    side |= dict.fromkeys(drawn[num_test : num_test + num_validation], "validation")
    note = (
        f"Split by {'run' if together else 'trajectory'} with seed {seed}, 80/10/10; the published split has no test."
    )
    return {name: side[group] for name, group in zip(names, groups, strict=True)}, (note,)


def published_sides(names: Sequence[str], seed: int) -> tuple[Sides, tuple[str, ...]]:
    """Name -> train, validation, or None where the published draw loses it.

    (The draw has no seed there, and goes by the order of the disk; here by the names' and a seed.)
    A fifth is drawn for validation, with repeats; for each repeat another trajectory is lost. Then one more of the same
    run joins each: the one with the greatest number below 20 if its own is below 10, else the one with the least.
    """
    if any(_run_of(name) is None for name in names):
        raise ContractError(
            f"a trajectory's name does not end in a number and {ENDING}, which the published split goes by. Take the "
            "released files, or mode clean."
        )
    drawn = np.random.RandomState(seed).randint(0, len(names), int(len(names) * PUBLISHED_SHARE))
    chosen = [names[at] for at in drawn]
    train, places = list(names), drawn
    while len(places):
        if places[0] < len(train):
            train.pop(places[0])
        places = np.where(places > places[0], places - 1, places)[1:]
    joined: list[str] = []
    for name in chosen:
        run = _run_of(name)
        assert run is not None
        numbers = reversed(range(NUM_NUMBERS)) if run[1] < NUM_NUMBERS // 2 else range(NUM_NUMBERS)
        mates = (f"{run[0]}{number}{ENDING}" for number in numbers)
        mate = next((one for one in mates if one in train or one in joined), None)
        if mate is None:
            continue
        if mate in train:
            train.remove(mate)
        joined.append(mate)
    sides: Sides = dict.fromkeys(names)
    sides |= dict.fromkeys(train, "train")
    sides |= dict.fromkeys([*chosen, *joined], "validation")
    return sides, (
        f"As published, but with seed {seed}: a fifth of the trajectories is drawn for validation with repeats, some "
        "are lost, and the test items are the validation items once more, by which the models were chosen.",
        "As published: the last step of a trajectory is another one of its steps, drawn at random.",
    )


def _run_of(name: str) -> tuple[str, int] | None:
    """What comes before a trajectory's number, and the number: one digit after an underscore, else two."""
    stem = name.removesuffix(ENDING)
    digits = 1 if stem[-2:-1] == "_" else 2
    return (stem[:-digits], int(stem[-digits:])) if stem[-digits:].isdigit() and stem != name else None
