"""The report: results in, one self-contained HTML page out. It computes no model output; it reads, compares and says.

Reading order: `results` (what is read), `compare` (better, worse, or not to be told apart), `numbers` (how a number is
printed and a small count hidden), `sentences` (the answer first), `tables`, `figures` and `panels`, `lineage` (where
each number comes from), `page` (all of it on one page). The template is Python, so that a change of a word in it makes
the report stale like any other change of code.
"""
