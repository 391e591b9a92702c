"""P-Fusion's featurizer for EDU and Weather2k: an autoencoder per fold, fitted on that fold's training rows alone.

A row is one item at one step. n → 32 → 32 → z with ReLU, then z → 32 → 32 → n with a sigmoid, mean squared error
(paper, App. B). The folds are trained side by side as members of one stack; none depends on the others.

Letters: K members (folds), P parameters of one member, B rows of a batch, D dimensions, R rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmn.data.cohort import Cohort
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ContractError, ParamsError
from mmn.data.scaling import Scaler, fit_scaler
from mmn.featurizers.featurizer import Featurized, Progress

if TYPE_CHECKING:
    import torch

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, kw_only=True)
class AutoencoderParams:
    """code: z. 20 is MultiModN's state size; 39 gives the encoder as many parameters as MultiModN's has, for any n
    (32n + 33z + 1,088 = 32n + 2,388); the paper's text allows both. patience: epochs without a better validation error
    after which a member stops; its best epoch is kept."""

    code: int = 20
    hidden: int = 32
    epochs: int = 30
    batch_size: int = 256
    learning_rate: float = 1e-3
    patience: int = 10

    def __post_init__(self) -> None:
        for name in ("code", "hidden", "epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; at least 1 is needed.")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0.")


def fit_autoencoder(
    embeddings: Embeddings, cohort: Cohort, params: AutoencoderParams, seed: int, progress: Progress
) -> Featurized:
    """The codes as embeddings, float32 (F, N, T, z), present where the input is. The same seed gives the same bytes.

    Inputs are scaled to [0, 1] by the training rows' range; an undefined element is 0 and is reconstructed as that.
    Raises ContractError where a fold has no training row in which the modality is present.
    """
    import torch

    item_of_row = np.nonzero(embeddings.present)[0]
    folds = [_fold_rows(embeddings, cohort, item_of_row, fold) for fold in range(cohort.num_folds)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        layers = _layers(embeddings.width, params)
        best_KP, epochs = _train(folds, layers, params, seed, progress)
        num_folds, num_rows = len(folds), len(item_of_row)
        codes = np.full((num_folds, *embeddings.present.shape, params.code), np.nan, dtype=np.float32)
        codes[:, embeddings.present] = _encode(folds, best_KP, layers, num_rows, params.code)
        cards = [_fold_card(fold, best_KP[k : k + 1], layers, epochs[k]) for k, fold in enumerate(folds)]
    finally:
        torch.set_num_threads(threads)
    return Featurized(
        embeddings=Embeddings(items=embeddings.items, values=codes, present=embeddings.present),
        card=_card(cards, embeddings.width, params, seed),
    )


@dataclass(frozen=True, kw_only=True)
class _Fold:
    """One fold's rows, scaled. rows: float32 (R, D), all present rows; train, validation: positions in them."""

    rows: torch.Tensor
    train: np.ndarray
    validation: np.ndarray
    scaler: Scaler


def _fold_rows(embeddings: Embeddings, cohort: Cohort, item_of_row: np.ndarray, fold: int) -> _Fold:
    import torch

    rows = embeddings.values[fold if embeddings.fitted_per_fold else 0][embeddings.present]
    train = np.flatnonzero(np.isin(item_of_row, cohort.rows(fold, "train")))
    if not len(train):
        raise ContractError(
            f"fold {fold}: the modality is present in no training row ({len(rows)} present rows in all): nothing can "
            "be fitted. Leave the modality out, or use fewer folds."
        )
    scaler = fit_scaler(rows[train], "minmax")
    return _Fold(
        # Copied into torch's memory: numpy's alignment differs from run to run, and with it the last bit of a product.
        rows=torch.from_numpy(scaler(rows)).clone(),
        train=train,
        validation=np.flatnonzero(np.isin(item_of_row, cohort.rows(fold, "validation"))),
        scaler=scaler,
    )


def _layers(width: int, params: AutoencoderParams) -> list[tuple[int, int]]:
    hidden, code = params.hidden, params.code
    return [(width, hidden), (hidden, hidden), (hidden, code), (code, hidden), (hidden, hidden), (hidden, width)]


def _initial(layers: list[tuple[int, int]], seed: int, fold: int) -> tuple[torch.Tensor, torch.Generator]:
    """(P,) uniform in ±1/sqrt(inputs), as torch's linear layers; the generator, which shuffles the fold's rows next."""
    import torch

    generator = torch.Generator().manual_seed(1_000 * seed + fold)
    parts = [
        (torch.rand((inputs + 1) * outputs, generator=generator) * 2 - 1) / inputs**0.5 for inputs, outputs in layers
    ]
    return torch.cat(parts), generator


def _forward(
    flat_KP: torch.Tensor, layers: list[tuple[int, int]], x_KBD: torch.Tensor, *, decode: bool
) -> torch.Tensor:
    """The codes, or the reconstructions in [0, 1]."""
    import torch

    parts = torch.split(flat_KP, [(inputs + 1) * outputs for inputs, outputs in layers], dim=1)
    num_used = len(layers) if decode else len(layers) // 2
    for number, ((inputs, outputs), part) in enumerate(zip(layers[:num_used], parts[:num_used], strict=True), 1):
        weight = part[:, : inputs * outputs].view(-1, inputs, outputs)
        bias = part[:, inputs * outputs :].view(-1, 1, outputs)
        x_KBD = torch.baddbmm(bias, x_KBD, weight)
        x_KBD = torch.sigmoid(x_KBD) if number == len(layers) else torch.relu(x_KBD)
    return x_KBD


def _train(
    folds: list[_Fold], layers: list[tuple[int, int]], params: AutoencoderParams, seed: int, progress: Progress
) -> tuple[torch.Tensor, list[int]]:
    """(K, P), each member at its best validation epoch, and that epoch (from 1).

    Adam, member by member: in a step in which a smaller fold has no rows left, its member rests, moments included.
    """
    import torch

    starts = [_initial(layers, seed, k) for k in range(len(folds))]
    flat_KP = torch.stack([start for start, _ in starts]).requires_grad_()
    best_KP = flat_KP.detach().clone()
    moment_KP, square_KP = torch.zeros_like(best_KP), torch.zeros_like(best_KP)
    num_updates_K1 = torch.zeros(len(folds), 1)
    best_error, best_epoch = [float("inf")] * len(folds), [0] * len(folds)
    for epoch in range(1, params.epochs + 1):
        working = [epoch - best_epoch[k] <= params.patience for k in range(len(folds))]
        if not any(working):
            break
        orders = [fold.train[torch.randperm(len(fold.train), generator=starts[k][1])] for k, fold in enumerate(folds)]
        for step in range(-(-max(map(len, orders)) // params.batch_size)):
            batches = [order[step * params.batch_size : (step + 1) * params.batch_size] for order in orders]
            x_KBD, share_KB = _stack(folds, batches)
            active_K1 = torch.tensor([[bool(len(b)) and w] for b, w in zip(batches, working, strict=True)])
            error_KB = (_forward(flat_KP, layers, x_KBD, decode=True) - x_KBD).square().mean(dim=2)
            (gradient_KP,) = torch.autograd.grad((error_KB * share_KB).sum(), flat_KP)
            with torch.no_grad():
                num_updates_K1 += active_K1
                moment_KP = torch.where(active_K1, torch.lerp(gradient_KP, moment_KP, _BETA_1), moment_KP)
                square_KP = torch.where(active_K1, torch.lerp(gradient_KP.square(), square_KP, _BETA_2), square_KP)
                num = num_updates_K1.clamp(min=1)
                rate = params.learning_rate / (1 - _BETA_1**num)
                change = rate * moment_KP / ((square_KP / (1 - _BETA_2**num)).sqrt() + _EPSILON)
                flat_KP -= torch.where(active_K1, change, 0.0)
        for k, fold in enumerate(folds):
            if not working[k]:
                continue
            judged = fold.validation if len(fold.validation) else fold.train
            error = _reconstruction_error(flat_KP.detach()[k : k + 1], layers, fold.rows[judged])
            if error < best_error[k]:
                best_error[k], best_epoch[k] = error, epoch
                best_KP[k] = flat_KP.detach()[k]
        progress(epoch, params.epochs)
    if 0 in best_epoch:
        raise ParamsError(
            f"autoencoder: the reconstruction error of {best_epoch.count(0)} folds is never a number. "
            f"Set a smaller learning_rate than {params.learning_rate:g}."
        )
    progress(params.epochs, params.epochs)
    return best_KP, best_epoch


def _stack(folds: list[_Fold], batches: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """(K, B, D), zero rows where a member's batch is shorter; and each row's share (K, B) in its member's mean."""
    import torch

    longest = max(map(len, batches))
    x_KBD = torch.zeros(len(folds), longest, folds[0].rows.shape[1])
    share_KB = torch.zeros(len(folds), longest)
    for k, (fold, batch) in enumerate(zip(folds, batches, strict=True)):
        if len(batch):
            x_KBD[k, : len(batch)] = fold.rows[batch]
            share_KB[k, : len(batch)] = 1 / len(batch)
    return x_KBD, share_KB


def _reconstruction_error(flat_1P: torch.Tensor, layers: list[tuple[int, int]], rows: torch.Tensor) -> float:
    import torch

    total = 0.0
    with torch.no_grad():
        for block in torch.split(rows, _ROWS_AT_ONCE):
            error = (_forward(flat_1P, layers, block[None], decode=True)[0] - block).square()
            total += float(error.sum(dtype=torch.float64))
    return total / rows.numel()


def _encode(
    folds: list[_Fold], best_KP: torch.Tensor, layers: list[tuple[int, int]], num_rows: int, code: int
) -> np.ndarray:
    import torch

    codes = np.empty((len(folds), num_rows, code), dtype=np.float32)
    with torch.no_grad():
        for k, fold in enumerate(folds):
            for start in range(0, num_rows, _ROWS_AT_ONCE):
                block = fold.rows[start : start + _ROWS_AT_ONCE]
                made = _forward(best_KP[k : k + 1], layers, block[None], decode=False)[0]
                codes[k, start : start + len(made)] = made
    return codes


def _fold_card(fold: _Fold, flat_1P: torch.Tensor, layers: list[tuple[int, int]], epoch: int) -> dict[str, Any]:
    """Mean squared errors in scaled units, beside those of the training mean as the answer to every row."""
    digest = hashlib.sha256(flat_1P.numpy().tobytes())
    digest.update(fold.scaler.shift.tobytes() + fold.scaler.scale.tobytes())
    card: dict[str, Any] = {"best epoch": epoch, "sha256": digest.hexdigest()}
    mean = fold.rows[fold.train].double().mean(dim=0)
    for side in ("train", "validation"):
        rows = fold.rows[getattr(fold, side)]
        if len(rows):
            card[f"{side} MSE"] = round(_reconstruction_error(flat_1P, layers, rows), 8)
            card[f"{side} MSE of the training mean"] = round(float((rows.double() - mean).square().mean()), 8)
    return card


def _card(cards: list[dict[str, Any]], width: int, params: AutoencoderParams, seed: int) -> dict[str, Any]:
    """`explained`: 1 - MSE / MSE of the training mean, on validation rows, mean of folds; 1 at best, 0 = no better."""
    judged = [card for card in cards if card.get("validation MSE of the training mean")]
    explained = [1 - card["validation MSE"] / card["validation MSE of the training mean"] for card in judged]
    worse = sum(value <= 0 for value in explained)
    unjudged = len(cards) - len(judged)
    notes = {
        "explained, validation": round(float(np.mean(explained)), 4) if explained else None,
        "warning": f"{worse} of {len(cards)} folds reconstruct no better than the training mean." if worse else None,
        "note": f"{unjudged} folds have no validation row that varies, to be judged by." if unjudged else None,
    }
    return {
        "architecture": f"{width}-{params.hidden}-{params.hidden}-{params.code}",
        "seed": seed,
        "fold cards": cards,
        "encoder parameters": sum((inputs + 1) * outputs for inputs, outputs in _layers(width, params)[:3]),
        **{key: note for key, note in notes.items() if note is not None},
        "quarantined": {},
    }
