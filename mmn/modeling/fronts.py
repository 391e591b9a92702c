"""What stands before an encoder's layers where a modality is more than a row of numbers: a series or a picture.

A front makes features of the evidence; the encoder of `encoders.py` reads them, beside the state, as it would read the
evidence itself. A front never sees the state, so all of a modality's steps are read at once; the features of a step
depend on that step and, in a series, on the present steps before it, on nothing later and on no other item.

K members, B items, T steps, D width, F features, R rows, C channels, L length of a series.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mmn.modeling.encoder_settings import EncoderSettings
from mmn.modeling.layers import MemberLinear, member_values

Rngs = Sequence[np.random.Generator]


class Front(nn.Module, ABC):
    """width: the number of features, F. reads_steps: whether it needs the steps before the one that it reads.
    numbers_per_step: of its widest layer."""

    width: int
    numbers_per_step: int
    reads_steps = False

    @abstractmethod
    def forward(self, x_KBTD: Tensor, present_KBT: Tensor) -> Tensor:
        """(K, B, T, F), finite everywhere; what absent steps hold has no influence on present ones."""


class SeriesFront(Front):
    """Reads a series of vectors forwards. One that is laid out in each step (`shape`), or else that of the steps.

    Of the steps, absent ones are as if they did not exist: those that are present move together, and each is given
    the features of what came up to it.
    """

    def __init__(self, settings: EncoderSettings, width: int, hidden: int) -> None:
        super().__init__()
        self.shape, self.reads_steps, self.width = settings.shape, settings.reads_steps, hidden
        self.channels = settings.shape[0] if settings.shape else width
        self.numbers_per_step = max(self.channels, 4 * hidden) * math.prod(settings.shape[1:])

    @abstractmethod
    def run(self, x_KRLC: Tensor) -> Tensor:
        """(K, R, L, F): features of each place of R series, of what came up to it."""

    def forward(self, x_KBTD: Tensor, present_KBT: Tensor) -> Tensor:
        x_KBTD = torch.where(present_KBT[..., None], x_KBTD, 0.0)
        if not self.reads_steps:
            K, B, T, _ = x_KBTD.shape
            x_KRLC = x_KBTD.reshape(K, B * T, *self.shape).transpose(2, 3)
            return self.run(x_KRLC)[:, :, -1].view(K, B, T, -1)
        first_KBT = torch.argsort(present_KBT.to(torch.int8), dim=2, descending=True, stable=True)
        together_KBTD = x_KBTD.gather(2, first_KBT[..., None].expand_as(x_KBTD))
        made_KBTF = self.run(together_KBTD)
        place_KBT = (present_KBT.cumsum(dim=2) - 1).clamp(min=0)
        return made_KBTF.gather(2, place_KBT[..., None].expand(*place_KBT.shape, made_KBTF.shape[-1]))


class GRU(SeriesFront):
    """torch's own GRU of one layer, gate by gate (reset, update, new), for all members at once."""

    gates = 3

    def __init__(self, settings: EncoderSettings, width: int, hidden: int, rngs: Rngs) -> None:
        super().__init__(settings, width, hidden)
        self.input = MemberLinear(self.channels, self.gates * hidden, rngs, fan_in=hidden)
        self.known = MemberLinear(hidden, self.gates * hidden, rngs)

    def run(self, x_KRLC: Tensor) -> Tensor:
        K, R, L, C = x_KRLC.shape
        # The input's part of all gates is one product over all places; unbind, for its gradient is one stack.
        given = self.input(x_KRLC.reshape(K, R * L, C)).view(K, R, L, -1).unbind(2)
        memory = self.begin(x_KRLC.new_zeros((K, R, self.width)))
        made = []
        for given_KRG in given:
            memory = self.step(given_KRG, memory)
            made.append(memory[0])
        return torch.stack(made, dim=2)

    def begin(self, zeros_KRF: Tensor) -> tuple[Tensor, ...]:
        return (zeros_KRF,)

    def step(self, given_KRG: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (hidden_KRF,) = memory
        reset, update, new = given_KRG.chunk(3, dim=-1)
        reset_known, update_known, new_known = self.known(hidden_KRF).chunk(3, dim=-1)
        update_KRF = torch.sigmoid(update + update_known)
        new_KRF = torch.tanh(new + torch.sigmoid(reset + reset_known) * new_known)
        return (torch.lerp(new_KRF, hidden_KRF, update_KRF),)


class LSTM(GRU):
    """torch's own LSTM of one layer (input, forget, cell, output)."""

    gates = 4

    def begin(self, zeros_KRF: Tensor) -> tuple[Tensor, ...]:
        return zeros_KRF, zeros_KRF

    def step(self, given_KRG: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden_KRF, cell_KRF = memory
        enter, forget, new, leave = (given_KRG + self.known(hidden_KRF)).chunk(4, dim=-1)
        cell_KRF = torch.sigmoid(forget) * cell_KRF + torch.sigmoid(enter) * torch.tanh(new)
        return torch.sigmoid(leave) * torch.tanh(cell_KRF), cell_KRF


class MemberConv(nn.Module):
    """K convolutions, 1-D or 2-D, side by side as groups: (R, K x I, ...) -> (R, K x O, ...).

    padding: of each side, as torch pads a convolution; initial values as `MemberLinear`'s.
    """

    def __init__(self, num_in: int, num_out: int, kernel: tuple[int, ...], rngs: Rngs, **how: int) -> None:
        super().__init__()
        bound, self.how = 1.0 / math.sqrt(num_in * math.prod(kernel)), how
        shape = (num_out, num_in, *kernel)
        self.weight = nn.Parameter(member_values(rngs, lambda rng: rng.uniform(-bound, bound, shape)))
        self.bias = nn.Parameter(member_values(rngs, lambda rng: rng.uniform(-bound, bound, (num_out,))))

    def forward(self, x: Tensor) -> Tensor:
        convolve = nn.functional.conv1d if self.weight.ndim == 4 else nn.functional.conv2d
        return convolve(x, self.weight.flatten(0, 1), self.bias.flatten(), groups=len(self.weight), **self.how)


class CNN1d(SeriesFront):
    """Causal convolutions, each with twice the dilation of the one before, ReLU after each; the mean up to a place."""

    def __init__(self, settings: EncoderSettings, width: int, hidden: int, rngs: Rngs) -> None:
        super().__init__(settings, width, hidden)
        sizes = [self.channels, *[hidden] * settings.layers]
        self.layers = nn.ModuleList(
            MemberConv(sizes[n], sizes[n + 1], (settings.kernel,), rngs, dilation=2**n) for n in range(settings.layers)
        )
        # Zeros before the beginning alone, so that nothing looks ahead.
        self.before = [(settings.kernel - 1) * 2**n for n in range(settings.layers)]

    def run(self, x_KRLC: Tensor) -> Tensor:
        K, R, L, C = x_KRLC.shape
        made = x_KRLC.permute(1, 0, 3, 2).reshape(R, K * C, L)
        for layer, before in zip(self.layers, self.before, strict=True):
            made = torch.relu(layer(nn.functional.pad(made, (before, 0))))
        num_places = torch.arange(1, L + 1, device=made.device, dtype=made.dtype)
        mean_RGL = made.cumsum(dim=2) / num_places
        return mean_RGL.view(R, K, -1, L).permute(1, 0, 3, 2)


class MemberGroupNorm(nn.Module):
    """K group normalisations of (R, K x C, H, W), each item by itself: what else is in the batch changes nothing."""

    def __init__(self, channels: int, num_members: int) -> None:
        super().__init__()
        self.num_groups = math.gcd(channels, 4)
        self.weight = nn.Parameter(torch.ones(num_members, channels, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(num_members, channels, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        num_groups = self.num_groups * len(self.weight)
        return nn.functional.group_norm(x, num_groups, self.weight.flatten(), self.bias.flatten())


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, normalised, and a way past them (He et al. 2016, with group for batch normalisation)."""

    def __init__(self, num_in: int, num_out: int, stride: int, rngs: Rngs) -> None:
        super().__init__()
        self.first = MemberConv(num_in, num_out, (3, 3), rngs, stride=stride, padding=1)
        self.second = MemberConv(num_out, num_out, (3, 3), rngs, padding=1)
        self.first_norm, self.second_norm = (MemberGroupNorm(num_out, len(rngs)) for _ in range(2))
        changes = stride > 1 or num_in != num_out
        self.past = MemberConv(num_in, num_out, (1, 1), rngs, stride=stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        made = self.second_norm(self.second(torch.relu(self.first_norm(self.first(x)))))
        return torch.relu(made + (x if self.past is None else self.past(x)))


class ResNet(Front):
    """A small ResNet for pictures that are trained end to end: a 3 x 3 convolution, one residual block per stage, each
    but the first at half the resolution, the mean over the picture. The last stage has `hidden` channels, each before
    it half as many."""

    def __init__(self, settings: EncoderSettings, width: int, hidden: int, rngs: Rngs) -> None:
        super().__init__()
        self.shape, self.width = settings.shape, hidden
        sizes = [max(1, hidden // 2 ** (settings.stages - 1 - n)) for n in range(settings.stages)]
        self.numbers_per_step = sizes[0] * math.prod(self.shape[1:])
        self.stem = MemberConv(self.shape[0], sizes[0], (3, 3), rngs, padding=1)
        self.stem_norm = MemberGroupNorm(sizes[0], len(rngs))
        self.blocks = nn.ModuleList(
            ResidualBlock(sizes[max(n - 1, 0)], size, 1 if n == 0 else 2, rngs) for n, size in enumerate(sizes)
        )

    def forward(self, x_KBTD: Tensor, present_KBT: Tensor) -> Tensor:
        K, B, T, _ = x_KBTD.shape
        x_KBTD = torch.where(present_KBT[..., None], x_KBTD, 0.0)
        channels, *size = self.shape
        x = x_KBTD.permute(1, 2, 0, 3).reshape(B * T, K * channels, *size)
        made = torch.relu(self.stem_norm(self.stem(x)))
        for block in self.blocks:
            made = block(made)
        return made.mean(dim=(2, 3)).view(B, T, K, -1).permute(2, 0, 1, 3)


FRONTS: dict[str, type[GRU] | type[LSTM] | type[CNN1d] | type[ResNet]] = {
    "gru": GRU, "lstm": LSTM, "cnn1d": CNN1d, "resnet": ResNet,
}  # fmt: skip
