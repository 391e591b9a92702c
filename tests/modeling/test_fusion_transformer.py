"""The P-Fusion Transformer: the numbers of one member written out with torch's own attention, and no look ahead."""

import numpy as np
import pytest
import torch
from torch import nn

from mmn.data.dataset import Task
from mmn.modeling.fusion_transformer import FusionTransformer
from tests.modeling.worlds import LEVEL, SICK, make_batch, part_of, quick, rngs, shapes_for

EARLY = Task(name="early", number=None, kind="binary", description="", per_step=True, read_step=1)
WIDTHS = {"a": 3, "b": 5}


def build(tasks, num_steps=4, num_members=2, static=("b",), **changes):
    shapes = shapes_for(WIDTHS, num_steps, static)
    model = FusionTransformer(shapes, tasks, num_steps, quick(**changes), rngs(num_members)).double()
    present = np.ones((6, sum(s.num_steps for s in shapes)), dtype=bool)
    return model, make_batch(shapes, tasks, num_steps, present, num_members)


def written_out(model: FusionTransformer, batch, member: int, read_step: int, task: str) -> torch.Tensor:
    """One member, with nn.MultiheadAttention in place of the packed products."""

    def linear(layer, x):
        return x @ layer.weight[member] + layer.bias[member]

    def norm(layer, x):
        return nn.functional.layer_norm(x, x.shape[-1:], layer.weight[member], layer.bias[member])

    tokens = [
        linear(model.embed[name], batch.x[name][member][:, step]) + model.place_K1LE[member, 0, place]
        for place, (step, name) in enumerate(model.tokens)
        if step <= read_step
    ]
    x = torch.stack(tokens, dim=1)
    for block in model.blocks:
        inner = block.gather.weight.shape[1]
        q, k, v = linear(block.query_key_value, norm(block.before_attention, x)).split(inner, dim=-1)
        attention = nn.MultiheadAttention(inner, block.heads, bias=False, batch_first=True).double()
        attention.in_proj_weight.data = torch.eye(inner).repeat(3, 1).double()
        attention.out_proj.weight.data = torch.eye(inner).double()
        x = x + linear(block.gather, attention(q, k, v)[0])
        x = x + linear(block.narrow, torch.relu(linear(block.widen, norm(block.before_forward, x))))
    pooled = norm(model.last_norm, x).mean(dim=1)
    return linear(model.heads[task], torch.relu(linear(model.hidden, pooled)))


@pytest.mark.parametrize("task", [SICK, EARLY])
def test_it_equals_a_member_written_out_with_torchs_attention(task):
    model, batch = build((SICK, EARLY, LEVEL))
    for member in (0, 1):
        expected = written_out(model, batch, member, task.read_step, task.name)
        torch.testing.assert_close(model(batch)[task.name][member], expected, atol=1e-10, rtol=0)


def test_what_comes_after_the_read_step_changes_nothing():
    model, batch = build((EARLY,), static=())
    before = model.read(batch)["early"]
    for x in batch.x.values():
        x[:, :, EARLY.read_step + 1 :] += 7
    torch.testing.assert_close(model.read(batch)["early"], before, atol=0, rtol=0)
    batch.x["a"][:, :, EARLY.read_step] += 7
    assert (model.read(batch)["early"] - before).abs().max() > 1e-6


def test_a_batch_is_its_items_one_by_one():
    model, batch = build((SICK, LEVEL))
    whole = model.read(batch)
    for item in range(batch.size):
        alone = model.read(part_of(batch, [item]))
        for task in ("sick", "level"):
            torch.testing.assert_close(alone[task][:, 0], whole[task][:, item], atol=1e-12, rtol=0)


def test_masks_of_both_chances_cover_every_sub_layer_and_the_hidden_layer():
    model, batch = build((SICK, EARLY), blocks=2, dropout=0.25, mlp_dropout=0.5, static=())
    chances = model.dropout_chances
    assert len(chances) == model.dropout_width and set(chances) == {0.25, 0.5}
    assert (chances == 0.5).sum() == 2 * quick().mlp, "one hidden layer per read step"
    ones = torch.ones((2, batch.size, model.dropout_width), dtype=torch.float64)
    torch.testing.assert_close(model(batch, ones)["sick"], model(batch)["sick"], atol=1e-12, rtol=0)
    zeros = model(batch, torch.zeros_like(ones))["sick"]
    bias = model.heads["sick"].bias.expand_as(zeros)
    torch.testing.assert_close(zeros, bias, atol=1e-12, rtol=0)


def test_presence_is_read_only_when_asked_for():
    for mask_bits, same in ((False, True), (True, False)):
        model, batch = build((SICK,), mask_bits=mask_bits)
        before = model.read(batch)["sick"]
        batch.present["a"][:, 0] = False
        assert torch.equal(model.read(batch)["sick"], before) == same
