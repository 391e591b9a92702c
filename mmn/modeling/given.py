"""What is given to a model, checked before anything is computed: members to train, embeddings to predict with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmn.data.cohort import Cohort
from mmn.data.embeddings import Embeddings, check_embeddings
from mmn.data.errors import ContractError, ParamsError
from mmn.modeling.batch import ModalityShape
from mmn.modeling.inputs import Member


def check_members(members: Sequence[Member], cohort: Cohort, embeddings: Mapping[str, Embeddings]) -> None:
    """That these members can be trained on this cohort. Raises ParamsError."""
    if not members:
        raise ParamsError("no member was given; give at least one, or None for one of each fold.")
    folds = set(cohort.folds["fold"])
    for number, member in enumerate(members):
        where = f"member {number} (fold {member.fold}, seed {member.seed})"
        if member.fold not in folds:
            raise ParamsError(f"{where}: the cohort has no such fold; it has {cohort.num_folds}, from 0.")
        if member.seed < 0:
            raise ParamsError(f"{where}: a seed must not be negative.")
        for name, absent in member.absent.items():
            if name not in embeddings:
                raise ParamsError(f"{where}: it is to lose '{name}', which is none of {', '.join(embeddings)}.")
            found = np.asarray(absent)
            if found.dtype != bool or found.shape != (len(cohort),):
                raise ParamsError(
                    f"{where}: what is absent of '{name}' is {found.dtype} of shape {found.shape}; give True or False "
                    f"for each of the {len(cohort)} items."
                )


def check_given(
    embeddings: Mapping[str, Embeddings], shapes: Sequence[ModalityShape], members: Sequence[Member]
) -> None:
    """That a model trained on these shapes can read these embeddings: all of one list of items, in one order, each
    sound in itself and made as those of training were. A modality may be left out. Raises ContractError."""
    if not embeddings:
        raise ContractError("no modality was given; give the embeddings of at least one that the model knows.")
    if unknown := sorted(set(embeddings) - {shape.name for shape in shapes}):
        known = ", ".join(shape.name for shape in shapes)
        raise ContractError(f"the model was not trained with {unknown}; its modalities are {known}.")
    first = next(iter(embeddings))
    items = embeddings[first].items
    if not len(items):
        raise ContractError(f"modality '{first}': it has no item, so there is nothing to predict for.")
    for shape in shapes:
        if shape.name in embeddings:
            where = f"modality '{shape.name}'"
            check_embeddings(embeddings[shape.name], items, where, f"those of '{first}'")
            _check_made_alike(embeddings[shape.name], shape, members, where)


def _check_made_alike(found: Embeddings, shape: ModalityShape, members: Sequence[Member], where: str) -> None:
    if (found.width, found.num_steps) != (shape.width, shape.num_steps):
        raise ContractError(
            f"{where}: {found.num_steps} steps of width {found.width}, the model was trained with {shape.num_steps} of "
            f"width {shape.width}. Make the features as for training."
        )
    num_versions = found.values.shape[0]
    last_fold = max(member.fold for member in members)
    if num_versions != (shape.num_versions or num_versions) or (num_versions > 1 and last_fold >= num_versions):
        wanted = shape.num_versions or f"one for each fold up to {last_fold}"
        raise ContractError(
            f"{where}: {num_versions} fitted versions, the model was trained with {wanted}. Make the features as for "
            "training: fitted once for each of its folds, or not at all."
        )
    both = zip(found.names, shape.names, strict=True) if shape.names and found.names else ()
    if differing := [name for name, trained_on in both if name != trained_on]:
        raise ContractError(
            f"{where}: {len(differing)} of its {shape.width} dimensions are not those that the model was trained with, "
            f"or not in that order, the first is '{differing[0]}'. Make the features as for training."
        )
