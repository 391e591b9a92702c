"""How fast notes are embedded: the naive way (padded to 512, batches of 16, eager attention, float32) beside ours.

python -m benchmarks.texts [--network minilm|bert-base|PATH] [--texts 48] [--rounds 3] [--device auto|cpu|cuda]

Texts have lognormal lengths (median 150 tokens, sigma 0.6, 8 to 510). All ways embed the same texts in turn, in one
process; what is compared is the median. On a processor each uses one thread and is judged by its processor time, on a
GPU by wall time. Tokens are the texts' own, without padding. A network's share is its arithmetic on those tokens, as a
part of what a large matrix product in the same number format reaches here. bert-base is Bio_ClinicalBERT's shape (12
layers of 768) with random weights: as fast as the published ones, and it cannot be downloaded here by mistake.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel
from transformers.utils import logging

from mmn.featurizers.text import TextParams
from mmn.featurizers.text_encoder import TextEncoder, embed_chunks, load_encoder, to_bfloat16
from mmn.featurizers.weights import Device, Resolved, inference, resolve_text

PAD_TO, NAIVE_BATCH, LONGEST = 512, 16, 510


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to embed all texts. took: seconds of each round; vectors: float32 (N, D)."""

    name: str
    run: Callable[[], np.ndarray]
    matmul: str
    took: list[float]
    vectors: list[np.ndarray]


def make_texts(tokenizer: Any, num: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """(texts of words that are one token each, their numbers of tokens)."""
    rng = np.random.default_rng(seed)
    words = sorted(word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha() and word.islower())
    lengths = np.clip(rng.lognormal(np.log(150), 0.6, num).astype(int), 8, LONGEST)
    return [" ".join(rng.choice(words, length)) for length in lengths], lengths


def random_bert_base(folder: Path) -> Path:
    """Bio_ClinicalBERT's shape with random weights, and the packaged tokenizer."""
    packaged = resolve_text("minilm").folder
    AutoTokenizer.from_pretrained(packaged, local_files_only=True).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(BertConfig()).save_pretrained(folder)
    return folder


def naive(resolved: Resolved, pooling: str, texts: list[str], device: torch.device) -> Callable[[], np.ndarray]:
    """What one writes first: the library's own padding and truncation, batches as they come."""
    tokenizer = AutoTokenizer.from_pretrained(resolved.folder, local_files_only=True)
    network = AutoModel.from_pretrained(
        resolved.folder, local_files_only=True, attn_implementation="eager", dtype=torch.float32
    )
    network = network.to(device).eval()

    def run() -> np.ndarray:
        made = []
        for first in range(0, len(texts), NAIVE_BATCH):
            batch = texts[first : first + NAIVE_BATCH]
            read = tokenizer(batch, padding="max_length", truncation=True, max_length=PAD_TO, return_tensors="pt")
            read = read.to(device)
            output = network(**read)
            mask = read["attention_mask"][..., None]
            mean = (output.last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1)
            made.append((output.pooler_output if pooling == "pooler" else mean).cpu().numpy())
        return np.concatenate(made)

    return run


def ours(encoder: TextEncoder, texts: list[str]) -> Callable[[], np.ndarray]:
    def run() -> np.ndarray:
        chunks, _ = encoder.chunks(texts)
        return embed_chunks(encoder, chunks)

    return run


def compare(network: str, num_texts: int, rounds: int, wanted: Device, folder: Path) -> dict[str, Any]:
    """`texts`, `tokens`, `device`, and per way its ratio to the naive one, rates, share and smallest cosine."""
    resolved = resolve_text(str(random_bert_base(folder)) if network == "bert-base" else network)
    params = TextParams(chunk_tokens=LONGEST)
    with inference(wanted) as device:
        exact = load_encoder(resolved, params, device)
        texts, lengths = make_texts(exact.tokenizer, num_texts)
        # The naive way knows no unit length; a cosine does not see it.
        ways = [_way("naive", naive(resolved, exact.pooling, texts, device), "float32")]
        ways.append(_way("ours, float32", ours(exact, texts), "float32"))
        if device.type == "cpu":
            batched = replace(exact, batch_tokens=2_048)
            ways.append(_way("ours, float32, batches of 2,048 tokens", ours(batched, texts), "float32"))
        if has_bfloat16(device):
            rough = load_encoder(resolved, params, device)
            to_bfloat16(rough, texts)
            ways.append(_way("ours, bfloat16", ours(rough, texts), "bfloat16"))
        products = {kind: matmul_rate(device, kind) for kind in {way.matmul for way in ways}}
        for round_ in range(rounds + 1):
            for way in ways:
                seconds, made = _timed(way.run, device)
                if round_:  # the first round warms up
                    way.took.append(seconds)
                way.vectors[:] = [made]
    work = arithmetic(exact.network.config, lengths + 2)
    first = float(np.median(ways[0].took))
    return {
        "texts": num_texts,
        "tokens": int(lengths.sum()),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "one thread of a processor",
        "ways": {
            way.name: {
                "ratio": first / (seconds := float(np.median(way.took))),
                "spread": (min(way.took), max(way.took)),
                "texts/s": num_texts / seconds,
                "tokens/s": int(lengths.sum()) / seconds,
                "share": work / seconds / products[way.matmul],
                "cosine": smallest_cosine(ways[0].vectors[0], way.vectors[0]),
            }
            for way in ways
        },
    }


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies in it; elsewhere it is no gain."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def matmul_rate(device: torch.device, kind: str) -> float:
    """Floating-point operations a second of a large matrix product, the best of five."""
    side = 8_192 if device.type == "cuda" else 1_024
    a = torch.randn(side, side, device=device).to(getattr(torch, kind))
    seconds = min(_timed(lambda: a @ a, device)[0] for _ in range(6))
    return 2 * side**3 / seconds


def arithmetic(config: Any, lengths: np.ndarray) -> float:
    """Floating-point operations of one pass over texts of these lengths: projections, attention, feed-forward."""
    width, inner = config.hidden_size, config.intermediate_size
    tokens, pairs = float(lengths.sum()), float((lengths.astype(np.float64) ** 2).sum())
    return config.num_hidden_layers * (tokens * (8 * width**2 + 4 * width * inner) + 4 * pairs * width)


def smallest_cosine(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / lengths).min())


def _way(name: str, run: Callable[[], np.ndarray], matmul: str) -> Way:
    return Way(name=name, run=run, matmul=matmul, took=[], vectors=[])


def _timed(run: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    cuda = device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    if cuda:
        torch.cuda.synchronize()
    start = clock()
    made = run()
    if cuda:
        torch.cuda.synchronize()
    return clock() - start, made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="minilm", help="minilm, bert-base, or a folder")
    parser.add_argument("--texts", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    chosen = parser.parse_args()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        found = compare(chosen.network, chosen.texts, chosen.rounds, chosen.device, Path(folder))
    print(f"{chosen.network}: {found['texts']} texts, {found['tokens']} tokens, on {found['device']}")
    print(f"{'':40}{'faster':>8}{'seconds':>16}{'texts/s':>10}{'tokens/s':>11}{'of a matmul':>13}{'min cosine':>12}")
    for name, way in found["ways"].items():
        spread = f"{way['spread'][0]:.2f}..{way['spread'][1]:.2f}"
        print(
            f"{name:40}{way['ratio']:>7.2f}x{spread:>16}{way['texts/s']:>10,.1f}{way['tokens/s']:>11,.0f}"
            f"{way['share']:>12.0%} {way['cosine']:>11.6f}"
        )


if __name__ == "__main__":
    main()
