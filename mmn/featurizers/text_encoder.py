"""A tokenizer and a network of BERT's kind, made ready and run over chunks of token ids.

On a processor every chunk is run alone, without padding: as fast as any batch there, and a chunk's vector then depends
on that chunk and nothing else. On a GPU chunks of like length share a batch. With bfloat16 the first thing that is done
is to measure what it costs on some of these very texts; beyond the tolerance it is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mmn.featurizers.text_chunks import chunk_texts
from mmn.featurizers.weights import Resolved, WeightsError

if TYPE_CHECKING:
    import torch

    from mmn.featurizers.text import TextParams

LEAST_COSINE = 0.999
_CHUNKS_TO_JUDGE = 16
_RECIPE = 1  # raised when what is computed from the same text changes, so that pieces kept from before are not used


@dataclass(frozen=True, kw_only=True)
class TextEncoder:
    """Ready to run. chunk_tokens: tokens of text that one chunk may hold. batch_tokens: padded, per batch; None: every
    chunk alone. workers: chunks that are run side by side on a processor; their number changes no result."""

    tokenizer: Any
    network: Any
    pooling: Literal["mean", "pooler"]
    unit_length: bool
    chunk_tokens: int
    batch_tokens: int | None
    device: torch.device
    workers: int = 1
    mode: Literal["clean", "haim"] = "clean"

    @property
    def width(self) -> int:
        return int(self.network.config.hidden_size)

    def chunks(self, texts: Sequence[str]) -> tuple[list[np.ndarray], np.ndarray]:
        """(token ids of each chunk; the text each belongs to, ascending)."""
        return chunk_texts(self.tokenizer, texts, self.chunk_tokens, self.mode)

    def fingerprint(self, resolved: Resolved) -> dict[str, Any]:
        """Everything but the text that decides a text's vector."""
        import torch

        cuda = self.device.type == "cuda"
        return {
            "recipe": _RECIPE,
            "weights": resolved.sha256,
            "config": hashlib.sha256((resolved.folder / "config.json").read_bytes()).hexdigest(),
            "tokenizer": hashlib.sha256(self.tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
            "settings": [self.mode, self.pooling, self.unit_length, self.chunk_tokens, self.batch_tokens],
            "dtype": str(self.network.dtype),
            "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
            "device": torch.cuda.get_device_name() if cuda else f"cpu {torch.backends.cpu.get_cpu_capability()}",
        }


def load_encoder(resolved: Resolved, params: TextParams, device: torch.device, workers: int = 1) -> TextEncoder:
    """In float32, from local files only; `to_bfloat16` is the next step where that is wanted.

    Raises WeightsError where a layer that is needed has no weights, or no chunk would fit.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    weights = resolved.weights
    haim = params.mode == "haim"
    pooling = params.pooling if params.pooling != "auto" else "pooler" if haim else weights.pooling
    # HAIM's tokenizer writes all in lower case, for want of a file that says otherwise.
    wishes = (params.lowercase, weights.lowercase, True if haim else None)
    lowercase = next((wish for wish in wishes if wish is not None), None)
    spelling = {} if lowercase is None else {"do_lower_case": lowercase}
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(resolved.folder, local_files_only=True, **spelling)
        network, loading = AutoModel.from_pretrained(
            resolved.folder,
            local_files_only=True,
            use_safetensors=resolved.file.suffix == ".safetensors",
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except OSError as error:
        raise WeightsError(
            f"{resolved.folder}: config.json or the tokenizer's files cannot be read. Give a complete folder."
        ) from error
    finally:
        if bars:
            logging.enable_progress_bar()
    missing = [key for key in loading["missing_keys"] if pooling == "pooler" or not key.startswith("pooler.")]
    if missing:
        way_on = "" if haim else ", or set `pooling: mean` if only the pooler is missing"
        raise WeightsError(
            f"{resolved.file}: has no weights for {len(missing)} tensors of the network, as {sorted(missing)[0]}; "
            f"they would be random. Give the right file{way_on}."
        )
    _check_shape(resolved, network, tokenizer)
    if not tokenizer.is_fast or tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
        raise WeightsError(
            f"{resolved.folder}: not a tokenizer of BERT's kind (fast, with [CLS] and [SEP]). Give another model."
        )
    most = network.config.max_position_embeddings - 2
    wanted = params.chunk_tokens or (most if haim else weights.chunk_tokens or most)
    if wanted > most:
        raise WeightsError(
            f"chunk_tokens is {wanted}; '{weights.name}' has positions for {most} besides [CLS] and [SEP]. Set fewer."
        )
    return TextEncoder(
        tokenizer=tokenizer, network=network.to(device).eval(), pooling=pooling,
        unit_length=weights.unit_length and not haim, chunk_tokens=wanted, device=device, workers=workers,
        batch_tokens=params.batch_tokens or (65_536 if device.type == "cuda" else None), mode=params.mode,
    )  # fmt: skip


def _check_shape(resolved: Resolved, network: Any, tokenizer: Any) -> None:
    """Raises WeightsError where another model lies under a name whose shape is known."""
    known = resolved.weights.shape
    if known is None:
        return
    found = (network.config.hidden_size, network.config.num_hidden_layers, network.config.vocab_size)
    if found != known or tokenizer.vocab_size != known[2]:
        told, wanted = (
            f"hidden size {size}, {layers} layers and {words:,} words" for size, layers, words in (found, known)
        )
        raise WeightsError(
            f"{resolved.folder}: a network of {told}, with a tokenizer of {tokenizer.vocab_size:,} words; "
            f"'{resolved.weights.name}' has {wanted}. Give its own files, or set `weights` to the folder's path, so "
            "that the card does not name another model."
        )


def to_bfloat16(encoder: TextEncoder, texts: Sequence[str]) -> dict[str, float | int]:
    """Make the network bfloat16 if that is near enough to float32 on some chunks of these texts; what was found.

    Raises WeightsError where the cosine of a chunk's two vectors lies below LEAST_COSINE.
    """
    import torch

    chunks, _ = encoder.chunks(texts)
    chunks = chunks[:: max(1, len(chunks) // _CHUNKS_TO_JUDGE)][:_CHUNKS_TO_JUDGE]
    exact = embed_chunks(encoder, chunks).astype(np.float64)
    encoder.network.to(torch.bfloat16)
    rough = embed_chunks(encoder, chunks).astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(rough, axis=1)
    smallest = float(np.min(np.sum(exact * rough, axis=1) / np.where(lengths > 0, lengths, 1.0), initial=1.0))
    # Written so that NaN, which a network that cannot bear bfloat16 may give, is refused too.
    if not smallest >= LEAST_COSINE:
        raise WeightsError(
            f"dtype bfloat16: on {len(chunks)} chunks of these notes the smallest cosine to float32 is {smallest:.6f}, "
            f"below {LEAST_COSINE}. These weights lose too much in it: set `dtype: float32`."
        )
    return {"chunks measured": len(chunks), "smallest cosine to float32": round(smallest, 6)}


def embed_chunks(
    encoder: TextEncoder, chunks: list[np.ndarray], step: Callable[[int], None] = lambda done: None
) -> np.ndarray:
    """float32 (C, D). step(done): after each batch, how many chunks are done."""
    values = np.empty((len(chunks), encoder.width), dtype=np.float32)
    done = 0
    for places, vectors in _alone(encoder, chunks) if encoder.batch_tokens is None else _together(encoder, chunks):
        values[places] = vectors
        done += len(places)
        step(done)
    return values


def _alone(encoder: TextEncoder, chunks: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each chunk by itself, longest first, so that the workers end together."""
    import torch

    special = encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id

    def run(place: int) -> tuple[np.ndarray, np.ndarray]:
        # The mode belongs to a thread, so each sets it anew.
        with torch.inference_mode():
            ids = torch.from_numpy(np.concatenate([special[:1], chunks[place], special[1:]]).astype(np.int64))[None]
            return np.asarray([place]), _pooled(encoder, ids.to(encoder.device), None)

    order = np.argsort([-len(chunk) for chunk in chunks], kind="stable").tolist()
    if encoder.workers == 1:
        yield from map(run, order)
        return
    with ThreadPoolExecutor(encoder.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(run, order)


def _together(encoder: TextEncoder, chunks: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of like length share a batch, so that little is padding."""
    import torch

    tokenizer = encoder.tokenizer
    for places in _batches([len(chunk) + 2 for chunk in chunks], encoder.batch_tokens or 1):
        longest = max(len(chunks[place]) for place in places) + 2
        ids_BL = np.full((len(places), longest), tokenizer.pad_token_id or 0, dtype=np.int64)
        mask_BL = np.zeros((len(places), longest), dtype=np.int64)
        for row, place in enumerate(places):
            length = len(chunks[place]) + 2
            ids_BL[row, :length] = [tokenizer.cls_token_id, *chunks[place], tokenizer.sep_token_id]
            mask_BL[row, :length] = 1
        ids, mask = torch.from_numpy(ids_BL).to(encoder.device), torch.from_numpy(mask_BL).to(encoder.device)
        yield places, _pooled(encoder, ids, mask)


def _pooled(encoder: TextEncoder, ids_BL: torch.Tensor, mask_BL: torch.Tensor | None) -> np.ndarray:
    """float32 (B, D). mask: None where nothing is padding."""
    import torch

    output = encoder.network(input_ids=ids_BL, attention_mask=mask_BL)
    if encoder.pooling == "pooler":
        vector = output.pooler_output.float()
    elif mask_BL is None:
        vector = output.last_hidden_state.float().mean(dim=1)
    else:
        hidden_BLD = output.last_hidden_state.float() * mask_BL[..., None]
        vector = hidden_BLD.sum(dim=1) / mask_BL.sum(dim=1, keepdim=True)
    if encoder.unit_length:
        vector = torch.nn.functional.normalize(vector, dim=1)
    return vector.cpu().numpy()


def _batches(lengths: list[int], budget: int) -> Iterator[np.ndarray]:
    """Shortest first; a batch's padded size stays within the budget, or it is a single chunk."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or lengths[order[stop]] * (stop + 1 - start) > budget:
            yield order[start:stop]
            start = stop
