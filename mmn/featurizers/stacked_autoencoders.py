"""Many small autoencoders trained in one program: the folds and modalities as members of one stack.

n → 32 → 32 → z with ReLU, then z → 32 → 32 → n with a sigmoid, mean squared error over what is known. No member depends
on another: each has its rows, scale, start, order, Adam moments and best epoch. Narrower members are padded with zeros,
which stay zero: their gradient is.

Letters: M modalities, F folds, K = M x F members (modality by modality), B rows of a batch, D dimensions (the widest
modality's in a stack), P parameters of one member, R rows of a modality.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmn.data.scaling import Scaler

Progress = Callable[[int, int], None]
Layers = list[tuple[int, int]]
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_ROWS_AT_ONCE = 16_384


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One modality's rows, NaN = unknown. tables: float32 (R, D), one for all folds or one per fold. train, validation:
    per fold the positions in them. scalers: per fold, fitted on its training rows. code: z."""

    tables: np.ndarray
    train: list[np.ndarray]
    validation: list[np.ndarray]
    scalers: list[Scaler]
    code: int

    def layers(self, hidden: int) -> Layers:
        width, code = self.tables.shape[2], self.code
        return [(width, hidden), (hidden, hidden), (hidden, code), (code, hidden), (hidden, hidden), (hidden, width)]


class Modality:
    """`Rows` in torch's memory: numpy's alignment differs from run to run, and with it the last bit of a product."""

    def __init__(self, rows: Rows, num_folds: int) -> None:
        versions, self.num_rows, self.width = rows.tables.shape
        self.table = torch.from_numpy(rows.tables.reshape(-1, self.width)).clone()
        self.offset_F1 = torch.tensor([f * self.num_rows if versions > 1 else 0 for f in range(num_folds)])[:, None]
        shift, scale, mean = (np.stack([getattr(s, part) for s in rows.scalers]) for part in ("shift", "scale", "mean"))
        self.shift_F1D, self.scale_F1D, self.mean_F1D = (
            torch.from_numpy(part.astype(np.float32))[:, None].clone() for part in (shift, scale, mean)
        )

    def gather(self, rows_FB: Tensor, folds: slice | Tensor) -> tuple[Tensor, Tensor]:
        """The rows scaled to [0, 1], the training mean where unknown (F, B, D); and what is known."""
        flat = (rows_FB + self.offset_F1[folds]).flatten()
        x_FBD = self.table.index_select(0, flat).view(*rows_FB.shape, self.width)
        x_FBD = ((x_FBD - self.shift_F1D[folds]) / self.scale_F1D[folds]).clamp(0.0, 1.0)
        known = ~torch.isnan(x_FBD)
        return torch.where(known, x_FBD, self.mean_F1D[folds]), known


class Stack:
    """All members' parameters (K, P) and their rows."""

    def __init__(self, modalities: Sequence[Rows], hidden: int, seed: int) -> None:
        self.num_folds = len(modalities[0].train)
        self.modalities = [Modality(rows, self.num_folds) for rows in modalities]
        self.train = [positions for rows in modalities for positions in rows.train]
        self.validation = [positions for rows in modalities for positions in rows.validation]
        self.member_layers = [rows.layers(hidden) for rows in modalities for _ in range(self.num_folds)]
        self.layers = [tuple(map(max, zip(*sizes, strict=True))) for sizes in zip(*self.member_layers, strict=True)]
        self.width = self.layers[0][0]
        # A member's start and order depend on the seed and its fold: not on who is trained beside it.
        self.generators = [
            torch.Generator().manual_seed(1_000 * seed + k % self.num_folds) for k in range(len(self.train))
        ]
        self.flat_KP = torch.stack([self._start(k) for k in range(len(self.train))])

    def _start(self, member: int) -> Tensor:
        """(P,) uniform in ±1/sqrt(inputs), as torch's linear layers, padded."""
        parts = []
        for (inputs, outputs), (most_in, most_out) in zip(self.member_layers[member], self.layers, strict=True):
            drawn = torch.rand((inputs + 1) * outputs, generator=self.generators[member]) * 2 - 1
            padded = torch.zeros(most_in + 1, most_out)
            # The bias is the last row.
            drawn = (drawn / inputs**0.5).view(inputs + 1, outputs)
            padded[:inputs, :outputs], padded[most_in, :outputs] = drawn[:inputs], drawn[inputs]
            parts.append(padded.flatten())
        return torch.cat(parts)

    def own_parameters(self, flat_P: Tensor, member: int) -> list[tuple[Tensor, Tensor]]:
        """One member's weights (inputs, outputs) and biases (outputs,), without the padding."""
        parts = torch.split(flat_P, [(inputs + 1) * outputs for inputs, outputs in self.layers])
        own = []
        for part, (most_in, most_out), (inputs, outputs) in zip(
            parts, self.layers, self.member_layers[member], strict=True
        ):
            padded = part.view(most_in + 1, most_out)
            own.append((padded[:inputs, :outputs], padded[most_in, :outputs]))
        return own

    def forward(self, flat_KP: Tensor, x_KBD: Tensor, *, decode: bool) -> Tensor:
        """The codes, or the reconstructions in [0, 1]."""
        parts = torch.split(flat_KP, [(inputs + 1) * outputs for inputs, outputs in self.layers], dim=1)
        num_used = len(self.layers) if decode else len(self.layers) // 2
        for number, ((inputs, outputs), part) in enumerate(zip(self.layers[:num_used], parts, strict=False), 1):
            padded = part.view(-1, inputs + 1, outputs)
            x_KBD = torch.baddbmm(padded[:, inputs:], x_KBD, padded[:, :inputs])
            x_KBD = torch.sigmoid(x_KBD) if number == len(self.layers) else torch.relu(x_KBD)
        return x_KBD

    def gather(self, members: list[int], rows_KB: Tensor, real_KB: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled rows (K, B, D) of these members (ascending), zero-padded; and what of them is known and real."""
        x_KBD = torch.zeros(*rows_KB.shape, self.width)
        known_KBD = torch.zeros(*rows_KB.shape, self.width, dtype=torch.bool)
        for m, modality in enumerate(self.modalities):
            here = [place for place, k in enumerate(members) if k // self.num_folds == m]
            if here:
                places = slice(here[0], here[-1] + 1)
                folds = torch.tensor([members[place] % self.num_folds for place in here])
                x, known = modality.gather(rows_KB[places], folds)
                x_KBD[places, :, : modality.width] = x
                known_KBD[places, :, : modality.width] = known & real_KB[places, :, None]
        return x_KBD, known_KBD

    def squared_errors(self, flat_KP: Tensor, members: list[int], rows: list[np.ndarray]) -> np.ndarray:
        """(K, 3) float64 over each member's rows: squared error of the reconstruction, that of the training mean, and
        how many elements were known."""
        sums = torch.zeros(len(members), 3, dtype=torch.float64)
        rows_KB, real_KB = pad(rows)
        at_once = max(1, _ROWS_AT_ONCE // len(members))
        mean_K1D = torch.zeros(len(members), 1, self.width)
        for place, k in enumerate(members):
            modality = self.modalities[k // self.num_folds]
            mean_K1D[place, :, : modality.width] = modality.mean_F1D[k % self.num_folds]
        with torch.no_grad():
            for begin in range(0, rows_KB.shape[1], at_once):
                x, known = self.gather(
                    members, rows_KB[:, begin : begin + at_once], real_KB[:, begin : begin + at_once]
                )
                made = self.forward(flat_KP, x, decode=True)
                for column, guess in enumerate((made, mean_K1D)):
                    sums[:, column] += ((guess - x).square_() * known).sum(dim=(1, 2), dtype=torch.float64)
                sums[:, 2] += known.sum(dim=(1, 2))
        return sums.numpy()

    def encode(self, flat_KP: Tensor, member: int) -> np.ndarray:
        """float32 (R, z): the codes of all rows of the member's modality."""
        modality = self.modalities[member // self.num_folds]
        codes = []
        with torch.no_grad():
            for begin in range(0, modality.num_rows, _ROWS_AT_ONCE):
                rows = torch.arange(begin, min(begin + _ROWS_AT_ONCE, modality.num_rows))[None]
                x, _ = self.gather([member], rows, torch.ones_like(rows, dtype=torch.bool))
                codes.append(self.forward(flat_KP[member : member + 1], x, decode=False)[0])
        return torch.cat(codes)[:, : self.member_layers[member][2][1]].numpy()


def pad(rows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Lists of positions of different length as one matrix, and what of it is real; row 0 fills up."""
    longest = max(1, max(map(len, rows)))
    matrix, real = np.zeros((len(rows), longest), dtype=np.int64), np.zeros((len(rows), longest), dtype=bool)
    for k, positions in enumerate(rows):
        matrix[k, : len(positions)], real[k, : len(positions)] = positions, True
    return torch.from_numpy(matrix), torch.from_numpy(real)


def train_stack(
    stack: Stack, *, epochs: int, batch_size: int, least_updates: int, learning_rate: float, patience: int,
    progress: Progress,
) -> tuple[Tensor, list[int]]:  # fmt: skip
    """(K, P), each member at its best validation epoch, and that epoch (from 1; 0 = its error was never a number).

    An epoch is one pass over a member's training rows, or as many as make `least_updates` in all epochs. Adam, member
    by member: in a step in which a member has no rows left it rests, moments included. A member that has not improved
    for `patience` epochs leaves the stack.
    """
    num_members = len(stack.train)
    passes = [-(-least_updates // (epochs * -(-len(rows) // batch_size))) for rows in stack.train]
    best_KP = stack.flat_KP.clone()
    moment_KP, square_KP = torch.zeros_like(best_KP), torch.zeros_like(best_KP)
    updates_K1 = torch.zeros(num_members, 1)
    best_error, best_epoch = [float("inf")] * num_members, [0] * num_members
    for epoch in range(1, epochs + 1):
        working = [k for k in range(num_members) if epoch - best_epoch[k] <= patience]
        if not working:
            break
        orders = [_shuffled(stack.train[k], max(1, passes[k]), stack.generators[k]) for k in working]
        flat, moment, square, updates = (t[working] for t in (stack.flat_KP, moment_KP, square_KP, updates_K1))
        flat.requires_grad_()
        rows_KN, real_KN = pad(orders)
        for begin in range(0, rows_KN.shape[1], batch_size):
            real_KB = real_KN[:, begin : begin + batch_size]
            x, known = stack.gather(working, rows_KN[:, begin : begin + batch_size], real_KB)
            share = known / known.sum(dim=(1, 2), keepdim=True).clamp(min=1)
            loss = ((stack.forward(flat, x, decode=True) - x).square() * share).sum()
            (gradient,) = torch.autograd.grad(loss, flat)
            with torch.no_grad():
                active = real_KB.any(dim=1, keepdim=True)
                updates += active
                moment = torch.where(active, torch.lerp(gradient, moment, _BETA_1), moment)
                square = torch.where(active, torch.lerp(gradient.square(), square, _BETA_2), square)
                num = updates.clamp(min=1)
                change = learning_rate / (1 - _BETA_1**num) * moment
                change /= (square / (1 - _BETA_2**num)).sqrt() + _EPSILON
                flat -= torch.where(active, change, 0.0)
        flat = flat.detach()
        stack.flat_KP[working], moment_KP[working], square_KP[working] = flat, moment, square
        updates_K1[working] = updates
        judged = [stack.validation[k] if len(stack.validation[k]) else stack.train[k] for k in working]
        sums = stack.squared_errors(flat, working, judged)
        for place, k in enumerate(working):
            error = float(sums[place, 0] / max(sums[place, 2], 1))
            if error < best_error[k]:
                best_error[k], best_epoch[k] = error, epoch
                best_KP[k] = flat[place]
        progress(epoch, epochs)
    progress(epochs, epochs)
    return best_KP, best_epoch


def _shuffled(rows: np.ndarray, passes: int, generator: torch.Generator) -> np.ndarray:
    return np.concatenate([rows[torch.randperm(len(rows), generator=generator).numpy()] for _ in range(passes)])
