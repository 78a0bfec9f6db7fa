"""The comparison of updates with a refit, on small tables."""

from benchmarks import growing


def test_updates_come_nearer_to_the_refit_than_the_old_model():
    gaps = growing.gaps_of(2_000, 3.0, growing.LAWS[1], seed=0)
    assert gaps["exact"] < gaps["old"]
    assert gaps["quick"] < gaps["old"]
