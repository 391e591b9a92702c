"""Networks that read rows for tasks, in training: losses and gradients, a part of the rows at a time.

The networks of all tasks of one form are one stack of N = K x D, read forwards and backwards while a part's rows are in
the cache. The way back is written out, that of the losses too. Tests hold both equal to autograd's.

K members, D tasks, R rows, S width of a row, H width of a hidden layer, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import cast

import torch
from torch import Tensor, nn

from mmn.data.dataset import Task
from mmn.modeling.layers import MemberLinear, MemberMLP, add_gradient, relu_gradient

# Rows of all members and tasks that are read at a time: what is made of them stays in the cache.
MOST_ROWS = 12_288


def losses_and_gradients(
    rows_KRS: Tensor,
    tasks: Sequence[Task],
    networks: nn.ModuleDict | Mapping[str, MemberMLP],
    targets: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    loss: str,
    gradient_KRS: Tensor | None = None,
    most_rows: int = MOST_ROWS,
) -> Tensor:
    """(K,): each member's losses, summed over tasks and rows. Adds to the `.grad` of the networks, task -> network, and
    to `gradient_KRS`, by the rows, if it is given.

    targets, weights: task -> (K, R).
    """
    K, R, _ = rows_KRS.shape

    def form(task: Task) -> tuple:
        layers = cast(Sequence[MemberLinear], networks[task.name].layers)
        return task.kind, *(tuple(layer.weight.shape) for layer in layers)

    stacks = [
        _Stack(list(same), networks, targets, weights, loss) for _, same in groupby(sorted(tasks, key=form), key=form)
    ]
    losses_K = rows_KRS.new_zeros(K)
    at_once = max(1, most_rows // (K * len(tasks)))
    for first in range(0, R, at_once):
        part = slice(first, first + at_once)
        for stack in stacks:
            losses_K += stack.read(rows_KRS, part, gradient_KRS)
    for stack in stacks:
        stack.add_gradients()
    return losses_K


class _Stack:
    """The networks of D tasks of one kind, as one of N = K x D members.

    The last layer is kept turned round, (N, O, H): a product that is two numbers wide costs as much as one of 32.
    sums: of the rows so far, the gradients by each layer's weight and bias, the last layer's first.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        networks: nn.ModuleDict | Mapping[str, MemberMLP],
        targets: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
        loss: str,
    ) -> None:
        self.task, self.loss, self.num_tasks = tasks[0], loss, len(tasks)
        self.target_KDR = torch.stack([targets[task.name] for task in tasks], dim=1)
        self.weight_KDR = torch.stack([weights[task.name] for task in tasks], dim=1)
        self.layers = list(zip(*(networks[task.name].layers for task in tasks), strict=True))
        self.weights = [_side_by_side([layer.weight for layer in layers]) for layers in self.layers]
        self.biases = [_side_by_side([layer.bias for layer in layers]) for layers in self.layers]
        for parts in (self.weights, self.biases):
            parts[-1] = parts[-1].transpose(1, 2).contiguous()
        self.sums: list[tuple[Tensor, Tensor]] = []

    def read(self, rows_KRS: Tensor, part: slice, gradient_KRS: Tensor | None) -> Tensor:
        """(K,) losses of the rows `part`; their gradient is added to `gradient_KRS`."""
        made = [rows_KRS[:, None, part].expand(-1, self.num_tasks, -1, -1).flatten(0, 1)]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            made.append(torch.baddbmm(bias, made[-1], weight).clamp_(min=0.0))
        raw_NOR = torch.baddbmm(self.biases[-1], self.weights[-1], made[-1].transpose(1, 2))
        losses_K, gradient_NOR = self._losses(raw_NOR, part)
        gradients = [(torch.bmm(gradient_NOR, made[-1]), gradient_NOR.sum(dim=2, keepdim=True))]
        # A product over one number is slow, too.
        product = torch.mul if gradient_NOR.shape[1] == 1 else torch.bmm
        passed = product(gradient_NOR.transpose(1, 2), self.weights[-1])
        for number in range(len(made) - 2, -1, -1):
            relu_gradient(passed, made[number + 1], 0.0, grad_input=passed)
            gradients.append((torch.bmm(made[number].transpose(1, 2), passed), passed.sum(dim=1, keepdim=True)))
            if number or gradient_KRS is not None:
                passed = torch.bmm(passed, self.weights[number].transpose(1, 2))
        if gradient_KRS is not None:
            gradient_KRS[:, part] += passed.view(-1, self.num_tasks, *passed.shape[1:]).sum(dim=1)
        for (weight_sum, bias_sum), (weight, bias) in zip(self.sums, gradients, strict=False):
            weight_sum += weight
            bias_sum += bias
        self.sums = self.sums or gradients
        return losses_K

    def _losses(self, raw_NOR: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """(K,) losses and their gradient by what the networks give, (N, O, R)."""
        raw_KDOR = raw_NOR.view(-1, self.num_tasks, *raw_NOR.shape[1:])
        target_KDR, weight_KDR = self.target_KDR[:, :, part], self.weight_KDR[:, :, part]
        terms_KDR, gradient_KDOR = losses_with_gradient(raw_KDOR, target_KDR, weight_KDR, self.task, self.loss)
        return terms_KDR.sum(dim=(1, 2)), gradient_KDOR.view(raw_NOR.shape)

    def add_gradients(self) -> None:
        (last_weight, last_bias), *earlier = self.sums
        sums = [(last_weight.transpose(1, 2), last_bias.transpose(1, 2)), *earlier]
        for layers, (weight_sum, bias_sum) in zip(reversed(self.layers), sums, strict=True):
            by_task = (part.unflatten(0, (-1, self.num_tasks)).unbind(1) for part in (weight_sum, bias_sum))
            for layer, weight, bias in zip(layers, *by_task, strict=True):
                add_gradient(layer.weight, weight)
                add_gradient(layer.bias, bias)


def losses_with_gradient(raw: Tensor, target: Tensor, weight: Tensor, task: Task, loss: str) -> tuple[Tensor, Tensor]:
    """`weight * loss_terms`, (..., R), and its gradient by `raw`, (..., outputs, R). target, weight: (..., R)."""
    if task.kind == "regression":
        said = torch.sigmoid(raw)
        off = said.squeeze(-2) - target
        slope = (2.0 * off * weight).unsqueeze(-2) * said * (1.0 - said)
        return off.square_().mul_(weight), slope
    if loss == "published":
        raw = torch.sigmoid(raw)
    if task.kind == "binary":
        turned = 1.0 - 2.0 * target
        margin = (raw[..., 1, :] - raw[..., 0, :]).mul_(turned)
        wrong = torch.sigmoid(margin)
        # softplus(m) is max(m, 0) - log(max(p, 1 - p)) with p = sigmoid(m): one logarithm, and that of 1/2 or more.
        terms = margin.clamp_(min=0.0).sub_(torch.maximum(wrong, 1.0 - wrong).log_()).mul_(weight)
        by_margin = wrong.mul_(weight).mul_(turned)
        gradient = torch.stack([-by_margin, by_margin], dim=-2)
    else:
        right = target.long().unsqueeze(-2)
        terms = (torch.logsumexp(raw, dim=-2) - raw.gather(-2, right).squeeze(-2)).mul_(weight)
        by_class = torch.softmax(raw, dim=-2)
        gradient = by_class.scatter_add_(-2, right, by_class.new_full((), -1.0).expand(right.shape))
        gradient = gradient.mul_(weight.unsqueeze(-2))
    return terms, gradient.mul_(raw).mul_(1.0 - raw) if loss == "published" else gradient


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """D of (K, ...) as one (K x D, ...); not a copy where there is one alone."""
    return parts[0] if len(parts) == 1 else torch.stack(list(parts), dim=1).flatten(0, 1)
