"""P-Fusion (parallel fusion, HAIM's form): all modalities' embeddings side by side, one small network, one task.

K members, B items, T_m steps of modality m that the task may see, D its width, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmn.data.dataset import Task
from mmn.data.errors import ContractError, ParamsError
from mmn.modeling.architecture import Architecture, Model, loss_terms, outputs_of, to_prediction
from mmn.modeling.batch import Batch, ModalityShape
from mmn.modeling.decoding import losses_and_gradients
from mmn.modeling.layers import MemberMLP
from mmn.modeling.settings import TrainingSettings


class PFusion(Model):
    """concat -> dropout -> H -> H -> out. A series enters with all its steps up to the task's read step.

    An absent modality holds the training mean (`Architecture.fill_absent`). With `mask_bits` the presence of every
    (modality, step) is appended; bits are not subject to dropout.
    """

    def __init__(
        self,
        modalities: tuple[ModalityShape, ...],
        tasks: tuple[Task, ...],
        num_steps: int,
        settings: TrainingSettings,
        rngs: Sequence[np.random.Generator],
    ) -> None:
        super().__init__()
        if len(tasks) != 1:
            raise ParamsError(
                f"P-Fusion has one task, not {len(tasks)} ({', '.join(t.name for t in tasks)}): train one each."
            )
        self.modalities, self.tasks, self.task = modalities, tasks, tasks[0]
        self.loss, self.mask_bits = settings.loss, settings.mask_bits
        self.num_members = len(rngs)
        self.steps_read = {m.name: min(m.num_steps, self.task.read_step + 1) for m in modalities}
        self.dropout_width = sum(self.steps_read[m.name] * m.width for m in modalities)
        width = self.dropout_width + (sum(self.steps_read.values()) if settings.mask_bits else 0)
        self.network = MemberMLP((width, settings.hidden, settings.hidden, outputs_of(self.task)), rngs)

    def forward(self, batch: Batch, keep: Tensor | None = None) -> Tensor:
        """(K, B, outputs)."""
        return self.network(self._inputs(batch, keep))

    def _inputs(self, batch: Batch, keep: Tensor | None) -> Tensor:
        """(K, B, I): what the network reads."""
        parts = []
        for m in self.modalities:
            if batch.x[m.name].shape[2:] != (m.num_steps, m.width):
                raise ContractError(
                    f"modality '{m.name}': inputs of {tuple(batch.x[m.name].shape[2:])} (steps, width), "
                    f"the model was built for {(m.num_steps, m.width)}."
                )
            parts.append(batch.x[m.name][:, :, : self.steps_read[m.name]].flatten(2))
        flat = batch.flat
        x_KBI = flat if flat is not None and flat.shape[-1] == self.dropout_width else torch.cat(parts, dim=-1)
        if keep is not None:
            x_KBI = x_KBI * keep
        if self.mask_bits:
            bits = [batch.present[m.name][:, :, : self.steps_read[m.name]] for m in self.modalities]
            x_KBI = torch.cat([x_KBI, torch.cat(bits, dim=-1).to(x_KBI.dtype)], dim=-1)
        return x_KBI

    def losses(self, batch: Batch, keep: Tensor | None = None) -> Tensor:
        """(K,): each member's mean loss over the items with a label."""
        target_KB, weight_KB = self._terms(batch)
        return (loss_terms(self(batch, keep), target_KB, self.task, self.loss) * weight_KB).sum(dim=1)

    @torch.no_grad()
    def accumulate_gradients(
        self, batch: Batch, keep: Tensor | None = None, order: Sequence[str] | None = None
    ) -> Tensor:
        name, (target_KB, weight_KB) = self.task.name, self._terms(batch)
        networks = {name: self.network}
        x_KBI = self._inputs(batch, keep)
        return losses_and_gradients(x_KBI, self.tasks, networks, {name: target_KB}, {name: weight_KB}, self.loss)

    def _terms(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Targets and weights, (K, B); a member's weights sum to 1, or to 0 where no item has a label."""
        target_KB = batch.targets[self.task.name][:, :, self.task.read_step if self.task.per_step else 0]
        known_KB = (~torch.isnan(target_KB) & batch.real).to(target_KB.dtype)
        return torch.nan_to_num(target_KB), known_KB / known_KB.sum(dim=1, keepdim=True).clamp(min=1.0)

    def read(self, batch: Batch) -> dict[str, Tensor]:
        return {self.task.name: to_prediction(self(batch), self.task, self.loss)}

    def read_every_step(self, batch: Batch) -> dict[str, Tensor]:
        return {}


P_FUSION = Architecture(name="p_fusion", title="P-Fusion", multitask=False, fill_absent="mean", build=PFusion)
