"""A training that is killed at any step and taken up again ends with the bytes of one that never was."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save

from mmn.modeling.checkpoint import Checkpoint
from mmn.modeling.train import train
from tests.modeling.worlds import LEVEL, SICK, make_world, quick


class Killed(BaseException):
    """As if the process were gone: nothing in between catches it."""


def world():
    return make_world(num_items=90, seed=3)


def settings(**more):
    return quick(epochs=6, batch_size=16, dropout=0.2, shuffle_order=True, **more)


def weights_of(trained) -> bytes:
    return save({name: values.contiguous() for name, values in trained.model.state_dict().items()})


def same_bytes(one, other) -> bool:
    same_tables = one.history.equals(other.history) and one.predictions.equals(other.predictions)
    return weights_of(one) == weights_of(other) and same_tables


def run(checkpoint=None, kill_at=None, architecture="multimodn", **more):
    """kill_at: the optimiser step, over all epochs of this process, after which the process dies."""
    from mmn.modeling.packed import Packed

    cohort, embeddings = world()
    plain, steps = Packed.step, 0

    def step(self, active):
        nonlocal steps
        plain(self, active)
        steps += 1
        if steps == kill_at:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Packed, "step", step)
        trained = train(cohort, embeddings, (SICK, LEVEL), architecture, settings(**more), checkpoint=checkpoint)
    return trained, steps


@pytest.fixture(scope="module")
def uninterrupted():
    return run()


def test_killed_at_twenty_random_steps_it_ends_with_the_same_bytes(uninterrupted, tmp_path):
    whole, num_steps = uninterrupted
    for kill_at in np.random.default_rng(0).choice(np.arange(1, num_steps), size=20, replace=False):
        checkpoint = Checkpoint(tmp_path / f"{kill_at}.safetensors", every_seconds=0)
        with pytest.raises(Killed):
            run(checkpoint, kill_at=int(kill_at))
        resumed, steps = run(checkpoint)
        assert same_bytes(resumed, whole)
        assert steps <= num_steps - kill_at + num_steps // 6, "whole epochs that were done are not repeated"


def test_a_training_that_had_ended_is_not_repeated(uninterrupted, tmp_path):
    whole, _ = uninterrupted
    checkpoint = Checkpoint(tmp_path / "c.safetensors", every_seconds=1e9)
    assert same_bytes(run(checkpoint)[0], whole)
    again, steps = run(checkpoint)
    assert steps == 0 and same_bytes(again, whole)
    checkpoint.remove()
    assert run(checkpoint)[1] > 0


def test_members_that_stopped_early_stay_stopped_after_a_kill(tmp_path):
    whole, num_steps = run(patience=2)
    checkpoint = Checkpoint(tmp_path / "c.safetensors", every_seconds=0)
    with pytest.raises(Killed):
        run(checkpoint, kill_at=num_steps - 1, patience=2)
    assert same_bytes(run(checkpoint, patience=2)[0], whole)


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_not_used(uninterrupted, tmp_path):
    whole, num_steps = uninterrupted
    checkpoint = Checkpoint(tmp_path / "c.safetensors", every_seconds=0)
    with pytest.raises(Killed):
        run(checkpoint, kill_at=num_steps // 2, seed=1)
    assert same_bytes(run(checkpoint)[0], whole)
    checkpoint.path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      half a file")
    resumed, steps = run(checkpoint)
    assert steps == num_steps and same_bytes(resumed, whole)


def test_a_process_that_is_killed_for_real_goes_on_in_another(uninterrupted, tmp_path):
    whole, num_steps = uninterrupted
    path = tmp_path / "c.safetensors"
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from mmn.modeling.checkpoint import Checkpoint\n"
        "from mmn.modeling.train import train\n"
        "from tests.modeling.test_checkpoint import LEVEL, SICK, settings, world\n"
        "die = lambda epoch, epochs: os.kill(os.getpid(), signal.SIGKILL) if epoch == 4 else None\n"
        f"train(*world(), (SICK, LEVEL), 'multimodn', settings(), progress=die,"
        f" checkpoint=Checkpoint(Path({str(path)!r}), 0))\n"
    )
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    died = subprocess.run([sys.executable, "-c", code], cwd=root, env=env, check=False)
    assert died.returncode == -signal.SIGKILL and path.exists()
    resumed, steps = run(Checkpoint(path, 0))
    assert steps == num_steps // 2, "three of six epochs were kept"
    assert same_bytes(resumed, whole)
