"""Benchmarks: `python -m benchmarks.<name>` prints a table and writes the same as JSON; `--quick` takes a minute."""
