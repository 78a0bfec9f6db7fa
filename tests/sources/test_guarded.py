"""A guarded source: damage raised, tried again or left out; everything else as the source it guards."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import zarr

from streamgmm import commands
from streamgmm.errors import ChunkCorruptError, ConfigError, StorageError
from streamgmm.sources import as_source, open_source
from streamgmm.sources._damage_policy import Clock, DamagePolicy
from streamgmm.sources.guarded import GuardedSource, guard
from tests.making import clustered_rows, fit_rows, rows_source, wide_start
from tests.reliability.flaky import FakeClock, flaky_source

N, BLOCK = 640, 64


@pytest.fixture
def rows(rng):
    return clustered_rows(N, 2, 2, rng)


@pytest.fixture
def store(tmp_path, rows):
    group = zarr.create_group(tmp_path / "s.zarr", zarr_format=3)
    for j, name in enumerate("ab"):
        group.create_array(name, shape=(N,), chunks=(BLOCK,), dtype="f8")[:] = rows[:, j]
    commands.manifest(tmp_path / "s.zarr")
    return tmp_path / "s.zarr"


def damage(store, number=3):
    (store / "b" / "c" / str(number)).write_bytes(b"")


def policy(on_damage="raise", **settings):
    clock = FakeClock()
    return DamagePolicy(on_damage, **settings, clock=Clock(clock.now, clock.sleep)), clock


def test_raise_says_damage_at_once(store):
    damage(store)
    source = guard(open_source(store, block_rows=BLOCK), policy()[0])
    with pytest.raises(ChunkCorruptError, match=r"chunk c/3.*again\.|chunk c/3.*anew\.$"):
        source.read(3)
    assert not source.retries


def test_retry_tries_so_often_and_then_raises(store):
    damage(store)
    chosen, clock = policy("retry", retries=4)
    source = guard(open_source(store, block_rows=BLOCK), chosen)
    with pytest.raises(ChunkCorruptError, match="gave up after 5 attempts"):
        source.read(3)
    assert [(retry.block, retry.attempt) for retry in source.retries] == [(3, 1), (3, 2), (3, 3), (3, 4)]
    assert clock.time > 0


def test_skip_leaves_the_block_out_and_counts_its_rows(store, rows):
    damage(store)
    source = guard(open_source(store, block_rows=BLOCK), policy("skip")[0])
    blocks = list(source.blocks())
    assert blocks[3].n_rows == 0
    assert blocks[3].skipped == BLOCK
    assert "chunk c/3" in blocks[3].damage
    assert [block.damage for block in blocks if block.index != 3] == [""] * 9
    assert np.concatenate([block.x for block in blocks]).tobytes() == np.delete(rows, slice(192, 256), axis=0).tobytes()


def test_skip_with_weights(store):
    damage(store)
    weighted = as_source(open_source(store, features=["a"], weight="b", block_rows=BLOCK))
    weighted = replace(weighted, sample_weight=replace(weighted.sample_weight))
    block = guard(weighted, policy("skip")[0]).read(3)
    assert (block.n_rows, block.skipped, len(block.sample_weight)) == (0, BLOCK, 0)


def test_a_fit_with_a_damaged_block_is_the_fit_of_the_others(store, rows, rng):
    start = wide_start("gaussian_full", 2, rows, rng)
    kept = rows.copy()
    kept[192:256] = np.nan
    expected = fit_rows(rows_source(kept, block_rows=BLOCK, missing="skip"), [start], max_iter=4, tol=0.0)
    damage(store)
    found = fit_rows(guard(open_source(store, block_rows=BLOCK), policy("skip")[0]), [start], max_iter=4, tol=0.0)
    assert found.log_likelihoods == expected.log_likelihoods
    assert found.state.skipped == BLOCK


@pytest.mark.parametrize("number", [0, 3])
def test_the_fingerprint_is_that_of_the_source(store, number):
    plain = open_source(store, block_rows=BLOCK).fingerprint
    chosen = policy("skip")[0]
    assert guard(open_source(store, block_rows=BLOCK), chosen).fingerprint == plain
    damage(store, number)
    damaged = [guard(open_source(store, block_rows=BLOCK), chosen).fingerprint for _ in range(2)]
    assert damaged[0] == damaged[1]
    assert (damaged[0] == plain) == (number == 3), "the hash is of the first and the last block"


def test_every_policy_tries_again_what_passes_by_itself():
    for on_damage in ("raise", "retry", "skip"):
        source, store, _ = flaky_source(3, kinds=("reset", "busy"), on_damage=on_damage)
        store.share = 0.5
        assert all(not block.damage for block in source.blocks())
        assert source.retries


def test_pauses_are_drawn_from_the_seed_and_bounded():
    chosen = DamagePolicy(pause=0.1)
    pauses = [chosen.pause_before(7, attempt) for attempt in range(1, 40)]
    assert pauses == [DamagePolicy(pause=0.1).pause_before(7, attempt) for attempt in range(1, 40)]
    assert pauses != [DamagePolicy(pause=0.1, seed=1).pause_before(7, attempt) for attempt in range(1, 40)]
    assert min(pauses) >= 0.05
    assert max(pauses) <= 7.5


def test_what_no_repetition_changes_is_said_at_once(monkeypatch, store):
    source = guard(open_source(store, block_rows=BLOCK), policy()[0])

    def denied(self, index):
        raise StorageError("no permission")

    monkeypatch.setattr(type(source.source), "load", denied)
    with pytest.raises(StorageError, match=r"no permission$"):
        source.read(0)


def test_it_travels(store):
    source = guard(open_source(store, block_rows=BLOCK), DamagePolicy("skip"))
    damage(store)
    piece = pickle.loads(pickle.dumps(source.portable(2, 4)))
    assert isinstance(piece, GuardedSource)
    assert piece.read(3).skipped == BLOCK


@pytest.mark.parametrize("bad", [{"on_damage": "skipp"}, {"retries": -1}, {"stall": 0.0}, {"pause": 0.0}, {"deadline": float("nan")}])
def test_a_policy_that_is_none_is_refused(bad):
    with pytest.raises(ConfigError):
        DamagePolicy(**bad)
