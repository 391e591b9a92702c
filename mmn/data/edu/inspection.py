"""What is under a raw folder, from names and headers alone."""

from __future__ import annotations

from pathlib import Path

from mmn.data.dataset import Inspection
from mmn.data.edu.layout import find_courses, find_roots, what_is_missing
from mmn.data.errors import MmnError
from mmn.data.manifest import TRUTH_FILE


def inspect(raw: Path) -> Inspection:
    generated = (raw / TRUTH_FILE).exists()
    try:
        courses = find_courses(raw)
    except MmnError as error:
        return Inspection(version="unknown", found={}, skipped={}, problem=str(error), generated=generated)
    if not courses:
        tables = {"tables": f"in {', '.join(str(root) for root in find_roots(raw))}"} if find_roots(raw) else {}
        problem = f"{raw}: {what_is_missing(raw)}"
        return Inspection(version="unknown", found=tables, skipped={}, problem=problem, generated=generated)
    found = {}
    for name, course in courses.items():
        sizes = {table: path.stat().st_size / 1e6 for table, path in course.files.items()}
        found[f"course {name}"] = ", ".join(f"{table} {size:.1f} MB" for table, size in sizes.items())
    if len(courses) > 1:
        found["choose one"] = f"set edu.cohort.course in params.yaml to one of {', '.join(courses)}"
    return Inspection(
        version=f"Coursera-style logs: {', '.join(courses)}", found=found, skipped={}, generated=generated
    )
