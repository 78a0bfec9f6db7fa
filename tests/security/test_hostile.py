"""Threat rows S1, S2, S4, S5; rows D5, D6, D29 to D31, K4, K7, K8 of the catalogue: hostile files and addresses, all of them refused."""

import random

from streamgmm.sources import _locations, _zarr_metadata
from tests.reliability import hostile
from tests.reliability.hostile_files import store_case


def test_s1_s2_s4_hostile_files_run_nothing_and_write_nowhere():
    found = hostile.trials(10, seed=1)
    assert found.remarks["faults"] == {}
    assert found.violations == 0
    assert found.trials >= 60


def test_s5_hostile_addresses_reach_nobody():
    found = hostile.url_trials(10, seed=1)
    assert found.remarks["faults"] == {}
    assert found.violations == 0
    assert found.trials >= 40


def test_the_files_are_found_out_without_the_list_of_codecs(monkeypatch):
    """The guard taken out: the same stores get as far as zarr."""
    monkeypatch.setattr(_zarr_metadata, "ALLOWED", _Everything())
    assert hostile.trials(0, seed=1).violations > 20


def test_the_addresses_are_let_through_without_the_class_of_hosts(monkeypatch):
    monkeypatch.setattr(_locations, "_refuse_private", lambda host, shown: None)
    assert all(_locations.locate(f"https://{host}/a").url for host in hostile.HOSTS)


class _Everything(tuple):
    __slots__ = ()

    def __contains__(self, name):
        return True


def test_the_same_seed_makes_the_same_stores():
    assert hostile.random_list(random.Random(5), 3) == hostile.random_list(random.Random(5), 3)


def test_a_harmless_store_is_read(tmp_path):
    """The stores are refused for their codecs, and for nothing else."""
    assert hostile.tried(store_case("good", {}, bytes(64)), tmp_path / "case") == "was read"
