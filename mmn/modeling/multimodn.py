"""MultiModN (Swamy et al., NeurIPS 2023): a state that present modalities' encoders move and tasks' decoders read.

K members, B items, T steps, M modalities, D width of one, S state, H hidden, L encoder applications (T x M if no
modality is static), R rows. A state is what is known so far: number 0 before anything, number l after application l.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from mmn.data.dataset import Task
from mmn.data.errors import ContractError, ParamsError
from mmn.modeling.architecture import Architecture, Model, loss_terms, outputs_of, to_prediction
from mmn.modeling.batch import Batch, ModalityShape
from mmn.modeling.chain import Chain, EncoderTrace
from mmn.modeling.decoding import MOST_ROWS, losses_and_gradients
from mmn.modeling.encoders import Encoder, build_fronts, chosen_encoders, feature_width
from mmn.modeling.fronts import Front
from mmn.modeling.layers import MemberMLP, add_gradient, member_values
from mmn.modeling.settings import TrainingSettings

DECODER_HIDDEN = 32
DECODED_ROWS = MOST_ROWS


class Stream(NamedTuple):
    """A state, and what a series' encoder must remember of the steps before: modality -> (inputs, presence)."""

    state_KBS: Tensor
    seen: Mapping[str, tuple[Tensor, Tensor]]


class MultiModN(Model):
    def __init__(
        self,
        modalities: tuple[ModalityShape, ...],
        tasks: tuple[Task, ...],
        num_steps: int,
        settings: TrainingSettings,
        rngs: Sequence[np.random.Generator],
    ) -> None:
        super().__init__()
        self.modalities, self.tasks, self.num_steps = modalities, tasks, num_steps
        self.loss, self.normalise = settings.loss, settings.normalise
        self.task_weights, self.state_change_penalty = dict(settings.task_weights), settings.state_change_penalty
        self.num_members = len(rngs)
        self.initial_state_K1S = nn.Parameter(member_values(rngs, lambda rng: rng.standard_normal((1, settings.state))))
        self.encoder_settings = chosen = chosen_encoders(modalities, settings)
        widths = {m.name: feature_width(m, chosen.get(m.name), settings.hidden) for m in modalities}
        self.encoders = nn.ModuleDict(
            {name: Encoder(width, settings.state, settings.hidden, rngs) for name, width in widths.items()}
        )
        self.decoders = nn.ModuleDict(
            {
                task.name: MemberMLP((settings.state, DECODER_HIDDEN, DECODER_HIDDEN, outputs_of(task)), rngs)
                for task in tasks
            }
        )
        self.fronts = build_fronts(modalities, chosen, settings.hidden, rngs)
        inputs = [m.num_steps * widths[m.name] for m in modalities]
        self.num_applications = sum(m.num_steps for m in modalities)
        self._in_order = self.applications([m.name for m in modalities])
        # `keep` holds what each modality's encoder reads first (steps x width, or x a front's features), then the state
        # before each application.
        self.dropout_widths = (*inputs, self.num_applications * settings.state)
        self.dropout_width = sum(self.dropout_widths)
        held = {name: cast(Front, front).numbers_per_step for name, front in self.fronts.items()}
        self.numbers_per_item = sum(m.num_steps * held.get(m.name, m.width) for m in modalities)

    # The state, one update at a time: what a stream of evidence needs.

    def start(self, num_items: int) -> Tensor:
        """(K, B, S): the state of items of which nothing is known."""
        return self.initial_state_K1S.expand(-1, num_items, -1)

    def update(
        self, state: Tensor | Stream, modality: str, x_KBD: Tensor, present_KB: Tensor | None = None
    ) -> Tensor | Stream:
        """The state after one more (scaled) piece of evidence. Items that are not present keep theirs.

        Once a series' encoder has read a step, it is a `Stream`: that encoder will read it again before the next one.
        """
        encoder, front = self.encoder(modality), self._front(modality)
        width = next(m.width for m in self.modalities if m.name == modality)
        if (found := x_KBD.shape[-1]) != width:
            raise ContractError(
                f"modality '{modality}': the evidence has width {found}, the model was trained with {width}."
            )
        state_KBS, seen = state if isinstance(state, Stream) else (state, {})
        if present_KB is None:
            present_KB = torch.ones(x_KBD.shape[:-1], dtype=torch.bool, device=x_KBD.device)
        # A NaN in the branch that `where` discards would still reach the gradient.
        x_KBD = torch.where(present_KB[..., None], x_KBD, 0.0)
        if front is not None:
            x_KBTD, present_KBT = x_KBD[:, :, None], present_KB[:, :, None]
            if front.reads_steps:
                if modality in seen:
                    x_KBTD = torch.cat([seen[modality][0], x_KBTD], dim=2)
                    present_KBT = torch.cat([seen[modality][1], present_KBT], dim=2)
                seen = {**seen, modality: (x_KBTD, present_KBT)}
            x_KBD = front(x_KBTD, present_KBT)[:, :, -1]
        updated_KBS = torch.where(present_KB[..., None], encoder(encoder.project(x_KBD), state_KBS), state_KBS)
        return Stream(updated_KBS, seen) if seen else updated_KBS

    def predict(self, state: Tensor | Stream) -> dict[str, Tensor]:
        """task -> (K, B): what this state says: P(1), or the target on the [0, 1] scale of training; of a multiclass
        task (K, B, C), the probability of each class."""
        state_KBS = state.state_KBS if isinstance(state, Stream) else state
        return {task.name: to_prediction(self.decoders[task.name](state_KBS), task, self.loss) for task in self.tasks}

    # The same for a whole batch.

    def applications(self, order: Sequence[str] | None = None) -> list[tuple[int, str]]:
        """(step, modality) in the order of encoding. A static modality among series is encoded at step 0 only."""
        if order is None:
            return self._in_order
        steps = {m.name: m.num_steps for m in self.modalities}
        for name in order:
            self.encoder(name)
        return [(step, name) for step in range(self.num_steps) for name in order if step < steps[name]]

    def states(self, batch: Batch, keep_KBW: Tensor | None = None, order: Sequence[str] | None = None) -> list[Tensor]:
        """The state before any evidence, then after each application: L + 1 tensors of shape (K, B, S).

        A modality that `order` or `batch.x` leaves out is absent. Where it is absent, the state stays as it was.
        """
        keep = self._split_keep(keep_KBW)
        projected, present = {}, {}
        for m in self.modalities:
            if m.name not in batch.x or (order is not None and m.name not in order):
                continue
            x_KBTD = self._input(m, batch)
            if keep:
                x_KBTD = x_KBTD * keep[m.name].view_as(x_KBTD)
            K, B, T, D = x_KBTD.shape
            projected_KBTH = self.encoder(m.name).project(x_KBTD.reshape(K, B * T, D)).view(K, B, T, -1)
            # unbind, not indexing: its gradient is one stack, not T tensors full of zeros.
            projected[m.name] = projected_KBTH.unbind(2)
            present[m.name] = batch.present[m.name].unsqueeze(-1).unbind(2)
        states = [self.start(batch.size)]
        for number, (step, name) in enumerate(self.applications(order)):
            state_KBS = states[-1]
            if name not in projected:
                states.append(state_KBS)
                continue
            known_KBS = state_KBS * keep["state"][:, :, number] if keep else state_KBS
            updated_KBS = self.encoders[name](projected[name][step], known_KBS)
            # Item by item: one patient without an X-ray must not cost the batch its X-rays.
            states.append(torch.where(present[name][step], updated_KBS, state_KBS))
        return states

    def losses(self, batch: Batch, keep: Tensor | None = None, order: Sequence[str] | None = None) -> Tensor:
        """(K,): each member's mean loss over the (item, state, task) terms that exist, with its graph."""
        states_KLBS = torch.stack(self.states(batch, keep, order), dim=1)
        losses = self._decoded_losses(states_KLBS.flatten(1, 2), *self._terms(batch, order))
        return losses + self._penalties(states_KLBS, batch, order) if self.state_change_penalty else losses

    @torch.no_grad()
    def accumulate_gradients(
        self, batch: Batch, keep: Tensor | None = None, order: Sequence[str] | None = None
    ) -> Tensor:
        if len(self.fronts):
            with torch.enable_grad():
                losses_K = self.losses(batch, keep, order)
                losses_K.sum().backward()
            return losses_K.detach()
        chain = self._chain(batch, keep, order)
        states_KLBS = chain.states_KLBS
        states_KRS, gradient_KLBS = states_KLBS.flatten(1, 2), torch.zeros_like(states_KLBS)
        losses_K = losses_and_gradients(
            states_KRS, self.tasks, self.decoders, *self._terms(batch, order), self.loss,
            gradient_KLBS.view_as(states_KRS), DECODED_ROWS,
        )  # fmt: skip
        if self.state_change_penalty:
            with torch.enable_grad():
                leaf_KLBS = states_KLBS.detach().requires_grad_()
                penalties_K = self._penalties(leaf_KLBS, batch, order)
                gradient_KLBS += torch.autograd.grad(penalties_K.sum(), leaf_KLBS)[0]
            losses_K += penalties_K.detach()
        chain.add_gradients(gradient_KLBS)
        add_gradient(self.initial_state_K1S, gradient_KLBS[:, 0].sum(dim=1, keepdim=True))
        return losses_K

    def _chain(self, batch: Batch, keep_KBW: Tensor | None, order: Sequence[str] | None) -> Chain:
        """As `states`, of the same arguments, with what the gradients need."""
        keep = self._split_keep(keep_KBW)
        encoders = {}
        for m in self.modalities:
            if m.name in batch.x and (order is None or m.name in order):
                encoder, x_KBTD = self.encoder(m.name), self._input(m, batch)
                encoders[m.name] = EncoderTrace(
                    encoder.input, encoder.state_weight, encoder.later_layers(), x_KBTD, batch.present[m.name],
                    keep.get(m.name),
                )  # fmt: skip
        applications = [(name, step) if name in encoders else None for step, name in self.applications(order)]
        return Chain(self.start(batch.size), applications, encoders, keep.get("state"))

    def _penalties(self, states_KLBS: Tensor, batch: Batch, order: Sequence[str] | None) -> Tensor:
        """(K,): on how far encoders move the state, the mean over the applications that took place."""
        took_place_KLB = self._exists(batch, order)[:, 1:].to(states_KLBS.dtype)
        squares_KLB = (states_KLBS[:, 1:] - states_KLBS[:, :-1]).pow(2).mean(dim=-1)
        mean_K = (squares_KLB * took_place_KLB).sum(dim=(1, 2)) / took_place_KLB.sum(dim=(1, 2)).clamp(min=1.0)
        return 0.01 * self.state_change_penalty * mean_K

    def read_every_state(self, batch: Batch, order: Sequence[str] | None = None) -> dict[str, Tensor]:
        """task -> (K, L + 1, B): the prediction before anything and after each application."""
        return self.predict_stack(self.states(batch, None, order))

    def read_every_step(self, batch: Batch, order: Sequence[str] | None = None) -> dict[str, Tensor]:
        """task -> (K, B, T): after the last modality of each step."""
        states = self.states(batch, None, order)
        ends = self._ends(order)
        return {task: p.transpose(1, 2) for task, p in self.predict_stack([states[end] for end in ends]).items()}

    def read(self, batch: Batch, order: Sequence[str] | None = None) -> dict[str, Tensor]:
        states = self.states(batch, None, order)
        ends = self._ends(order)
        return {
            task.name: to_prediction(self.decoders[task.name](states[ends[task.read_step]]), task, self.loss)
            for task in self.tasks
        }

    def predict_stack(self, states: Sequence[Tensor]) -> dict[str, Tensor]:
        """task -> (K, number of states, B)."""
        num_items = states[0].shape[1]
        predicted = self.predict(torch.stack(list(states), dim=1).flatten(1, 2))
        return {task: p.unflatten(1, (len(states), num_items)) for task, p in predicted.items()}

    def encoder(self, modality: str) -> Encoder:
        if modality not in self.encoders:
            raise ParamsError(f"the model has no modality '{modality}'; it knows {', '.join(self.encoders)}.")
        return cast(Encoder, self.encoders[modality])

    def _front(self, modality: str) -> Front | None:
        return cast(Front, self.fronts[modality]) if modality in self.fronts else None

    def _input(self, modality: ModalityShape, batch: Batch) -> Tensor:
        """What the modality's encoder reads: (K, B, T_m, D), or its front's features, (K, B, T_m, F)."""
        x_KBTD = batch.x[modality.name]
        if x_KBTD.shape[2:] != (modality.num_steps, modality.width):
            raise ContractError(
                f"modality '{modality.name}': inputs of {tuple(x_KBTD.shape[2:])} (steps, width), "
                f"the model was built for {(modality.num_steps, modality.width)}."
            )
        front = self._front(modality.name)
        return x_KBTD if front is None else front(x_KBTD, batch.present[modality.name])

    def _ends(self, order: Sequence[str] | None) -> list[int]:
        """The number of the state after the last modality of each step."""
        steps = [step for step, _ in self.applications(order)]
        return [sum(s <= step for s in steps) for step in range(self.num_steps)]

    def _split_keep(self, keep_KBW: Tensor | None) -> dict:
        if keep_KBW is None:
            return {}
        *inputs, state = keep_KBW.split(self.dropout_widths, dim=-1)
        keep: dict = {m.name: part for m, part in zip(self.modalities, inputs, strict=True)}
        keep["state"] = state.unflatten(-1, (self.num_applications, -1))
        return keep

    def _terms(self, batch: Batch, order: Sequence[str] | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Targets and weights of every (state, item), task -> (K, R) each; a member's weights sum to 1 over all tasks
        before those that the settings give to tasks.

        A state exists if its modality was present; state 0 always. It is compared with the target of its own step.
        """
        exists_KLB = self._exists(batch, order)
        steps = [0, *(step for step, _ in self.applications(order))]
        targets, weights = {}, {}
        for task in self.tasks:
            target_KLB = batch.targets[task.name].transpose(1, 2)
            if task.per_step:
                target_KLB = target_KLB[:, steps]
            known = ~torch.isnan(target_KLB)
            weights[task.name] = (exists_KLB & known).flatten(1).to(target_KLB.dtype)
            targets[task.name] = torch.nan_to_num(target_KLB).expand(exists_KLB.shape).flatten(1)
        if self.normalise == "published":
            total_K = batch.real.sum(dim=1).to(target_KLB.dtype) * len(self.tasks) * exists_KLB.shape[1]
        else:
            total_K = torch.stack([w.sum(dim=1) for w in weights.values()]).sum(dim=0)
        # A member without a term (a batch of filling rows, or without labels) gets loss 0, not NaN.
        share_K1 = total_K.clamp(min=1.0).reciprocal()[:, None]
        given = self.task_weights
        return targets, {task: weight * share_K1 * given.get(task, 1.0) for task, weight in weights.items()}

    def _exists(self, batch: Batch, order: Sequence[str] | None) -> Tensor:
        """(K, L + 1, B) bool: whether the item is real and its state moved there; of state 0, whether it is real."""
        real_K1B = batch.real.unsqueeze(1)
        found = {name: present_KBT.transpose(1, 2) for name, present_KBT in batch.present.items()}
        first, nowhere = {}, 0
        for name, present_KTB in found.items():
            first[name], nowhere = nowhere, nowhere + present_KTB.shape[1]
        # The two last columns: of a modality that is not there at all, and of state 0.
        columns = torch.cat([*found.values(), torch.zeros_like(real_K1B), torch.ones_like(real_K1B)], dim=1)
        places = [first[name] + step if name in first else nowhere for step, name in self.applications(order)]
        return columns[:, [nowhere + 1, *places]] & real_K1B

    def _decoded_losses(self, states_KRS: Tensor, targets: dict[str, Tensor], weights: dict[str, Tensor]) -> Tensor:
        per_task = [
            (loss_terms(self.decoders[t.name](states_KRS), targets[t.name], t, self.loss) * weights[t.name]).sum(dim=1)
            for t in self.tasks
        ]
        return torch.stack(per_task).sum(dim=0)


MULTIMODN = Architecture(
    name="multimodn", title="MultiModN", multitask=True, fill_absent="zero", every_step=True, build=MultiModN
)
