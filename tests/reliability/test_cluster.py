"""Real worker processes, killed: a sample of what `tests/reliability/cluster.py` does in numbers."""

from tests.reliability import cluster


def test_fits_under_kills_give_one_hash():
    """W7."""
    found = cluster.trials(1, kills_per_fit=4, seed=3)
    assert found.violations == 0, found.remarks
    assert sum(found.remarks["harm"].values()) >= 3


def test_a_poison_block_is_named_and_the_cluster_lives_on():
    """W8."""
    found = cluster.poison_trials(1, seed=1)
    assert found.violations == 0, found.remarks
