"""All results to one self-contained HTML page, its tables as csv beside it."""

from __future__ import annotations

from mmn.data import DATASETS
from mmn.data.files import write_json
from mmn.orchestration.report.compare import standing
from mmn.orchestration.report.page import build_page
from mmn.orchestration.report.results import read_results
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    names = list(job.step.options["datasets"])
    results = []
    for done, name in enumerate(names):
        job.progress(done, len(names) + 1)
        results.append(read_results(name, job.path, job.steps))
    job.progress(len(names), len(names) + 1)
    page = build_page(
        results,
        job.provenance["inputs"],
        job.path,
        job.steps,
        absent=[name for name in DATASETS if name not in names],
        unmeasured={
            name: _why_unmeasured(job, name) for name in names if f"results/{name}/missingness" not in job.steps
        },
    )
    (job.out / "csv").mkdir(parents=True)
    (job.out / "index.html").write_text(page.html, encoding="utf-8")
    for name, data in page.tables.items():
        (job.out / "csv" / f"{name}.csv").write_bytes(data)
    write_json(job.out / "card.json", {"provenance": job.provenance})
    standings = [standing(row) for result in results for row in result.models().itertuples()]
    summary = {
        "page": f"{job.step.out}/index.html",
        "data sets": ", ".join(f"{r.name} ({'generated' if r.generated else 'real'})" for r in results),
        "scores": len(standings),
        "clear of their floor": standings.count("beats"),
        "losing to a floor": standings.count("loses"),
        "answers": [f"{sentence.lead} {sentence.text}".strip() for sentence in page.answers],
        "kilobytes": round(len(page.html) / 1024),
    }
    return Work(summary=summary, pictures={"scores beside floors": page.picture} if page.picture else {})


def _why_unmeasured(job: Job, name: str) -> str:
    entry = job.active.get(name)
    if entry is None or entry.dataset.missingness is None:
        return "The experiment is not defined here: it needs a binary task and a modality to take away."
    modality, task = entry.dataset.missingness
    for needed in (modality, task):
        if (why := entry.inspection.skipped.get(needed)) is not None:
            return f"It needs {needed.replace('_', ' ')}, which is not there: {why}"
    return f"It was not part of this run; `mmn run results/{name}/missingness` makes it."
