"""Benchmarks: `python -m benchmarks.exact_pass` (speed beside peers), `python -m benchmarks.memory` (memory of large tables).

They start from the repository's root, print Markdown for the README and, with --json, everything that was measured.
"""
