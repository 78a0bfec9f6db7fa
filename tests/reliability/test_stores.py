"""A sample of the trials on damaged stores and flaky storage, and what each guard is there for."""

import numpy as np
import pytest

from streamgmm import commands
from streamgmm.manifest import Manifest
from streamgmm.sources import open_source
from streamgmm.sources._damage_policy import DamagePolicy
from streamgmm.sources._zarr_chunks import ChunkChecks
from streamgmm.sources._zarr_direct import decode
from tests.reliability import direct, flaky, stores


def test_damaged_stores_are_detected_as_far_as_anybody_can():
    outcome = stores.trials(120, seed=0)
    assert outcome.violations == 0, outcome.remarks["violations"]
    assert outcome.trials == 120


def test_hostile_chunk_bytes_are_refused_or_read_as_zarr_reads_them():
    outcome = direct.trials(500, seed=0)
    assert outcome.violations == 0, outcome.remarks
    assert {"refused", "as zarr"} <= outcome.remarks["found"].keys(), "the damage must fire"


def test_flaky_storage_gives_the_same_rows():
    outcome = flaky.trials(6, seed=0)
    assert outcome.violations == 0, outcome.remarks
    assert outcome.remarks["tries repeated"] > 0, "the faults must fire"


def test_without_the_manifest_s_check_damage_is_read_as_rows(monkeypatch):
    monkeypatch.setattr(Manifest, "fault", lambda self, key, raw, *, sealed: "")
    assert stores.trials(80, seed=0).violations > 0


def test_without_the_key_list_a_chunk_that_is_gone_is_read_as_its_fill_value(tmp_path, monkeypatch):
    store = stores.make_store(tmp_path / "s.zarr", "crc32c", "chunks")
    commands.manifest(store)
    monkeypatch.setattr("streamgmm.sources._zarr_open.check_keys", lambda *args, **options: True)
    monkeypatch.setattr(ChunkChecks, "must_be_there", lambda self, key: False)
    (store / "a" / "c" / "2").unlink()
    assert not open_source(store, block_rows=16).load(2).any()


def test_without_further_tries_flaky_storage_ends_the_pass(monkeypatch):
    source, store, _ = flaky.flaky_source(0)
    store.share = 0.5
    monkeypatch.setattr(DamagePolicy, "gives_up", lambda self, error, attempt, elapsed: True)
    with pytest.raises(Exception, match="column"):
        list(source.blocks())


def test_without_the_header_s_check_a_bomb_is_decoded(monkeypatch):
    """What the check of the header keeps out reaches the codec, which believes the header."""
    seen = []
    monkeypatch.setattr("streamgmm.sources._zarr_direct._claimed_by_zstd", lambda raw: 32)
    monkeypatch.setattr("streamgmm.sources._zarr_direct.zstd", Recorder(seen))
    with pytest.raises(ValueError, match="asked"):
        direct_decode(direct.zstd_frame(bytes(32), claimed=2**40))
    assert seen


class Recorder:
    """In place of a codec: says that it was asked."""

    def __init__(self, seen):
        self.seen = seen

    def decompress(self, raw, into=None):
        self.seen.append(len(raw))
        raise ValueError("asked")


def direct_decode(raw, n=4, codecs=("zstd",)):
    into = np.empty(n)
    decode(np.frombuffer(raw, np.uint8), codecs, into)
    return into


@pytest.mark.parametrize("cut", [[32], [16, 16], [8, 24]])
@pytest.mark.parametrize("told", [True, False])
def test_zstandard_frames_of_other_writers_are_decoded(cut, told):
    """Frames that do not tell their length, and several in one file, are legal and rare."""
    rows = np.arange(4.0)
    raw, frames = rows.tobytes(), b""
    for n_bytes in cut:
        piece, raw = raw[:n_bytes], raw[n_bytes:]
        frames += direct.zstd_frame(piece, claimed=n_bytes if told else None)
    assert direct_decode(frames).tolist() == rows.tolist()
    for n in (3, 5):
        with pytest.raises((ValueError, RuntimeError)):
            direct_decode(frames, n)


@pytest.mark.parametrize("first", [None, 16, 32])
def test_a_second_frame_that_claims_a_terabyte_is_refused_before_it_is_believed(first):
    frames = direct.zstd_frame(bytes(first or 16), claimed=first) + direct.zstd_frame(bytes(16), claimed=2**40)
    with pytest.raises((ValueError, RuntimeError)):
        direct_decode(frames)
