"""What is under a raw folder, from names and headers alone."""

from __future__ import annotations

from pathlib import Path

from mmn.data.dataset import Inspection
from mmn.data.edu.layout import find_courses, find_roots, find_sets, what_is_missing
from mmn.data.errors import MmnError
from mmn.data.manifest import TRUTH_FILE


def inspect(raw: Path) -> Inspection:
    generated = (raw / TRUTH_FILE).exists()
    try:
        courses, arrays = find_courses(raw), find_sets(raw)
    except MmnError as error:
        return Inspection(version="unknown", found={}, skipped={}, problem=str(error), generated=generated)
    if not courses and not arrays:
        tables = {"tables": f"in {', '.join(str(root) for root in find_roots(raw))}"} if find_roots(raw) else {}
        problem = f"{raw}: {what_is_missing(raw)}"
        return Inspection(version="unknown", found=tables, skipped={}, problem=problem, generated=generated)
    found = {}
    for name, course in courses.items():
        sizes = {table: path.stat().st_size / 1e6 for table, path in course.files.items()}
        found[f"course {name}"] = ", ".join(f"{table} {size:.1f} MB" for table, size in sizes.items())
    for name, sets in arrays.items():
        used = "" if not courses else " (not read: the log is there; edu.cohort.source: arrays reads them)"
        found[f"feature arrays {name}"] = f"{', '.join(sets)}{used}"
    if not courses:
        found["settings"] = (
            "feature arrays are read as published: edu: {mode: compat, cohort: {filter: none}} unless they were "
            "written after the published filter"
        )
    names = courses or arrays
    if len(names) > 1:
        found["choose one"] = f"set edu.cohort.course in params.yaml to one of {', '.join(names)}"
    form = "Coursera-style logs" if courses else "published weekly features"
    return Inspection(version=f"{form}: {', '.join(names)}", found=found, skipped={}, generated=generated)
