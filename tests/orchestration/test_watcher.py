"""What whoever waits for `mmn run` sees of a running step."""

import io
import time
from types import SimpleNamespace

from rich.console import Console

from mmn.orchestration.run import Watcher
from mmn.orchestration.walk import ProgressFile
from mmn.orchestration.workspace import Workspace


def test_a_running_training_shows_its_members_its_epochs_and_the_time_left(tmp_path):
    step = SimpleNamespace(key="models/edu/pass_course/multimodn", stage="models-edu")
    shown = io.StringIO()
    workspace, console = Workspace(tmp_path), Console(file=shown, force_terminal=True, width=160)
    with Watcher(workspace, [step], console), ProgressFile(workspace, step) as report:
        report.tell("epochs of 5 members")
        report.progress(3, 60)
        time.sleep(1.0)
    told = shown.getvalue()
    assert "models/edu/pass_course/multimodn (epochs of 5 members)" in told and "3/60" in told and "left" in told
    assert "1/1" in told and "done" in told
