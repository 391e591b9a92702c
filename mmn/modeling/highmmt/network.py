"""HighMMT as a model of this house: an encoder U for all modalities, a block C for all ordered pairs, a head per task.

U turns any modality's tokens into L latents; C reads one modality's latents from another's, and its last latent is
kept; those of all ordered pairs, side by side, go to the heads. A model of one modality flattens its latents instead.
Tasks read at different steps see the tokens up to theirs, at the places of the full series.

Paper and published code differ. `mode: paper`, the default: heads with batch normalisation, blocks with one residual
around each part. `mode: published`: heads with LayerNorm, blocks whose second half is added to its input once more,
pairs in the alphabetical order of modalities. The mark of a modality is one-hot, as in the paper, or a row that the
encoder learns (`marks: learnt`), as in the published code's scripts of heterogeneity and sharing.

Missing modalities are no part of the paper. Here an absent modality is never encoded; its pairs hold zeros, or, with
`pairs_of_absent: mean`, the mean of the pairs that there are takes their place. An item with one modality reads that
one from itself. Steps of a series that are absent are no tokens.

K members, B items, T steps, t tokens of width E, L latents of width d, n modalities, P = n (n - 1) ordered pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import permutations
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from mmn.data.dataset import Task
from mmn.data.errors import ContractError
from mmn.modeling.architecture import Architecture, ReadOnce, outputs_of
from mmn.modeling.batch import Batch, ModalityShape
from mmn.modeling.highmmt.blocks import PerceiverBlock
from mmn.modeling.highmmt.heads import Head
from mmn.modeling.highmmt.serialise import LEARNT_MARK, Declared, Serialiser, declare
from mmn.modeling.layers import member_values
from mmn.modeling.settings import TrainingSettings


class Encoder(nn.Module):
    """U: learnt latents that look at a modality's tokens. (K, R, t, E) -> (K, R, L, d).

    num_marks: of how many modalities it learns the marks, which then are the last numbers of a token; 0 = of none.
    """

    def __init__(
        self, token_width: int, settings: TrainingSettings, rngs: Sequence[np.random.Generator], num_marks: int = 0
    ) -> None:
        super().__init__()
        shape = (1, settings.latents, settings.latent_width)
        self.latents_K1Ld = nn.Parameter(member_values(rngs, lambda rng: rng.standard_normal(shape)))
        self.block = PerceiverBlock(
            settings.latent_width, token_width, settings.cross_heads, settings.latent_heads,
            settings.latent_head_size, rngs, doubled=settings.mode == "published",
        )  # fmt: skip

        marks = member_values(rngs, lambda rng: rng.standard_normal((num_marks, LEARNT_MARK))) if num_marks else None
        self.marks_KMm = None if marks is None else nn.Parameter(marks)

    def forward(self, tokens_KRtE: Tensor, seen_KRt: Tensor, mark: int = 0) -> Tensor:
        if self.marks_KMm is not None:
            learnt = self.marks_KMm[:, None, None, mark].expand(*tokens_KRtE.shape[:-1], -1)
            tokens_KRtE = torch.cat([tokens_KRtE[..., :-LEARNT_MARK], learnt], dim=-1)
        latents = self.latents_K1Ld.expand(-1, tokens_KRtE.shape[1], -1, -1)
        return self.block(latents, tokens_KRtE, seen_KRt)


class Pairs(nn.Module):
    """C: one modality's latents read from another's; the last one is kept. (K, R, L, d) twice -> (K, R, d)."""

    def __init__(self, d: int, settings: TrainingSettings, rngs: Sequence[np.random.Generator]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            PerceiverBlock(
                d, d, settings.pair_heads, settings.latent_heads, settings.latent_head_size, rngs,
                doubled=settings.mode == "published",
            )
            for _ in range(settings.cross_depth)
        )  # fmt: skip

    def forward(self, x_KRLd: Tensor, context_KRLd: Tensor, seen_KRL: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x_KRLd = block(x_KRLd, context_KRLd, seen_KRL)
        return x_KRLd[:, :, -1]


class Parts(nn.Module):
    """Encoders and pair blocks, and which modality and pair uses which: what models of several data sets may share."""

    def __init__(
        self, declared: Sequence[Declared], settings: TrainingSettings, rngs: Sequence[np.random.Generator]
    ) -> None:
        super().__init__()
        tokens, names = serialiser(declared, settings), [one.name for one in declared]
        pairs = [pair_name(i, j) for i, j in permutations(names, 2)]
        self.encoder_of = _groups(settings.encoder_groups, names, "encoder_groups")
        self.block_of = _groups(settings.pair_groups, pairs, "pair_groups")
        num_encoders = 0 if settings.without == "encoder" else len(set(self.encoder_of.values()))
        num_blocks = 0 if settings.without == "pairs" else len(set(self.block_of.values()))
        width = tokens.width if settings.without == "encoder" else settings.latent_width
        num_marks = len(names) if tokens.learnt else 0
        self.encoders = nn.ModuleList(Encoder(tokens.width, settings, rngs, num_marks) for _ in range(num_encoders))
        self.blocks = nn.ModuleList(Pairs(width, settings, rngs) for _ in range(num_blocks))

    @contextmanager
    def through(self, encoder: int) -> Iterator[None]:
        """For the while, that one reads all modalities."""
        own = self.encoder_of
        self.encoder_of = dict.fromkeys(own, encoder)
        try:
            yield
        finally:
            self.encoder_of = own


class HighMMT(ReadOnce):
    """declared: the modalities whose places and marks the tokens have, in their order; None = those that it reads. More
    than those are declared where parts of the model are to be shared with models of other modalities. parts: those of
    another model, to be shared with it; None = its own."""

    dropout_width = 0

    def __init__(
        self,
        modalities: tuple[ModalityShape, ...],
        tasks: tuple[Task, ...],
        num_steps: int,
        settings: TrainingSettings,
        rngs: Sequence[np.random.Generator],
        declared: Sequence[Declared] | None = None,
        parts: Parts | None = None,
    ) -> None:
        super().__init__()
        self.modalities, self.tasks, self.loss = modalities, tasks, settings.loss
        self.task_weights, self.absent = dict(settings.task_weights), settings.pairs_of_absent
        self.names = [shape.name for shape in modalities]
        self.without, self.mode = settings.without, settings.mode
        own = tuple(declare(shape, settings.tokens.get(shape.name)) for shape in modalities)
        self.serialiser = serialiser(declared or own, settings)
        self.numbers_per_item = max(one.num_tokens for one in own) * self.serialiser.width
        for shape, mine in zip(modalities, own, strict=True):
            if self.serialiser.of(shape.name) != mine:
                raise ContractError(
                    f"modality '{shape.name}': {shape.num_steps} steps of width {shape.width} are not what was "
                    "declared of it. Declare the modalities that the embeddings have."
                )
        published = settings.mode == "published"
        self.pairs = list(permutations(sorted(self.names) if published else self.names, 2))
        named = [one.name for one in self.serialiser.declared]
        self.shares = named != self.names
        self.parts = parts if parts is not None else Parts(self.serialiser.declared, settings, rngs)
        features = self._num_features(settings)
        self.heads = nn.ModuleDict({task.name: Head(features, outputs_of(task), rngs, not published) for task in tasks})
        self.read_steps = sorted({task.read_step for task in tasks})

    def told(self) -> dict[str, Any]:
        """declared: all modalities that it is told of, where it shares its parts with models of others."""
        declared = [one.to_card() for one in self.serialiser.declared]
        return {"mode": self.mode, **({"declared": declared} if self.shares else {})}

    def forward(self, batch: Batch, keep_KBW: Tensor | None = None) -> dict[str, Tensor]:
        """task -> (K, B, outputs). Nothing is dropped out, as published."""
        found = {}
        for read_step in self.read_steps:
            features_KBH = self.features(batch, read_step)
            for task in self.tasks:
                if task.read_step == read_step:
                    found[task.name] = self.heads[task.name](features_KBH, batch.real)
        return found

    def features(self, batch: Batch, read_step: int) -> Tensor:
        """(K, B, H): what the heads of that step read."""
        latents, present, seen = self.encoded(batch, read_step)
        if not self.pairs or self.without == "pairs":
            return torch.cat([latents[name].flatten(2) * present[name][..., None] for name in self.names], dim=2)
        pair_KPBd, there_KPB = self.pair_vectors(latents, present, seen)
        kept = pair_KPBd * there_KPB[..., None]
        if self.absent == "mean":
            return kept.sum(dim=1) / there_KPB.sum(dim=1).clamp(min=1)[..., None]
        return kept.transpose(1, 2).flatten(2)

    def encoded(self, batch: Batch, read_step: int) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """What `encode` gives, by modality."""
        latents, present, seen = {}, {}, {}
        for shape in self.modalities:
            name = shape.name
            latents[name], present[name], seen[name] = self.encode(batch, shape, read_step)
        return latents, present, seen

    def encode(self, batch: Batch, shape: ModalityShape, read_step: int) -> tuple[Tensor, Tensor, Tensor]:
        """(K, B, L, d), which means nothing where the second, (K, B) bool, says that the item lacks the modality; and
        (K, B, t) bool, the tokens that were looked at. Without the encoder the first are the tokens, (K, B, t, E)."""
        if shape.name in batch.x:
            x_KBTD, seen_KBT = batch.x[shape.name], batch.present[shape.name]
        else:  # nobody has it
            size = (*batch.real.shape, shape.num_steps)
            x_KBTD = next(self.parameters()).new_zeros((*size, shape.width))
            seen_KBT = torch.zeros(size, dtype=torch.bool, device=batch.real.device)
        if x_KBTD.shape[2:] != (shape.num_steps, shape.width):
            raise ContractError(
                f"modality '{shape.name}': inputs of {tuple(x_KBTD.shape[2:])} (steps, width), "
                f"the model was built for {(shape.num_steps, shape.width)}."
            )
        tokens_KBtE = self.serialiser.tokens(shape.name, self.serialiser.laid_out(shape.name, x_KBTD))
        if shape.num_steps > 1:
            until, of_step = read_step + 1, tokens_KBtE.shape[2] // shape.num_steps
            tokens_KBtE, seen_KBT = tokens_KBtE[:, :, : until * of_step], seen_KBT[:, :, :until]
            seen_KBT = seen_KBT if of_step == 1 else seen_KBT.repeat_interleave(of_step, dim=2)
        present_KB = seen_KBT.any(dim=-1)
        # Attention to nothing is no number: an item without the modality looks at tokens that nobody reads.
        seen_KBt = (seen_KBT | ~present_KB[..., None]).expand(*tokens_KBtE.shape[:3])
        if self.without == "encoder":
            return tokens_KBtE, present_KB, seen_KBt
        encoder = self.parts.encoders[self.parts.encoder_of[shape.name]]
        return encoder(tokens_KBtE, seen_KBt, self.serialiser.mark(shape.name)), present_KB, seen_KBt

    def _num_features(self, settings: TrainingSettings) -> int:
        """What a head reads: the last latents of all pairs, or all latents of all modalities."""
        if self.without == "encoder" and not self.pairs:
            raise ContractError("without the encoder a model reads pairs alone: give it two modalities or more.")
        if self.without == "pairs" or not self.pairs:
            return len(self.names) * settings.latents * settings.latent_width
        width = self.serialiser.width if self.without == "encoder" else settings.latent_width
        return width if self.absent == "mean" else len(self.pairs) * width

    def pair_vectors(
        self, latents: Mapping[str, Tensor], present: Mapping[str, Tensor], seen: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """(K, P, B, d) in the order of `pairs`, and (K, P, B) bool: which of them there are."""
        if self.without == "encoder":
            return self._token_pairs(latents, present, seen)
        alone_KB = torch.stack([present[name] for name in self.names]).sum(dim=0) == 1
        any_alone = bool(alone_KB.any())
        read, there = [], []
        for i, j in self.pairs:
            context = latents[j]
            both_KB = present[i] & present[j]
            if any_alone:
                context = torch.where(alone_KB[..., None, None], latents[i], context)
                both_KB = both_KB | (alone_KB & present[i])
            read.append(context)
            there.append(both_KB)
        out: list[Tensor | None] = [None] * len(self.pairs)
        for number, block in enumerate(self.parts.blocks):
            places = [p for p, (i, j) in enumerate(self.pairs) if self.parts.block_of[pair_name(i, j)] == number]
            if not places:
                continue
            x = torch.cat([latents[self.pairs[p][0]] for p in places], dim=1)
            made = cast(Pairs, block)(x, torch.cat([read[p] for p in places], dim=1))
            for p, one in zip(places, made.chunk(len(places), dim=1), strict=True):
                out[p] = one
        return torch.stack(cast(list[Tensor], out), dim=1), torch.stack(there, dim=1)

    def _token_pairs(
        self, tokens: Mapping[str, Tensor], present: Mapping[str, Tensor], seen: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The same where modalities have different numbers of tokens. An item with one modality has no pair."""
        made = []
        for i, j in self.pairs:
            block = cast(Pairs, self.parts.blocks[self.parts.block_of[pair_name(i, j)]])
            made.append(block(tokens[i], tokens[j], seen[j]))
        there = [present[i] & present[j] for i, j in self.pairs]
        return torch.stack(made, dim=1), torch.stack(there, dim=1)


def serialiser(declared: Sequence[Declared], settings: TrainingSettings) -> Serialiser:
    # Without an encoder there is nothing that could learn a mark.
    learnt = settings.marks == "learnt" and settings.without != "encoder"
    return Serialiser(declared=tuple(declared), marked=settings.without != "marks", learnt=learnt)


def pair_name(i: str, j: str) -> str:
    """Of both orders: C is one for the two directions of a pair."""
    return "+".join(sorted((i, j)))


def _groups(given: Mapping[str, int], names: Sequence[str], where: str) -> dict[str, int]:
    """name -> its group, numbered from 0 without gaps; those that are not given are in group 0."""
    if unknown := sorted(set(given) - set(names)):
        raise ContractError(f"{where}: {', '.join(unknown)} is not there; known: {', '.join(dict.fromkeys(names))}.")
    groups = {name: int(given.get(name, 0)) for name in names}
    order = sorted(set(groups.values()))
    return {name: order.index(group) for name, group in groups.items()}


def _as_told(card: Mapping[str, Any]) -> Callable[..., HighMMT]:
    return partial(HighMMT, declared=[Declared.of_card(one) for one in card.get("declared", ())] or None)


HIGHMMT = Architecture(
    name="highmmt", title="HighMMT", multitask=True, fill_absent="zero", build=HighMMT, build_as_told=_as_told
)
