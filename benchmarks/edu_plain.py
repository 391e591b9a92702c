"""The 45 weekly features one student and one week at a time, with pandas: the way the published library goes.

Written from the definitions alone and sharing no code with `mmn.featurizers.weekly_clicks`, so that it is both the
baseline of a benchmark and a second opinion on the numbers (compat mode, all clicks).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from mmn.data.evidence import CLICK_STREAMS, CLICK_TYPES, ClickEvidence

NAN = math.nan
Features = dict[str, float]


def frame_of(evidence: ClickEvidence) -> pd.DataFrame:
    """The whole log as one frame, with names for codes."""
    frames = []
    for block in evidence.blocks():
        columns = {name: getattr(block, name) for name in ("item", "week", "time", "content")}
        frame = pd.DataFrame({**columns, **block.facts})
        frame["stream"], frame["event"] = np.array(CLICK_STREAMS)[block.stream], np.array(CLICK_TYPES)[block.event]
        frames.append(frame)
    log = pd.concat(frames, ignore_index=True)
    return log.assign(date=pd.to_datetime(log["time"], unit="s"))


def plain_features(log: pd.DataFrame, schedule: pd.DataFrame, num_weeks: int) -> Iterator[tuple[int, int, Features]]:
    """(student, week, features) for every student of the log and every week."""
    for item, student in log.groupby("item"):
        for week in range(num_weeks):
            mine = student[student["week"] == week]
            planned = schedule[schedule["week"] == week]
            later = schedule[schedule["week"] > week]
            yield int(str(item)), week, one_week(mine, planned, later)


def one_week(clicks: pd.DataFrame, planned: pd.DataFrame, later: pd.DataFrame) -> Features:
    clicks = clicks.sort_values("time", kind="stable")
    clicks = clicks.assign(gap=clicks["time"].shift(-1) - clicks["time"])
    videos, problems = clicks[clicks["stream"] == "video"], clicks[clicks["stream"] == "problem"]
    video_plan, problem_plan = planned[planned["stream"] == "video"], planned[planned["stream"] == "problem"]
    return {
        **regularity(clicks),
        **sessions(clicks, video_plan),
        "TotalTimeVideo": valid(videos["gap"]).sum(),
        "TotalTimeProblem": valid(problems["gap"]).sum(),
        **watching(clicks, videos, video_plan, later[later["stream"] == "video"]),
        **playing(clicks, videos),
        **solving(problems, problem_plan, later[later["stream"] == "problem"]),
    }


def valid(gap: pd.Series) -> pd.Series:
    return gap[(gap >= 1) & (gap <= 3600)]


def regularity(clicks: pd.DataFrame) -> Features:
    if clicks.empty:
        return {"RegPeakTimeDayHour": NAN, "RegPeriodicityM1": NAN}
    counts = np.bincount(clicks["date"].dt.hour, minlength=24)
    share = counts[counts > 0] / counts.sum()
    entropy = -(share * np.log(share)).sum()
    hours = ((clicks["time"] - clicks["time"].iloc[0]) // 3600).unique()
    wave = sum(np.exp(-2j * np.pi * hour / 24) for hour in hours)
    return {"RegPeakTimeDayHour": (math.log(24) - entropy) * counts.max(), "RegPeriodicityM1": abs(wave)}


def sessions(clicks: pd.DataFrame, video_plan: pd.DataFrame) -> Features:
    found: list[tuple[float, float]] = []
    begin: list[float] = []
    longest = video_plan["duration"].max() if len(video_plan) else NAN
    for time, gap in zip(clicks["time"], clicks["gap"], strict=True):
        begin.append(time)
        if math.isnan(gap) or gap > longest:
            if len(begin) >= 3:
                found.append((begin[0], begin[-1]))
            begin = []
    lengths = [end - start for start, end in found]
    between = [found[place + 1][0] - found[place][1] for place in range(len(found) - 1)]
    weekend = int((clicks["date"].dt.weekday >= 5).sum())
    return {
        "TotalClicks": len(clicks),
        "NumberOfSessions": len(found),
        "TotalTimeSessions": sum(lengths),
        "AvgTimeSessions": float(np.mean(lengths)) if lengths else 0,
        "StdTimeBetweenSessions": float(np.std(between)) if between else NAN,
        "StdTimeSessions": float(np.std(lengths)) if lengths else 0,
        "TotalClicksWeekday": len(clicks) - weekend,
        "TotalClicksWeekend": weekend,
        "RatioClicksWeekendDay": (len(clicks) - weekend) / weekend if weekend else NAN,
    }


def watching(clicks: pd.DataFrame, videos: pd.DataFrame, plan: pd.DataFrame, later: pd.DataFrame) -> Features:
    mine = videos[videos["content"].isin(plan.index)]
    first = mine.groupby("content")["time"].first()
    dates = plan["date"].astype("datetime64[us]").astype("int64") / 1e6
    days = mine.assign(day=mine["date"].dt.floor("D")).groupby("content")["day"].nunique()
    size = len(plan) or NAN
    watched = min(len(first) / size, 1.0)
    replayed = int((days >= 2).sum()) / size
    stopped = NAN
    if videos["current_time"].notna().any():
        stopped = min(interruptions(videos, plan) / size, 1.0)
    ahead = videos[videos["content"].isin(later.index)]["content"].nunique()
    return {
        "DelayLecture": (first - dates.loc[first.index]).mean() if len(first) else NAN,
        "AvgWatchedWeeklyProp": watched,
        "StdWatchedWeeklyProp": 0 * watched,
        "AvgReplayedWeeklyProp": replayed,
        "StdReplayedWeeklyProp": 0 * replayed,
        "AvgInterruptedWeeklyProp": stopped,
        "StdInterruptedWeeklyProp": 0 * stopped,
        "ContentAlignment": watched,
        "ContentAnticipation": ahead / len(later) if len(later) else NAN,
    }


def interruptions(videos: pd.DataFrame, plan: pd.DataFrame) -> int:
    rows = videos[["time", "content", "event", "current_time"]].to_numpy(dtype=object)
    seen: set[int] = set()
    num = 0
    for place, (time, content, event, position) in enumerate(rows):
        first = content not in seen
        seen.add(content)
        if first or content not in plan.index or place + 1 == len(rows):
            continue
        left = plan.loc[content, "duration"] - position
        gap, other = rows[place + 1][0] - time, rows[place + 1][1] != content
        halt = event in ("Video.Pause", "Video.Stop", "Video.Load")
        if left > 60 and ((halt and (gap > 3600 or other)) or (other and gap < left)):
            num += 1
    return num


def playing(clicks: pd.DataFrame, videos: pd.DataFrame) -> Features:
    found: Features = {
        "TotalClicksVideo": len(videos), "TotalClicksVideoConati": len(videos),
        "TotalClicksVideoLoad": int((videos["event"] == "Video.Load").sum()), "FrequencyEventSpeedChange": 0,
    }  # fmt: skip
    total = len(clicks) or NAN
    for name in ("Load", "Play", "Pause", "Stop"):
        found[f"FrequencyEvent{name}"] = np.nan_to_num((videos["event"] == f"Video.{name}").sum() / total)
    seeks = videos[videos["event"] == "Video.Seek"]
    jump = seeks["new_time"] - seeks["old_time"]
    found["FrequencyEventSeekBackward"] = np.nan_to_num((jump < 0).sum() / total)
    found["FrequencyEventSeekForward"] = np.nan_to_num((jump > 0).sum() / total)
    found["AvgSeekLength"], found["StdSeekLength"] = jump.abs().mean(), jump.abs().std(ddof=0)

    same = videos.assign(rest=videos.groupby("content")["time"].shift(-1) - videos["time"])
    played = valid(same.loc[same["event"] == "Video.Play", "rest"]).sum()
    found["FrequencyEventVideo"] = len(videos) / played if played else NAN
    paused = valid(same.loc[same["event"] == "Video.Pause", "rest"])
    found["AvgPauseDuration"] = paused.mean() if len(paused) else 0
    found["StdPauseDuration"] = paused.std(ddof=0) if len(paused) else 0

    speed = videos["new_speed"].where(videos["event"] == "Video.SpeedChange").ffill().fillna(1.0)
    fast = (videos["time"].shift(-1) - videos["time"])[speed > 1]
    fast = fast[fast <= 3600]
    found["AvgTimeSpeedingUp"] = fast.mean() if len(fast) else 0
    found["StdTimeSpeedingUp"] = fast.std(ddof=0) if len(fast) else 0
    return found


def solving(problems: pd.DataFrame, plan: pd.DataFrame, later: pd.DataFrame) -> Features:
    mine = problems[problems["content"].isin(plan.index) & problems["grade"].notna()]
    share = (mine["grade"] / plan["grade_max"].reindex(mine["content"]).to_numpy()).clip(upper=1)
    by = mine.assign(share=share).groupby("content")
    best = by["share"].max()
    ahead = problems[problems["content"].isin(later.index)]["content"].nunique()
    speeds = []
    for _, checks in problems.groupby("content"):
        gaps = valid(checks["time"].diff())
        if len(gaps):
            speeds.append(gaps.sum())
    return {
        "TotalClicksProblem": len(problems),
        "CompetencyStrength": (best / by["submission_number"].max()).mean() if len(best) else NAN,
        "CompetencyAlignment": (best >= 1 - 1e-9).sum() / len(plan) if len(plan) else NAN,
        "CompetencyAnticipation": ahead / len(later) if len(later) else NAN,
        "StudentSpeed": np.mean(speeds) if speeds else NAN,
        "StudentShape": (by["share"].first() >= 1 - 1e-9).mean() if len(best) else NAN,
    }
