"""What is kept in the repository: no secret, no address of a package index, no file that belongs to somebody else."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What keys and tokens look like; a word such as "password" alone is none.
SECRETS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "an access key of Amazon": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a token of GitHub": r"\bgh[pousr]_[A-Za-z0-9]{36}\b|\bgithub_pat_[A-Za-z0-9_]{60,}",
    "a token of Hugging Face": r"\bhf_[A-Za-z0-9]{30,}\b",
    "a token of a chat": r"\bxox[abpors]-[A-Za-z0-9-]{10,}",
    "a key of a model's service": r"\bsk-[A-Za-z0-9_-]{20,}",
    "a web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.",
    "a password in an address": r"://[^\s/:@{}$<>\"']+:(?!secret@|wrong@|PASSWORD@|\.\.\.@)[^\s/:@{}$<>\"']+@",
}
INDEX = re.compile(r"(?:--(?:extra-)?index-url|--find-links|-f)\s+\S+://")


def tracked() -> list[Path]:
    told = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if told.returncode:
        pytest.skip("not a git checkout, so what is kept in it cannot be asked")
    return [ROOT / name for name in told.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8", errors="ignore")
        for path in tracked()
        if path.suffix not in {".png", ".npz"} and path != Path(__file__)
    }


@pytest.mark.parametrize("what", sorted(SECRETS))
def test_no_secret_is_kept(texts: dict[str, str], what: str):
    assert [name for name, text in texts.items() if re.search(SECRETS[what], text)] == []


def test_a_secret_would_be_seen():
    planted = {
        "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
        "an access key of Amazon": "AKIA" + "A1" * 8,
        "a token of GitHub": "ghp_" + "a1" * 18,
        "a token of Hugging Face": "hf_" + "aB" * 17,
        "a token of a chat": "xoxb-" + "1234567890",
        "a key of a model's service": "sk-" + "a1" * 12,
        "a web token": ".".join(["eyJ" + "a" * 12] * 2) + ".",
        "a password in an address": "postgresql://user:" + "hunter2@db/mmn",
    }
    assert set(planted) == set(SECRETS)
    assert all(re.search(SECRETS[what], text) for what, text in planted.items())


def test_requirements_name_no_index(texts: dict[str, str]):
    assert [name for name, text in texts.items() if INDEX.search(text)] == []
    lines = [line for line in texts["constraints.txt"].splitlines() if line.strip() and not line.startswith("#")]
    assert lines and all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)


def test_files_that_a_run_makes_are_not_kept():
    names = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert not names & {"artifacts", "raw", ".mmn", ".dagster", ".venv"}
