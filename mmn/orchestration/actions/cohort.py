"""Build, check and write a cohort."""

from __future__ import annotations

from mmn.data.cohort import check_cohort, write_cohort
from mmn.orchestration.settings import cohort_settings
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    dataset = job.active[job.step.dataset].dataset
    prepared = {name: job.path(f"prepared/{dataset.raw}/{name}") for name in dataset.cohort_prepared}
    more = (prepared,) if prepared else ()
    cohort = dataset.build_cohort(job.raw, cohort_settings(job.workspace.params, dataset), *more)
    check_cohort(cohort, job.step.key)
    write_cohort(job.out, cohort, job.provenance)
    summary = {
        "items": len(cohort),
        "subjects": int(cohort.items["subject"].nunique()),
        "steps": cohort.num_steps,
        "folds": cohort.num_folds,
    }
    summary |= {f"left out: {reason}": count for reason, count in sorted(cohort.excluded.items())}
    return Work(summary=summary)
