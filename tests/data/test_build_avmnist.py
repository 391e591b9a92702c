"""AV-MNIST from MNIST's and FSDD's files: right digits together, no recording on two sides, and bad files refused."""

import gzip

import numpy as np
import pytest

from mmn.data.errors import CohortError, ContractError, ParamsError, RawFileError
from mmn.data.files import read_json
from mmn.data.multibench.avmnist import AVMNIST
from mmn.data.multibench.build_avmnist import build_avmnist, main, spectrogram
from mmn.data.multibench.mnist_files import RATE, read_mnist, read_recording, write_idx, write_recording
from mmn.data.multibench.params import MultiBenchParams


def tone(digit: int, number: int, seconds: float = 0.3) -> np.ndarray:
    """A digit has its pitch; a recording its loudness."""
    time = np.arange(int(RATE * seconds)) / RATE
    return (0.2 + 0.05 * number) * np.sin(2 * np.pi * (300 + 300 * digit) * time)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Tiny files in the published formats: 240 and 40 pictures, two speakers, recordings 0 to 11."""
    folder, rng = tmp_path_factory.mktemp("raw"), np.random.default_rng(0)
    (folder / "mnist").mkdir()
    (folder / "fsdd" / "recordings").mkdir(parents=True)
    shapes = rng.integers(0, 200, (10, 28, 28))
    for side, num in (("train", 240), ("t10k", 40)):
        labels = np.arange(num) % 10
        pictures = shapes[labels] + rng.integers(0, 55, (num, 28, 28))
        write_idx(folder / "mnist" / f"{side}-images-idx3-ubyte", pictures)
        write_idx(folder / "mnist" / f"{side}-labels-idx1-ubyte", labels)
    for digit in range(10):
        for speaker in ("anna", "bert"):
            for number in range(12):
                path = folder / "fsdd" / "recordings" / f"{digit}_{speaker}_{number}.wav"
                write_recording(path, tone(digit, number))
    return folder


@pytest.fixture(scope="module")
def built(raw):
    build_avmnist(raw / "mnist", raw / "fsdd", raw / "out")
    return raw / "out"


def test_the_reader_takes_what_was_built_and_every_sound_is_of_its_pictures_digit(built):
    assert AVMNIST.inspect(built).problem is None and "FSDD" in AVMNIST.inspect(built).version
    cohort = AVMNIST.build_cohort(built, MultiBenchParams())
    assert cohort.folds["split"].value_counts().to_dict() == {"train": 220, "validation": 20, "test": 40}
    assert "No recording is on two sides" in cohort.notes[0]
    audio = AVMNIST.read_evidence(built, "audio", cohort, MultiBenchParams()).values.reshape(-1, 112, 112)
    # Frequencies are spaced by 8000 / 222 Hz; the loudest one is the digit's.
    loudest = audio.max(axis=2).argmax(axis=1) * RATE / 222
    np.testing.assert_allclose(loudest, 300 + 300 * cohort.targets["digit"], atol=RATE / 222)


def test_no_recording_is_on_two_sides(raw, tmp_path):
    """The loudness that tells the recordings apart is lost in decibels of the loudest: so they get a length instead."""
    for path in (raw / "fsdd" / "recordings").iterdir():
        digit, _, number = path.stem.split("_")
        (tmp_path / "fsdd").mkdir(exist_ok=True)
        write_recording(tmp_path / "fsdd" / path.name, tone(int(digit), 5, 0.1 + 0.05 * int(number)))
    build_avmnist(raw / "mnist", tmp_path / "fsdd", tmp_path / "out")
    audio = np.concatenate([np.load(tmp_path / f"out/audio/{side}_data.npy") for side in ("train", "test")])
    seconds = (audio.max(axis=1) > 60).sum(axis=1) * (1 - 222 / RATE) / 111
    number = np.round((seconds - 0.1 - 222 / RATE / 2) / 0.05)
    assert number[:220].min() >= 9.5 and set(number[240:]) <= set(range(-1, 6)), "training from 10 on, test to 4"
    assert number[220:240].min() >= 4 and number[220:240].max() <= 10


def test_pictures_keep_a_quarter_of_the_training_variance_or_all_of_it(raw, built, tmp_path):
    told = read_json(built / "BUILT.json")
    pictures, labels = read_mnist(raw / "mnist", "train")
    flat = pictures.reshape(240, -1).astype(float)
    written = np.load(built / "image/train_data.npy").astype(float)
    share = written.var(axis=0).sum() / flat.var(axis=0).sum()
    assert 0.25 <= share < 0.4 and 1 <= told["components"] < 10
    np.testing.assert_allclose(written.mean(axis=0), flat.mean(axis=0), atol=1.0)
    build_avmnist(raw / "mnist", raw / "fsdd", tmp_path / "whole", energy=1.0)
    np.testing.assert_array_equal(np.load(tmp_path / "whole/image/train_data.npy"), flat)
    np.testing.assert_array_equal(np.load(tmp_path / "whole/train_labels.npy"), labels)


def test_the_same_seed_gives_the_same_bytes_and_another_other_sounds(raw, built, tmp_path):
    for name, seed in (("same", 0), ("other", 1)):
        build_avmnist(raw / "mnist", raw / "fsdd", tmp_path / name, seed=seed)
    for path in built.rglob("*.*"):
        assert (tmp_path / "same" / path.relative_to(built)).read_bytes() == path.read_bytes()
    first, other = (np.load(folder / "audio/train_data.npy") for folder in (built, tmp_path / "other"))
    assert first.shape == other.shape
    assert read_json(tmp_path / "other/BUILT.json")["seed"] == 1


def test_a_spectrogram_is_centred_cut_to_a_second_and_free_of_loudness():
    assert spectrogram(tone(3, 0)).shape == (112, 112)
    np.testing.assert_allclose(spectrogram(tone(3, 0)), spectrogram(2 * tone(3, 0)), atol=1)
    heard = spectrogram(tone(3, 5)).max(axis=0) > 60
    assert abs(np.flatnonzero(heard).mean() - 55.5) < 1
    assert (spectrogram(tone(3, 5, seconds=3.0)).max(axis=0) > 60).all()
    assert (spectrogram(np.zeros(100)) == spectrogram(np.zeros(100))[0, 0]).all(), (
        "silence is even, and no number is lost"
    )


def test_the_command_says_what_is_wrong_without_a_traceback_and_ends_with_2(raw, tmp_path, monkeypatch, capsys):
    given = ["--mnist", str(tmp_path), "--fsdd", str(raw / "fsdd"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["build_avmnist", *given])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 2 and not said.out
    assert said.err.startswith(f"{tmp_path}: train-images-idx3-ubyte is missing") and said.err.count("\n") == 1
    monkeypatch.setattr("mmn.data.multibench.build_avmnist.build_avmnist", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main()


def test_files_that_are_not_as_published_are_refused_with_their_place(raw, tmp_path):
    with pytest.raises(ParamsError, match="there already"):
        build_avmnist(raw / "mnist", raw / "fsdd", raw / "mnist")
    with pytest.raises(RawFileError, match="train-images-idx3-ubyte is missing"):
        read_mnist(tmp_path, "train")
    with pytest.raises(RawFileError, match=r"no recording such as 7_jackson_32\.wav"):
        build_avmnist(raw / "mnist", tmp_path, tmp_path / "out")
    packed = tmp_path / "packed"
    packed.mkdir()
    for path in (raw / "mnist").iterdir():
        (packed / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_mnist(packed, "train")[0], read_mnist(raw / "mnist", "train")[0])
    whole = (packed / "train-images-idx3-ubyte.gz").read_bytes()
    (packed / "train-images-idx3-ubyte.gz").write_bytes(whole[:500])
    with pytest.raises(RawFileError, match="cannot be unpacked"):
        read_mnist(packed, "train")
    (packed / "train-images-idx3-ubyte").write_bytes((raw / "mnist" / "train-images-idx3-ubyte").read_bytes()[:900])
    with pytest.raises(RawFileError, match="cut short"):
        read_mnist(packed, "train")
    write_idx(packed / "train-images-idx3-ubyte", np.zeros((3, 28, 28)))
    with pytest.raises(ContractError, match="240 labels"):
        read_mnist(packed, "train")
    sound = tmp_path / "1_anna_0.wav"
    sound.write_bytes(b"RIFF no")
    with pytest.raises(RawFileError, match="not a whole wav file"):
        read_recording(sound)
    few = tmp_path / "few"
    few.mkdir()
    for digit in range(10):
        write_recording(few / f"{digit}_anna_0.wav", tone(digit, 0))
    with pytest.raises(CohortError, match="no recording of the digit 0 is there for the train pictures"):
        build_avmnist(raw / "mnist", few, tmp_path / "out")
    assert not (tmp_path / "out").exists()
