"""Trial sets of the promises: each module has trials(n, seed) for the tests (few) and for the measured report (many)."""
