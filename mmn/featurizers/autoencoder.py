"""P-Fusion's featurizer for EDU and Weather2k: an autoencoder per modality and fold, fitted on that fold's training
rows alone (paper, App. B). All of them train side by side (`stacked_autoencoders.py`).

The paper leaves open what a row is and how wide the code is; both are parameters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mmn.data.cohort import Cohort
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ContractError, ParamsError
from mmn.data.scaling import fit_scaler
from mmn.featurizers.featurizer import Featurized, Progress

if TYPE_CHECKING:
    import torch

    from mmn.featurizers.stacked_autoencoders import Rows, Stack

_ALONE = "modality"
# Up to here the layers between cost more than the first and the last.
_CHEAP_INPUTS = 48
# Of the positions of two stations the share explained is luck.
_LEAST_DISTINCT = 10


@dataclass(frozen=True, kw_only=True)
class AutoencoderParams:
    """unit: what is encoded. "step": an item at one step, a code per step; "mean": the same, and the mean of an item's
    codes as its one code; "window": all steps of an item at once, one code.
    align: "state": the code is as wide as MultiModN's state; "parameters": as wide as gives the encoder as many
    parameters as MultiModN's encoder of that state has, as near as a whole number comes (39 for a state of 20 and unit
    "step", for any modality); the paper's text allows both. code: MultiModN's state size.
    epochs: passes over a fold's training rows; several passes each where they would make fewer than `least_updates`
    steps of Adam in all, as 160 windows in batches of 256 do. patience: epochs without a better validation error after
    which a member stops; its best epoch is kept.
    least_explained: the bound on the reconstruction: 1 - squared error / that of the training mean, on validation rows.
    """

    unit: Literal["step", "mean", "window"] = "step"
    align: Literal["state", "parameters"] = "state"
    code: int = 20
    hidden: int = 32
    epochs: int = 30
    batch_size: int = 256
    least_updates: int = 1500
    learning_rate: float = 1e-3
    patience: int = 10
    least_explained: float = 0.5

    def __post_init__(self) -> None:
        for name in ("code", "hidden", "epochs", "batch_size", "least_updates", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; at least 1 is needed.")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0.")
        if not self.least_explained < 1:
            raise ValueError(f"least_explained is {self.least_explained}; it must be below 1, which is perfect.")
        for name, known in (("unit", ("step", "mean", "window")), ("align", ("state", "parameters"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; known: {', '.join(known)}.")


def fit_autoencoder(
    embeddings: Embeddings, cohort: Cohort, params: AutoencoderParams, seed: int, progress: Progress,
    read_steps: Collection[int] = (),
) -> Featurized:  # fmt: skip
    """`fit_autoencoders` for one modality."""
    return fit_autoencoders({_ALONE: embeddings}, cohort, params, seed, progress, read_steps)[_ALONE]


def fit_autoencoders(
    embeddings: Mapping[str, Embeddings], cohort: Cohort, params: AutoencoderParams, seed: int, progress: Progress,
    read_steps: Collection[int] = (),
) -> dict[str, Featurized]:  # fmt: skip
    """Per modality the codes as embeddings, float32 (F, N, T, z), present where the input is; T = 1 for units "mean"
    and "window". A modality's bytes are the same whoever is fitted beside it, up to the last bits of a float.

    Inputs are scaled to [0, 1] by the training rows' range; an unknown element holds the training mean and is not
    asked to be reconstructed. read_steps: the steps after which the tasks are read, needed for "mean" and "window",
    which see all steps: a task that is read earlier would see what comes after.
    Raises ContractError where a fold has no training row in which the modality is present, ParamsError for a setting
    that these data do not allow.
    """
    import torch

    from mmn.featurizers.stacked_autoencoders import Stack, train_stack

    rows = {}
    for name, given in embeddings.items():
        check_unit(params, given.num_steps, read_steps)
        rows[name] = _rows(name, given, cohort, params)
    made: dict[str, Featurized] = {}
    groups = _alike({name: each.tables.shape[2] for name, each in rows.items()})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for number, group in enumerate(groups):
            stack = Stack([rows[name] for name in group], params.hidden, seed)
            best_KP, best_epochs = train_stack(
                stack, epochs=params.epochs, batch_size=params.batch_size, learning_rate=params.learning_rate,
                least_updates=params.least_updates, patience=params.patience,
                progress=_part(progress, number, len(groups)),
            )  # fmt: skip
            if 0 in best_epochs:
                raise ParamsError(
                    f"autoencoder: the reconstruction error of {best_epochs.count(0)} of {len(best_epochs)} members "
                    f"is never a number. Set a smaller learning_rate than {params.learning_rate:g}."
                )
            for m, name in enumerate(group):
                members = range(m * cohort.num_folds, (m + 1) * cohort.num_folds)
                cards = [_fold_card(stack, best_KP, k, best_epochs[k], rows[name]) for k in members]
                made[name] = Featurized(
                    embeddings=_as_embeddings(
                        embeddings[name], np.stack([stack.encode(best_KP, k) for k in members]), params.unit
                    ),
                    card=_card(cards, rows[name], embeddings[name].width, params, seed),
                )
    finally:
        torch.set_num_threads(threads)
    return {name: made[name] for name in embeddings}


def _part(progress: Progress, number: int, num_parts: int) -> Progress:
    return lambda done, total: progress(number * total + done, num_parts * total)


def _alike(inputs: Mapping[str, int]) -> list[list[str]]:
    """Modalities whose padding to one width costs less than a stack of their own."""
    groups: list[list[str]] = []
    narrowest = 0
    for name in sorted(inputs, key=lambda name: inputs[name]):
        if not groups or inputs[name] > max(_CHEAP_INPUTS, 2 * narrowest):
            groups.append([])
            narrowest = inputs[name]
        groups[-1].append(name)
    return groups


def check_unit(params: AutoencoderParams, num_steps: int, read_steps: Collection[int]) -> None:
    """Raises ParamsError where a code of all steps would show a task what comes after it is read."""
    if params.unit == "step" or num_steps == 1:
        return
    early = sorted({step for step in read_steps if step < num_steps - 1})
    if early or not read_steps:
        said = f"a task is read after step {early[0]}" if early else "the tasks' read steps were not given"
        raise ParamsError(
            f"autoencoder: unit {params.unit!r} encodes all {num_steps} steps at once, but {said}: its code would hold "
            "what comes later. Set unit to 'step'."
        )


def code_width(params: AutoencoderParams, width: int, num_steps: int) -> int:
    """z. Raises ParamsError where the input layer alone has more parameters than MultiModN's whole encoder."""
    if params.align == "state":
        return params.code
    inputs = width * num_steps if params.unit == "window" else width
    spare = multimodn_parameters(params, width) - _encoder_parameters(inputs, params.hidden, 0)
    code = round(spare / (params.hidden + 1))
    if code < 1:
        raise ParamsError(
            f"autoencoder: align 'parameters' leaves no parameter for a code: {inputs} inputs alone need "
            f"{_encoder_parameters(inputs, params.hidden, 0):,}, MultiModN's encoder has "
            f"{multimodn_parameters(params, width):,}. Set align to 'state', or unit to 'step'."
        )
    return code


def multimodn_parameters(params: AutoencoderParams, width: int) -> int:
    """Of MultiModN's encoder of a modality: features and state in, two hidden layers, state out."""
    return _encoder_parameters(width + params.code, params.hidden, params.code)


def _encoder_parameters(inputs: int, hidden: int, code: int) -> int:
    return (inputs + 1) * hidden + (hidden + 1) * hidden + (hidden + 1) * code


def _rows(name: str, embeddings: Embeddings, cohort: Cohort, params: AutoencoderParams) -> Rows:
    from mmn.featurizers.stacked_autoencoders import Rows

    where = "" if name == _ALONE else f"'{name}', "
    if params.unit == "window":
        item_of_row = np.flatnonzero(embeddings.present.any(axis=1))
        shown = np.where(embeddings.present[None, :, :, None], embeddings.values, np.nan)[:, item_of_row]
        tables = shown.reshape(len(shown), len(item_of_row), -1)
    else:
        item_of_row = np.nonzero(embeddings.present)[0]
        tables = embeddings.values[:, embeddings.present]
    train, validation, scalers = [], [], []
    for fold in range(cohort.num_folds):
        sides = [np.flatnonzero(np.isin(item_of_row, cohort.rows(fold, side))) for side in ("train", "validation")]
        if not len(sides[0]):
            raise ContractError(
                f"{where}fold {fold}: the modality is present in no training row ({len(item_of_row)} present rows in "
                "all): nothing can be fitted. Leave the modality out, or use fewer folds."
            )
        version = fold if embeddings.fitted_per_fold else 0
        scalers.append(fit_scaler(tables[version][sides[0]], "minmax"))
        train.append(sides[0])
        validation.append(sides[1])
    return Rows(
        tables=np.ascontiguousarray(tables, dtype=np.float32), train=train, validation=validation, scalers=scalers,
        code=code_width(params, embeddings.width, embeddings.num_steps),
    )  # fmt: skip


def _as_embeddings(given: Embeddings, codes: np.ndarray, unit: str) -> Embeddings:
    """codes: (F, R, z) of the rows that `_rows` made."""
    present = given.present if unit == "step" else np.asarray(given.present.any(axis=1, keepdims=True))
    values = np.full((len(codes), *present.shape, codes.shape[2]), np.nan, dtype=np.float32)
    if unit == "mean":
        item_of_row = np.nonzero(given.present)[0]
        firsts = np.flatnonzero(np.diff(item_of_row, prepend=-1))
        counts = np.diff(np.append(firsts, len(item_of_row)))
        codes = np.add.reduceat(codes, firsts, axis=1, dtype=np.float64) / counts[:, None]
    values[:, present] = codes
    return Embeddings(items=given.items, values=values, present=present)


def _fold_card(stack: Stack, best_KP: torch.Tensor, member: int, epoch: int, rows: Rows) -> dict[str, Any]:
    """`explained` of a side: 1 - squared error / that of the training mean, over known elements; None where nothing
    varies or there is no row, of validation also with fewer than 10 distinct rows. MSE in scaled units."""
    import torch

    fold = member % stack.num_folds
    scaler = rows.scalers[fold]
    digest = hashlib.sha256()
    for weight, bias in stack.own_parameters(best_KP[member], member):
        digest.update(torch.cat([weight.flatten(), bias]).numpy().tobytes())
    digest.update(scaler.shift.tobytes() + scaler.scale.tobytes() + scaler.mean.tobytes())
    card: dict[str, Any] = {"fold": fold, "best epoch": epoch, "sha256": digest.hexdigest()}
    for side, positions in (("train", rows.train[fold]), ("validation", rows.validation[fold])):
        error, spread, num = stack.squared_errors(best_KP[member : member + 1], [member], [positions])[0].tolist()
        card[f"{side} rows"] = len(positions)
        card[f"{side} MSE"] = round(error / num, 8) if num else None
        told = (
            side == "train" or _num_distinct(rows.tables[min(fold, len(rows.tables) - 1)][positions]) >= _LEAST_DISTINCT
        )
        known = told and spread > 1e-9 * max(num, 1.0)
        card[f"{side} explained"] = round(1 - error / spread, 4) if known else None
    return card


def _num_distinct(rows: np.ndarray) -> int:
    """rows: float32 (R, D); NaN equals NaN."""
    rows = np.ascontiguousarray(rows)
    return len(np.unique(rows.view(np.dtype((np.void, rows.strides[0])))))


def _card(cards: list[dict[str, Any]], rows: Rows, width: int, params: AutoencoderParams, seed: int) -> dict[str, Any]:
    """`reconstruction`: what each fold's member explains; `bound`; `within_bound`: whether every fold that can be
    judged reaches it, None where none can."""
    explained = [card["validation explained"] for card in cards]
    judged = [value for value in explained if value is not None]
    below = sum(value < params.least_explained for value in judged)
    inputs = rows.tables.shape[2]
    notes = {
        "warning": f"{below} of {len(cards)} folds explain less than {params.least_explained:g}. Raise least_updates "
        "(or epochs), widen the code, or lower least_explained if that much is enough."
        if below
        else None,
        "note": f"{len(cards) - len(judged)} folds are not judged: they have fewer than {_LEAST_DISTINCT} distinct "
        "validation rows, or rows that do not vary."
        if len(judged) < len(cards)
        else None,
    }
    return {
        "architecture": f"{inputs}-{params.hidden}-{params.hidden}-{rows.code}",
        "unit": params.unit,
        "align": params.align,
        "seed": seed,
        "reconstruction": {"measure": "1 - MSE / MSE of the training mean", "validation": explained,
                           "train": [card["train explained"] for card in cards]},
        "bound": params.least_explained,
        "within_bound": not below if judged else None,
        "explained, validation": round(float(np.mean(judged)), 4) if judged else None,
        "fold cards": cards,
        "encoder parameters": _encoder_parameters(inputs, params.hidden, rows.code),
        "MultiModN's encoder parameters": multimodn_parameters(params, width),
        **{key: note for key, note in notes.items() if note is not None},
        "quarantined": {},
    }  # fmt: skip
