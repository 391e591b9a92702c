"""MultiModN's chain of encoders in training: autograd's gradients, in fewer and larger operations.

Autograd keeps a graph of some thousand small operations and gives each of the L encoder applications its own weight
gradients, to be added up. Here the way back is written out, and an encoder's weight gradients are one product each over
all of its steps. A test holds both equal.

K members, B items, T steps of a modality, D its width, S state, H width of a hidden layer, L encoder applications, R
rows (T x B).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmn.modeling.layers import MemberLinear, add_gradient, relu_gradient

Application = tuple[str, int] | None
"""Whose turn it is: a modality and its step; None where the modality is not there at all."""


class EncoderTrace:
    """What one encoder reads and makes at each of its T steps, kept for the way back.

    x_KBTD, keep_KBW: its inputs and their dropout. Nothing here needs to be set to a value before it is written.
    """

    def __init__(
        self,
        input_layer: MemberLinear,
        state_weight: Tensor,
        later_layers: Sequence[MemberLinear],
        x_KBTD: Tensor,
        present_KBT: Tensor,
        keep_KBW: Tensor | None,
    ) -> None:
        K, B, T, D = x_KBTD.shape
        self.input_layer, self.state_weight, self.later_layers = input_layer, state_weight, later_layers
        x_KTBD = x_KBTD.transpose(1, 2)
        if keep_KBW is not None:
            keep_KTBD = keep_KBW.unflatten(-1, (T, D)).transpose(1, 2)
            x_KTBD = torch.mul(x_KTBD, keep_KTBD, out=x_KBTD.new_empty((K, T, B, D)))
        self.x_KRD = x_KTBD.reshape(K, T * B, D)
        projected = input_layer(self.x_KRD).unflatten(1, (T, B))
        widths = [state_weight.shape[1], *(layer.weight.shape[1] for layer in later_layers)]
        # Of each layer but the input's: what it reads, and the gradient of what it gives (before its ReLU).
        self.read = [x_KBTD.new_empty((K, T, B, width)) for width in widths]
        self.gradients = [torch.empty_like(read) for read in (*self.read[1:], self.read[0])]
        # As lists of steps: to index a tensor at each step costs as much as a small product.
        self.projected = projected.unbind(1)
        self.read_at = list(zip(*(read.unbind(1) for read in self.read), strict=True))
        self.gradients_at = list(zip(*(gradient.unbind(1) for gradient in self.gradients), strict=True))
        self.layers = [(layer.bias, layer.weight) for layer in later_layers]
        self.turned_weights = [w.transpose(1, 2) for w in (state_weight, *(layer.weight for layer in later_layers))]
        # To ask a GPU would be to wait for it.
        self.everywhere = x_KBTD.device.type == "cpu" and bool(present_KBT.all())
        if not self.everywhere:
            there_KTB1 = present_KBT.transpose(1, 2).to(x_KBTD.dtype).unsqueeze(-1)
            self.there, self.absent = there_KTB1.unbind(1), (1.0 - there_KTB1).unbind(1)

    def forward(self, step: int, state_KBS: Tensor, keep_KBS: Tensor | None, next_KBS: Tensor) -> None:
        known, *hidden = self.read_at[step]
        if keep_KBS is None:
            known.copy_(state_KBS)
        else:
            torch.mul(state_KBS, keep_KBS, out=known)
        made = torch.baddbmm(self.projected[step], known, self.state_weight)
        for (bias, weight), read in zip(self.layers, hidden, strict=True):
            torch.clamp(made, min=0.0, out=read)
            made = torch.baddbmm(bias, read, weight)
        torch.clamp(made, min=0.0, out=next_KBS)
        if not self.everywhere:
            # Items without the modality keep their state; products with 0 and 1 are exact.
            next_KBS.mul_(self.there[step]).addcmul_(state_KBS, self.absent[step])

    def backward(
        self, step: int, next_KBS: Tensor, gradient_KBS: Tensor, keep_KBS: Tensor | None, earlier_KBS: Tensor
    ) -> None:
        """gradient_KBS: by the state that was made, `next_KBS`; earlier_KBS: by the one before, to be added to."""
        read, gradients = self.read_at[step], self.gradients_at[step]
        relu_gradient(gradient_KBS, next_KBS, 0.0, grad_input=gradients[-1])
        if not self.everywhere:
            gradients[-1].mul_(self.there[step])
            earlier_KBS.addcmul_(gradient_KBS, self.absent[step])
        for number in range(len(self.layers), 0, -1):
            passed = torch.bmm(gradients[number], self.turned_weights[number])
            relu_gradient(passed, read[number], 0.0, grad_input=gradients[number - 1])
        passed = torch.bmm(gradients[0], self.turned_weights[0])
        if keep_KBS is None:
            earlier_KBS.add_(passed)
        else:
            earlier_KBS.addcmul_(passed, keep_KBS)

    def add_gradients(self) -> None:
        """Of all steps, to the parameters' `.grad`."""
        read, gradients = ([part.flatten(1, 2) for part in parts] for parts in (self.read, self.gradients))
        _add_layer_gradients(self.input_layer, self.x_KRD, gradients[0])
        add_gradient(self.state_weight, torch.bmm(read[0].transpose(1, 2), gradients[0]))
        for layer, x, gradient in zip(self.later_layers, read[1:], gradients[1:], strict=True):
            _add_layer_gradients(layer, x, gradient)


class Chain:
    """`MultiModN.states` for training. states_KLBS: the one before any evidence, then after each application."""

    def __init__(
        self,
        start_KBS: Tensor,
        applications: Sequence[Application],
        encoders: Mapping[str, EncoderTrace],
        keep_KBLS: Tensor | None,
    ) -> None:
        K, B, S = start_KBS.shape
        self.applications, self.encoders = applications, encoders
        self.states_KLBS = start_KBS.new_empty((K, len(applications) + 1, B, S))
        self.states = self.states_KLBS.unbind(1)
        self.keep = [None] * len(applications) if keep_KBLS is None else keep_KBLS.unbind(2)
        self.states[0].copy_(start_KBS)
        for number, application in enumerate(applications):
            state, following = self.states[number : number + 2]
            if application is None:
                following.copy_(state)
            else:
                name, step = application
                encoders[name].forward(step, state, self.keep[number], following)

    def add_gradients(self, gradient_KLBS: Tensor) -> None:
        """To the encoders' `.grad`. gradient_KLBS: of the loss by every state, as the decoders read them; what came
        through later states is added to it."""
        by_state = gradient_KLBS.unbind(1)
        for number in range(len(self.applications) - 1, -1, -1):
            application, earlier, later = self.applications[number], *by_state[number : number + 2]
            if application is None:
                earlier.add_(later)
            else:
                name, step = application
                self.encoders[name].backward(step, self.states[number + 1], later, self.keep[number], earlier)
        for encoder in self.encoders.values():
            encoder.add_gradients()


def _add_layer_gradients(layer: MemberLinear, x_KRI: Tensor, gradient_KRO: Tensor) -> None:
    """gradient_KRO: by what the layer gives."""
    add_gradient(layer.weight, torch.bmm(x_KRI.transpose(1, 2), gradient_KRO))
    add_gradient(layer.bias, gradient_KRO.sum(dim=1, keepdim=True))
