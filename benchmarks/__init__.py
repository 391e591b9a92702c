"""Benchmarks: each is run as `python -m benchmarks.<name>` and prints ratios measured side by side in one run."""
