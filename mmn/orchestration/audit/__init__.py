"""The audit: which data, code and weights a model came from, and whether what is recorded of it is still true.

It reads and writes nothing. What it reads: `dvc.lock` (of the working tree or of a git revision), what each artifact
says of itself, Dagster's events, the journal, and with `verify` every byte. Reading order: `lock`, `git`, `artifact`,
`dagster_events` (the witnesses), `snapshot` (all of them at one revision), `stale`, `check` (they are compared),
`part` (a path inside an artifact), `audit` (the answer), `item`, `diff`, `show`, `export`, `cards`, `cli`.
"""
