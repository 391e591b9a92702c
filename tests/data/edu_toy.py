"""A course of three weeks and one student's clicks in it, small enough to work every feature out by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.edu.performance import Checks, WeeklyPerformance, weekly_performance
from mmn.data.embeddings import Embeddings, check_embeddings
from mmn.data.evidence import CLICK_FACTS, CLICK_STREAMS, CLICK_TYPES, ClickBlock, ClickEvidence
from mmn.featurizers.featurizer import Featurized
from mmn.featurizers.weekly_clicks import WEEKLY_CLICKS, WeeklyClicksParams

MONDAY = pd.Timestamp("2013-02-18")
# Weeks 0, 1, 2. Week 0: videos A (600 s) and B (300 s), problems P (10 points) and Q (4); week 1: video C (1200 s),
# problem R (5 points); week 2: video D (400 s), no problem. A, B, P, Q are dated to the Sunday of week 0, 00:00.
SCHEDULE = pd.DataFrame(
    [
        ("A", "video", 0, "2013-02-24", 600.0, None),
        ("B", "video", 0, "2013-02-24", 300.0, None),
        ("C", "video", 1, "2013-03-03", 1200.0, None),
        ("D", "video", 2, "2013-03-10", 400.0, None),
        ("P", "problem", 0, "2013-02-24", None, 10.0),
        ("Q", "problem", 0, "2013-02-24", None, 4.0),
        ("R", "problem", 1, "2013-03-03", None, 5.0),
    ],
    columns=["content", "stream", "week", "date", "duration", "grade_max"],
).assign(date=lambda frame: pd.to_datetime(frame["date"]), duration=lambda frame: frame["duration"].astype(float))


def click(item, time, event, content, **facts):
    time = pd.Timestamp(f"2013-{time}")
    stream = event.split(".")[0].lower()
    return {"item": item, "week": (time - MONDAY).days // 7, "time": time, "stream": stream, "event_type": event,
            "content": content, **facts}  # fmt: skip


@dataclass(frozen=True)
class Toy:
    """Clicks by student name; they become evidence when the cohort is known."""

    events: pd.DataFrame
    schedule: pd.DataFrame
    num_weeks: int

    def evidence(self, items) -> ClickEvidence:
        events = self.events[self.events["item"].isin(items)]
        contents = {
            pair: row for row, pair in enumerate(zip(self.schedule["stream"], self.schedule["content"], strict=True))
        }
        pairs = zip(events["stream"], events["content"], strict=True)
        block = ClickBlock(
            item=pd.Index(items).get_indexer(events["item"]),
            week=events["week"].to_numpy(),
            time=events["time"].to_numpy().astype("datetime64[us]").astype("int64") / 1e6,
            stream=np.array([CLICK_STREAMS.index(name) for name in events["stream"]], dtype="int64"),
            event=np.array([CLICK_TYPES.index("Forum" if n.startswith("Forum") else n) for n in events["event_type"]],
                           dtype="int64"),
            content=np.array([contents.setdefault(pair, len(contents)) if pair[1] else -1 for pair in pairs],
                             dtype="int64"),
            facts={name: events[name].to_numpy(dtype="float64") for name in CLICK_FACTS},
        )  # fmt: skip
        return ClickEvidence(blocks=lambda: iter([block]), schedule=self.schedule, num_weeks=self.num_weeks)


def evidence_of(clicks, schedule=SCHEDULE, num_weeks=3) -> Toy:
    columns = ["item", "week", "time", "stream", "event_type", "content", *CLICK_FACTS]
    events = pd.DataFrame(clicks).reindex(columns=columns)
    events = events.astype({**dict.fromkeys(CLICK_FACTS, "float64"), "week": "int64"})
    return Toy(events.sort_values(["item", "time"], kind="stable", ignore_index=True), schedule, num_weeks)


def cohort_of(*items, num_weeks=3) -> Cohort:
    frame = pd.DataFrame({"item": items, "subject": items, "prediction_time": pd.NaT})
    return Cohort(items=frame, targets={}, folds=pd.DataFrame(), num_steps=num_weeks)


def featurize(evidence, cohort, modality, **params) -> Featurized:
    if isinstance(evidence, Toy):
        evidence = evidence.evidence(list(cohort.items["item"]))
    made = WEEKLY_CLICKS.run(evidence, cohort, modality, WeeklyClicksParams(**params), lambda done, total: None)
    check_embeddings(made.embeddings, cohort.items["item"].to_numpy(), modality)
    return made


def run(evidence, cohort, modality, **params) -> Embeddings:
    return featurize(evidence, cohort, modality, **params).embeddings


def performance_of(toy, *items) -> WeeklyPerformance:
    evidence = toy.evidence(list(items))
    checks = Checks.of_block(next(iter(evidence.blocks())))
    return weekly_performance(checks, evidence.schedule, len(items), evidence.num_weeks)


def cell(embeddings, item=0, week=0) -> dict[str, float]:
    return dict(zip(embeddings.names, embeddings.values[0, item, week].tolist(), strict=True))


VIDEO_CLICKS = [
    click("ann", "02-18 10:00:00", "Video.Load", "A", current_time=0),
    click("ann", "02-18 10:00:10", "Video.Play", "A", current_time=0),
    click("ann", "02-18 10:01:10", "Video.SpeedChange", "A", current_time=60, old_speed=1, new_speed=1.5),
    click("ann", "02-18 10:02:10", "Video.Pause", "A", current_time=150),
    click("ann", "02-18 10:02:40", "Video.Play", "A", current_time=150),
    click("ann", "02-18 10:03:40", "Video.Seek", "A", current_time=240, old_time=240, new_time=200),
    click("ann", "02-18 10:04:00", "Video.Seek", "A", current_time=220, old_time=220, new_time=300),
    click("ann", "02-18 10:05:00", "Video.Stop", "A", current_time=390),
    click("ann", "02-18 10:06:00", "Video.Load", "B", current_time=0),
    click("ann", "02-18 12:00:00", "Video.Load", "C", current_time=0),
    click("ann", "02-23 09:00:00", "Video.Load", "A", current_time=0),
    click("ann", "02-23 09:01:00", "Video.Play", "A", current_time=0),
    click("ann", "02-23 09:03:00", "Video.Pause", "A", current_time=120),
    # Week 1: nothing. Week 2: one click that does not tell its position.
    click("ann", "03-04 08:00:00", "Video.Load", "D"),
]
PROBLEM_CLICKS = [
    click("ann", "02-18 11:00:00", "Problem.Check", "P", grade=4, submission_number=1),
    click("ann", "02-18 11:10:00", "Problem.Check", "P", grade=8, submission_number=2),
    click("ann", "02-18 11:30:00", "Problem.Check", "P", grade=10, submission_number=3),
    click("ann", "02-18 11:35:00", "Problem.Check", "Q", grade=4, submission_number=1),
    click("ann", "02-18 11:40:00", "Problem.Check", "R", grade=1, submission_number=1),
]
FORUM_CLICKS = [click("ann", "02-20 20:00:00", "Forum.Thread.View", None)]
TOY = evidence_of(VIDEO_CLICKS + PROBLEM_CLICKS + FORUM_CLICKS)
