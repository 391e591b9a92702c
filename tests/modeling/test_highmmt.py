"""HighMMT: equal to the published code, of the published size, and undisturbed by what is absent.

`highmmt_published.npz` holds what the published classes (perceiver-multi-modality-pytorch 1.4.0, put together as
`crossattnperceiver.py` does) give on random weights and inputs: 3 latents of width 6, heads of width 4, one encoder
layer, two pair layers; modalities a_table (6, 1), b_image (3, 2, 4), c_series (7, 5), declared as b, c, a.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from mmn.data.errors import ContractError
from mmn.data.files import read_json
from mmn.modeling.batch import Batch, ModalityShape
from mmn.modeling.highmmt.blocks import PerceiverBlock
from mmn.modeling.highmmt.heads import Head
from mmn.modeling.highmmt.network import Encoder, HighMMT, Pairs, Parts
from mmn.modeling.highmmt.serialise import Declared, Serialiser, declare, positions
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.storage import read_model, write_model
from mmn.modeling.train import train
from tests.modeling.worlds import LEVEL, SICK, make_world, quick, rngs, shapes_for

TINY = {"latents": 3, "latent_width": 6, "latent_head_size": 4, "cross_heads": 1, "pair_heads": 2, "latent_heads": 2}
PUBLISHED = (
    Declared(name="b_image", channels=4, axes=(3, 2), bands=2),
    Declared(name="c_series", channels=5, axes=(7,), bands=3),
    Declared(name="a_table", channels=1, axes=(6,), bands=6),
)


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    with np.load(Path(__file__).parent / "highmmt_published.npz") as stored:
        return {name: torch.from_numpy(stored[name]).double() for name in stored.files}


def _load(block: PerceiverBlock, published, prefix: str) -> None:
    """Weights in the published layout, (out, in), into ours, (1, in, out)."""
    parts = {
        "cross": "0",
        "cross_forward": "1",
        "latent": "2.latent_blocks.0.0",
        "latent_forward": "2.latent_blocks.0.1",
    }
    inside = {
        "query": "fn.to_q", "key_value": "fn.to_kv", "gather": "fn.to_out.0", "norm": "norm",
        "context_norm": "norm_context", "widen": "fn.net.0", "narrow": "fn.net.3",
    }  # fmt: skip
    with torch.no_grad():
        for name, p in block.named_parameters():
            part, layer, kind = name.split(".")
            value = published[f"weight.{prefix}.{parts[part]}.{inside[layer]}.{kind}"]
            p.copy_((value.T if value.ndim == 2 else value).reshape(p.shape))


def _models(published) -> tuple[Serialiser, Encoder, Pairs]:
    small = TrainingSettings(**TINY, cross_depth=2, mode="published")
    serialiser = Serialiser(declared=PUBLISHED)
    encoder, pairs = Encoder(serialiser.width, small, rngs(1)), Pairs(small.latent_width, small, rngs(1))
    _load(encoder.block, published, "layers.0")
    for number, block in enumerate(pairs.blocks):
        _load(block, published, f"cross_layers.{number}")
    with torch.no_grad():
        encoder.latents_K1Ld.copy_(published["weight.latents"][None, None])
    return serialiser, encoder, pairs


def test_the_published_latents_and_pair_vectors_are_reproduced(published):
    serialiser, encoder, pairs = _models(published)
    latents = {}
    for one in PUBLISHED:
        x = published[f"x.{one.name}"].flatten(1, -2)[None]
        tokens = serialiser.tokens(one.name, x)
        np.testing.assert_allclose(tokens[0, 0], published[f"tokens.{one.name}"], atol=1e-6)
        latents[one.name] = encoder(tokens, torch.ones(tokens.shape[:3], dtype=torch.bool))
    np.testing.assert_allclose(latents["b_image"][0].flatten(1).detach(), published["alone"], atol=2e-6)
    names = sorted(latents)  # the published order: alphabetical, the query outside
    found = [pairs(latents[i], latents[j])[0] for i in names for j in names if i != j]
    np.testing.assert_allclose(torch.cat(found, dim=1).detach(), published["pairs"], atol=2e-6)


def test_in_mode_paper_no_residual_is_doubled_and_the_published_numbers_are_missed(published):
    serialiser, encoder, _ = _models(published)
    small = TrainingSettings(**TINY, cross_depth=2)
    assert encoder.block.doubled and not Encoder(serialiser.width, small, rngs(1)).block.doubled
    assert not any(block.doubled for block in Pairs(small.latent_width, small, rngs(1)).blocks)
    encoder.block.doubled = False
    x = serialiser.tokens("b_image", published["x.b_image"].flatten(1, -2)[None])
    other = encoder(x, torch.ones(x.shape[:3], dtype=torch.bool))[0].flatten(1).detach()
    assert float((other - published["alone"]).abs().max()) > 0.01


@pytest.mark.parametrize(
    ("token", "latents", "width", "pair_heads", "latent_heads", "depth", "encoder", "pairs"),
    [
        (387, 20, 64, 4, 6, 1, 256_902, 264_064),  # large
        (388, 20, 64, 4, 6, 1, 257_032, 264_064),  # large with a learnt mark
        (58, 20, 64, 4, 8, 2, 246_900, 593_664),  # small, as coded
        (58, 20, 64, 1, 8, 1, 246_900, 247_680),  # small, as printed
        (37, 12, 64, 4, 8, 2, 244_170, 593_664),  # medium, as coded
        (388, 10, 16, 4, 6, 1, 26_440, 16_864),  # parameter sharing
        (388, 16, 32, 4, 6, 1, 77_704, 66_496),  # the shipped checkpoint
        (88, 16, 32, 4, 6, 1, 57_904, 66_496),  # ours, over eleven modalities
    ],
)
def test_the_blocks_have_the_published_numbers_of_parameters(
    token, latents, width, pair_heads, latent_heads, depth, encoder, pairs
):
    chosen = TrainingSettings(
        latents=latents, latent_width=width, latent_head_size=width, cross_heads=1, pair_heads=pair_heads,
        latent_heads=latent_heads, cross_depth=depth,
    )  # fmt: skip
    made = Encoder(token, chosen, rngs(1))
    assert sum(p.numel() for p in made.block.parameters()) == encoder
    assert made.latents_K1Ld.numel() == latents * width
    assert sum(p.numel() for p in Pairs(chosen.latent_width, chosen, rngs(1)).parameters()) == pairs


@pytest.mark.parametrize(
    ("latents", "width", "published"),
    # Large: 527,987 without heads (5,136) and the dead one (385). Sharing: 44,947 without heads (1,296) and that (97).
    [(20, 64, 527_987 - 5_136 - 385), (10, 16, 44_947 - 1_296 - 97)],
)
def test_with_learnt_marks_the_shared_parts_have_the_published_numbers_of_parameters(latents, width, published):
    chosen = TrainingSettings(latents=latents, latent_width=width, latent_head_size=width, marks="learnt")
    wide = Declared(name="widest", channels=371, axes=(20,), bands=3)
    others = (Declared(name=f"m{n}", channels=1, axes=(5,), bands=6) for n in range(8))
    assert sum(p.numel() for p in Parts((wide, *others), chosen, rngs(1)).parameters()) == published


def test_a_learnt_mark_takes_the_places_of_the_one_hot_one_and_learns_where_its_modality_is_read():
    shapes = shapes_for({"a": 3, "b": 3}, 1)
    settings, declared = quick(**TINY, dtype="float64", marks="learnt"), [declare(s) for s in (*shapes,)]
    never = Declared(name="never", channels=1, axes=(3,), bands=6)
    model = HighMMT(shapes, (SICK,), 1, settings, rngs(1), declared=[*declared, never]).double()
    (encoder,) = model.parts.encoders
    batch = _batch(model, rate=1.0)
    before = model(batch)["sick"]
    before.sum().backward()
    moved = encoder.marks_KMm.grad[0].abs().sum(dim=1)
    assert (moved[:2] > 0).all() and moved[2] == 0
    with torch.no_grad():
        encoder.marks_KMm[:, :2] = encoder.marks_KMm[:, :2].flip(1)
    assert float((model(batch)["sick"] - before).detach().abs().max()) > 1e-6
    # The same marks written into the tokens by hand.
    tokens = model.serialiser.tokens("b", torch.ones(1, 2, 3, 1, dtype=torch.float64))
    assert tokens.shape[-1] == 1 + 13 + 10 and not tokens[..., 14:].any()
    seen = torch.ones(tokens.shape[:3], dtype=torch.bool)
    by_hand = torch.cat([tokens[..., :14], encoder.marks_KMm[:, None, None, 1].expand(1, 2, 3, 10)], dim=-1)
    kept = encoder.block(encoder.latents_K1Ld.expand(-1, 2, -1, -1), by_hand, seen)
    torch.testing.assert_close(encoder(tokens, seen, 1), kept)


def test_a_model_with_learnt_marks_is_stored_and_read_and_says_the_same(tmp_path):
    cohort, embeddings = make_world(num_items=40, seed=1)
    trained = train(cohort, embeddings, (SICK,), "highmmt", quick(**TINY, epochs=1, marks="learnt"))
    write_model(tmp_path / "model", trained, {"step": "test"})
    pd.testing.assert_frame_equal(read_model(tmp_path / "model").predict(embeddings), trained.predict(embeddings))


def test_an_image_of_the_large_setting_lies_where_the_paper_puts_it():
    # Worked by hand: nine modalities, the widest of 371 channels and one axis with three bands, 371 + 7 = 378.
    names = ["static", "timeseries", "image", "audio", "f1", "f2", "f3", "f4", "f5"]
    kinds = [(1, (5,), 6), (1, (24, 12), 6), (16, (7, 7), 6), (256, (7, 7), 6), (35, (50,), 3), (74, (50,), 3)]
    kinds += [(300, (50,), 3), (371, (20,), 3), (81, (20,), 3)]
    serialiser = Serialiser(
        declared=tuple(
            Declared(name=name, channels=c, axes=axes, bands=bands)
            for name, (c, axes, bands) in zip(names, kinds, strict=True)
        )
    )
    assert serialiser.width == 387
    tokens = serialiser.tokens("image", torch.full((1, 2, 49, 16), 5.0))
    assert tokens.shape == (1, 2, 49, 387)
    assert (tokens[..., :16] == 5).all() and (tokens[..., 16:352] == 0).all()
    # Row block and column block of the second patch: the row is the first, the column one step of 2/6 on.
    assert tokens[0, 0, 1, 352 + 12] == -1 and tokens[0, 0, 1, 352 + 25] == pytest.approx(-1 + 2 / 6)
    assert tokens[0, 0, 0, 378:].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0]
    audio = serialiser.tokens("audio", torch.ones(1, 1, 49, 256))[0, 0, 0]
    assert (audio[256:352] == 0).all() and audio[378 + 3] == 1


def test_the_frequencies_run_down_from_two_and_a_place_alone_is_minus_one():
    # Six bands at max_freq 1: powers of 2 from 1 to -1. At place -1/2... a series of three has the places -1, 0, 1.
    found = positions((3,), 6, 1.0)
    expected = [2.0, 1.5157, 1.1487, 0.8706, 0.6598, 0.5]
    np.testing.assert_allclose(found[2, :6], np.sin(np.pi * np.array(expected)), atol=1e-3)
    np.testing.assert_allclose(found[1], [0] * 6 + [1] * 6 + [0], atol=1e-12)
    assert positions((1,), 3, 1.0)[0, -1] == -1.0


def test_embeddings_become_tokens_by_their_shape():
    assert declare(ModalityShape(name="ages", width=6, num_steps=1)).axes == (6,)
    notes = declare(ModalityShape(name="notes", width=768, num_steps=1))
    assert (notes.axes, notes.channels) == ((12,), 64)
    weeks = declare(ModalityShape(name="video", width=23, num_steps=10))
    assert (weeks.axes, weeks.channels, weeks.bands) == ((10,), 23, 3)
    cut = Serialiser(declared=(declare(ModalityShape(name="odd", width=130, num_steps=1)),))
    laid = cut.laid_out("odd", torch.ones(1, 2, 1, 130))
    assert laid.shape == (1, 2, 3, 64) and laid[0, 0].sum() == 130


def test_a_picture_is_cut_into_patches_row_by_row_with_the_places_of_both_axes():
    told = {"shape": [2, 4, 6], "patch": [2, 3]}
    picture = np.arange(48.0).reshape(2, 4, 6)
    one = declare(ModalityShape(name="picture", width=48, num_steps=1), told)
    assert (one.axes, one.channels, one.bands, one.num_tokens) == ((2, 2), 12, 6, 4)
    serialiser = Serialiser(declared=(one,))
    laid = serialiser.laid_out("picture", torch.from_numpy(picture).reshape(1, 1, 1, 48))[0, 0]
    for token, (row, column) in enumerate([(0, 0), (0, 3), (2, 0), (2, 3)]):
        expected = picture[:, row : row + 2, column : column + 3].transpose(1, 2, 0).reshape(-1)
        np.testing.assert_array_equal(laid[token], expected)
    tokens = serialiser.tokens("picture", laid)
    np.testing.assert_array_equal(tokens[:, 12:-1], positions((2, 2), 6, 1.0).reshape(4, -1))


def test_the_papers_layouts_have_its_numbers_of_tokens_and_channels():
    for width, steps, told, axes, channels in (
        (784, 1, {"shape": [1, 28, 28], "patch": [4, 4]}, (7, 7), 16),
        (12_544, 1, {"shape": [1, 112, 112], "patch": [16, 16]}, (7, 7), 256),
        (12, 24, {"shape": [1, 12], "bands": 6}, (24, 12), 1),
        (98_304, 1, {"shape": [3, 256, 128]}, (256, 128), 3),
        (1024, 16, {"shape": [1, 32, 32], "bands": 6}, (16, 32, 32), 1),
        (192, 1, {"chunk": 32}, (6,), 32),
        (8, 1, {"chunk": 8}, (1,), 8),
        (7, 16, {"bands": 6}, (16,), 7),
    ):
        one = declare(ModalityShape(name="m", width=width, num_steps=steps), told)
        assert (one.axes, one.channels, one.bands) == (axes, channels, 6)
    with pytest.raises(ContractError, match="modality 'm': 784 numbers are not 1 x 14 x 14"):
        declare(ModalityShape(name="m", width=784, num_steps=1), {"shape": [1, 14, 14]})
    for wrong, message in (
        ({"shape": [1, 28, 28], "patch": [5, 4]}, "no multiples"),
        ({"patches": [4]}, "patches is unknown"),
        ({"shape": [1, 4], "chunk": 2}, "not both"),
    ):
        with pytest.raises(ValueError, match=f"tokens.m: .*{message}"):
            TrainingSettings(tokens={"m": wrong})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shape": 784}, "shape is 784; it must be a list of whole numbers above 0, such as [1, 28, 28]."),
        ({"shape": [1, 28.0]}, "shape is [1, 28.0]; it must be a list of whole numbers above 0"),
        ({"patch": "44"}, "patch is '44'; it must be a list of whole numbers above 0, such as [4, 4]."),
        ({"max_freq": "8"}, "max_freq is '8'; it must be a number above 0"),
        ({"max_freq": float("nan")}, "max_freq is nan; it must be a number above 0"),
        ({1: 28}, "1 is unknown; there are shape, patch, chunk, bands, max_freq."),
        ([1, 28, 28], "[1, 28, 28] is no block of settings; write {shape: [1, 28, 28]} or {chunk: 32}."),
        (784, "784 is no block of settings"),
        (None, "None is no block of settings"),
    ],
)
def test_a_layout_of_tokens_of_another_form_is_refused_with_its_place_and_what_to_write(given, message):
    with pytest.raises(ValueError) as refused:
        TrainingSettings(tokens={"notes": given})
    assert str(refused.value).startswith(f"tokens.notes: {message}")


def test_a_series_of_several_tokens_per_step_is_read_up_to_the_step_and_not_where_it_is_absent(tmp_path):
    tokens = {"c": {"shape": [1, 2]}, "b": {"shape": [5, 4, 7], "patch": [2, 7]}}
    model = _model(tokens=tokens).eval()
    assert model.serialiser.of("c").axes == (4, 2) and model.serialiser.of("b").axes == (2, 1)
    batch = _batch(model, B=6)
    x, there = batch.x["c"].clone(), batch.present["c"].clone()
    x[~there] = 1e3
    late = torch.arange(4) > LEVEL.read_step
    x[:, :, late] = -1e3
    torch.testing.assert_close(
        model(Batch(x={**batch.x, "c": x}, present=batch.present, real=batch.real))["level"], model(batch)["level"]
    )
    cohort, embeddings = make_world(num_items=40, widths={"a": 3, "b": 140, "c": 2}, num_steps=2, static=("a", "b"))
    trained = train(cohort, embeddings, (SICK,), "highmmt", quick(**TINY, epochs=1, tokens=tokens))
    write_model(tmp_path / "model", trained, {"step": "test"})
    pd.testing.assert_frame_equal(read_model(tmp_path / "model").predict(embeddings), trained.predict(embeddings))


def _batch(model, B=5, seed=0, rate=0.6) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = {s.name: torch.randn(1, B, s.num_steps, s.width, generator=generator).double() for s in model.modalities}
    present = {s.name: torch.rand(1, B, s.num_steps, generator=generator) < rate for s in model.modalities}
    x = {name: value * present[name][..., None] for name, value in x.items()}
    return Batch(x=x, present=present, real=torch.ones(1, B, dtype=torch.bool))


def _model(absent="zero", num_steps=4, **more) -> HighMMT:
    shapes = shapes_for({"a": 3, "b": 140, "c": 2}, num_steps, static=("a", "b"))
    chosen = quick(**TINY, dtype="float64", pairs_of_absent=absent, **more)
    return HighMMT(shapes, (SICK, LEVEL), num_steps, chosen, rngs(1)).double()


@pytest.mark.parametrize("absent", ["zero", "mean"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_what_an_absent_modality_holds_has_no_influence_and_no_gradient(absent, seed):
    model = _model(absent).eval()
    batch = _batch(model, seed=seed)
    expected = model(batch)
    junk = {}
    for name, value in batch.x.items():
        there = batch.present[name][..., None]
        # A series' steps after the read step play no part either.
        junk[name] = torch.where(there, value, torch.full_like(value, 1e3)).requires_grad_(True)
    found = model(Batch(x=junk, present=batch.present, real=batch.real))
    for task in expected:
        torch.testing.assert_close(found[task], expected[task])
    sum(value.sum() for value in found.values()).backward()
    for name, value in junk.items():
        assert value.grad is None or float((value.grad * ~batch.present[name][..., None]).abs().max()) == 0.0


@pytest.mark.parametrize(("absent", "mode"), [("zero", "paper"), ("mean", "paper"), ("zero", "published")])
def test_an_item_alone_is_predicted_as_in_a_batch_and_without_evidence_gets_the_prior(absent, mode):
    model = _model(absent, mode=mode)
    batch = _batch(model, B=9)
    model.train()(batch)  # so that a batch norm has something to remember
    model.eval()
    together = model(batch)
    for n in range(9):
        alone = Batch(
            x={m: v[:, n : n + 1] for m, v in batch.x.items()},
            present={m: p[:, n : n + 1] for m, p in batch.present.items()},
            real=batch.real[:, n : n + 1],
        )
        for task, value in model(alone).items():
            torch.testing.assert_close(value, together[task][:, n : n + 1])
    nothing = Batch(x=batch.x, present={m: torch.zeros_like(p) for m, p in batch.present.items()}, real=batch.real)
    for task, value in model(nothing).items():
        head = model.heads[task]
        if mode == "published":
            of_nothing = head.norm.bias[:, None].expand(1, 9, -1)
        else:
            of_nothing = torch.nn.functional.batch_norm(
                torch.zeros(9, head.norm.mean_KH.shape[1], dtype=torch.float64), head.norm.mean_KH[0],
                head.norm.variance_KH[0], head.norm.weight[0], head.norm.bias[0],
            )[None]  # fmt: skip
        torch.testing.assert_close(value, head.linear(of_nothing))


def test_the_papers_head_is_torchs_batch_norm_over_real_rows_and_the_published_one_its_layer_norm():
    rng, H, B = np.random.default_rng(0), 6, 7
    x, real = torch.from_numpy(rng.normal(2.0, 3.0, (2, B, H))), torch.ones(2, B, dtype=torch.bool)
    real[1, 4:] = False  # the second member's batch is filled up
    ours, layered = (Head(H, 3, rngs(2), over_batch=over).double() for over in (True, False))
    theirs = [torch.nn.BatchNorm1d(H, dtype=torch.float64) for _ in range(2)]
    for _ in range(3):
        found = ours.train()(x, real)
        for k, one in enumerate(theirs):
            expected = one.train()(x[k, real[k]]) @ ours.linear.weight[k] + ours.linear.bias[k]
            torch.testing.assert_close(found[k, real[k]], expected)
    torch.testing.assert_close(ours.norm.variance_KH, torch.stack([one.running_var for one in theirs]))
    found = ours.eval()(x, real)
    for k, one in enumerate(theirs):
        torch.testing.assert_close(found[k], one.eval()(x[k]) @ ours.linear.weight[k] + ours.linear.bias[k])
    normal = torch.nn.functional.layer_norm(x, (H,))
    torch.testing.assert_close(layered(x, real), layered.linear(normal))
    # One row has no variance: what is remembered is used, and stays.
    before = ours.norm.mean_KH.clone()
    single = ours.train()(x, real & (torch.arange(B) == 0))
    torch.testing.assert_close(single[:, :1], ours.eval()(x[:, :1], real[:, :1]))
    torch.testing.assert_close(ours.norm.mean_KH, before)


def test_the_card_and_the_footer_say_the_mode_and_what_a_head_remembers_is_stored(tmp_path):
    cohort, embeddings = make_world(num_items=60, seed=1)
    named = {"c_first": embeddings["a"], "b_second": embeddings["b"]}
    models = {}
    for mode in ("paper", "published"):
        models[mode] = trained = train(cohort, named, (SICK,), "highmmt", quick(**TINY, epochs=2, mode=mode))
        write_model(tmp_path / mode, trained, {"step": "test"})
        card = read_json(tmp_path / mode / "card.json")
        with safe_open(tmp_path / mode / "model.safetensors", framework="pt") as stored:
            footer = json.loads(stored.metadata()["mmn"])
        assert card["mode"] == footer["mode"] == mode
        assert ("mode=published" in card["published_behaviour"]) == (mode == "published")
        again = read_model(tmp_path / mode).predict(named)
        pd.testing.assert_frame_equal(again, trained.predict(named))
    paper, published = (models[mode].model for mode in ("paper", "published"))
    assert paper.pairs == [("c_first", "b_second"), ("b_second", "c_first")] == published.pairs[::-1]
    sizes = [models[mode].num_parameters for mode in ("paper", "published")]
    assert sizes[0] == sizes[1], "what a batch norm remembers is no parameter"
    assert float((paper.heads["sick"].norm.mean_KH.abs()).sum()) > 0


def test_groups_give_modalities_and_pairs_parts_of_their_own():
    shared, split = _model(), _model(encoder_groups={"b": 1}, pair_groups={"a+b": 2})
    assert (len(shared.parts.encoders), len(shared.parts.blocks)) == (1, 1) and (
        len(split.parts.encoders),
        len(split.parts.blocks),
    ) == (2, 2)
    with pytest.raises(ContractError, match=r"pair_groups: b\+a is not there; known: a\+b, a\+c"):
        _model(pair_groups={"b+a": 1})
    # Only the group's own part learns from its modality.
    batch = _batch(split, rate=1.1)
    only_b = Batch(
        x=batch.x,
        present={m: p if m == "b" else torch.zeros_like(p) for m, p in batch.present.items()},
        real=batch.real,
    )
    split.eval()(only_b)["sick"].sum().backward()
    touched = [float(encoder.latents_K1Ld.grad.abs().sum()) for encoder in split.parts.encoders]
    assert touched[0] == 0.0 and touched[1] > 0.0


def test_it_learns_the_planted_signal_with_evidence_missing():
    cohort, embeddings = make_world(num_items=240, present_rate=0.8, seed=3)
    chosen = quick(**TINY, epochs=12, batch_size=32, learning_rate=3e-3)
    trained = train(cohort, embeddings, (SICK,), "highmmt", chosen)
    # The signal shifts one dimension by two standard deviations of its noise (AUROC 0.92 where it is present, which is
    # for four of five items); the rest is at 0.5: 0.8 * 0.92 + 0.2 * 0.5 is about 0.84 in the mix.
    assert np.mean(trained.metrics["sick"]["auroc"]) > 0.72
