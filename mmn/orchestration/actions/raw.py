"""Pin a raw source: write its manifest. Reads every byte that changed since the last time, once."""

from __future__ import annotations

from mmn.data.errors import RawFileError
from mmn.data.files import write_json
from mmn.data.manifest import files_of, make_manifest
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    patterns, source = job.step.options["patterns"], job.step.options["source"]
    hashes = job.workspace.hashes
    files = files_of(job.raw, patterns)
    if not files:
        raise RawFileError(
            f"{job.step.raw}: no {source} file ({', '.join(patterns)}) is under the raw folder any more. "
            f"Put it back, or type `mmn run` to go on without it."
        )
    known = {
        path.relative_to(job.raw).as_posix(): entry for path, entry in hashes.known(files).items() if "size" in entry
    }
    version = next(entry.inspection.version for entry in job.active.values() if entry.dataset.raw == job.step.raw)
    manifest = make_manifest(
        job.raw,
        patterns,
        version=version,
        hashes=known,
        progress=job.progress,
        keep=lambda entries: hashes.remember({job.raw / entry["path"]: entry for entry in entries}),
    )
    write_json(job.out, {"provenance": job.provenance, **manifest})
    return Work(
        summary={
            "files": manifest["num_files"],
            "bytes": manifest["num_bytes"],
            "rows": sum(entry.get("rows", 0) for entry in manifest["files"]),
            "compared with the publisher's hashes": manifest["num_checked"],
            "detected version": version,
            "generated": manifest["generated"],
        }
    )
