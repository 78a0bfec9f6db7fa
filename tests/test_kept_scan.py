"""What a run keeps of a scan: a kill costs no block that was kept, and changes no bit."""

import numpy as np
import pytest

from streamgmm import exploration
from streamgmm.checkpoint import Run
from streamgmm.configuration import FitConfiguration
from streamgmm.errors import CheckpointError, StorageError
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.job import Job
from streamgmm.kept_scan import KeptScan, drop_scans, pack_scan, unpack_scan
from streamgmm.reduce import Span
from streamgmm.scan import ScanBlock, scan
from streamgmm.storage.local_folder import LocalFolder
from tests.making import clustered_rows, rows_source, same_bits

ORIGIN = {"source": {"n_rows": 900}, "rows": 200}


class Killed(BaseException):
    """As a signal ends a process: nobody catches it."""


def found_in(source, blocks):
    return tuple((Span(number, 0), ScanBlock(3, 5)(source.read(number))) for number in blocks)


def same_scan(a, b):
    (one, of_one), (other, of_other) = a, b
    pairs = [(one.x, other.x), (one.weight, other.weight), (of_one.columns.scatter, of_other.columns.scatter)]
    return all(x.tobytes() == y.tobytes() for x, y in pairs) and (of_one.rows, of_one.skipped) == (of_other.rows, of_other.skipped)


def kept(folder, told=None, every=0.0, origin=ORIGIN):
    return KeptScan(LocalFolder(folder), origin, every, (told if told is not None else []).append)


def scans(folder):
    return sorted(path.name for path in folder.glob("scan-*"))


@pytest.fixture
def source(rng):
    rows = np.column_stack([np.arange(900.0), rng.normal(size=900)])
    weight = rng.integers(0, 3, 900).astype(float)
    weight[:100] = 0  # a block without a row that takes part: its smallest value is infinite
    return rows_source(rows, block_rows=50).with_sample_weight(rows_source(weight.reshape(-1, 1), block_rows=50))


# ---- the file --------------------------------------------------------------------------------------------------------------


def test_it_comes_back_with_the_same_bits(source):
    found = found_in(source, (0, 3, 5))
    again = unpack_scan(pack_scan(found, ORIGIN), ORIGIN)
    assert [span for span, _ in again] == [span for span, _ in found]
    for (_, one), (_, other) in zip(found, again, strict=True):
        assert (one.rows, one.skipped, one.columns.weight) == (other.rows, other.skipped, other.columns.weight)
        for name in ("mean", "scatter", "low", "high"):
            assert getattr(one.columns, name).tobytes() == getattr(other.columns, name).tobytes()
        assert one.x.tobytes() == other.x.tobytes()
        assert one.weight.tobytes() == other.weight.tobytes()


def test_no_changed_byte_gets_through(source, rng):
    raw = pack_scan(found_in(source, (1, 2)), ORIGIN)
    for at in range(0, len(raw), 41):
        changed = bytearray(raw)
        changed[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(CheckpointError):
            unpack_scan(bytes(changed), ORIGIN)


def test_one_of_other_rows_is_not_used(source, tmp_path):
    kept(tmp_path).keep(found_in(source, (0, 1)))
    told = []
    assert kept(tmp_path, told, origin={**ORIGIN, "rows": 201}).done() == ()
    assert "other rows" in told[0].message


def test_a_damaged_one_is_told_and_the_one_before_it_counts(source, tmp_path):
    keeper = kept(tmp_path)
    keeper.keep(found_in(source, (0, 1)))
    whole = (tmp_path / "scan-000000.zip").read_bytes()
    (tmp_path / "scan-000001.zip").write_bytes(whole[:-100])  # as it is left where the storage is not what it says
    told = []
    assert [span for span, _ in kept(tmp_path, told).done()] == [Span(0, 0), Span(1, 0)]
    assert [event.kind for event in told] == ["warning"]


def test_a_storage_that_is_full_ends_no_scan(source, tmp_path):
    class Full(LocalFolder):
        def create(self, name, content, *, last=False):
            raise StorageError("no space left")

    told = []
    keeper = KeptScan(Full(tmp_path), ORIGIN, 0.0, told.append)
    assert same_scan(scan(source, Serial(), 3, 200, keeper=keeper), scan(source, Serial(), 3, 200))
    assert "no space left" in told[0].message


def test_only_the_newest_is_kept_and_that_only_when_it_is_due(source, tmp_path):
    scan(source, Serial(), 3, 200, keeper=kept(tmp_path))
    assert len(scans(tmp_path)) == 1
    drop_scans(LocalFolder(tmp_path))
    scan(source, Serial(), 3, 200, keeper=kept(tmp_path, every=1e9))
    assert scans(tmp_path) == []


# ---- a scan that was killed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", [Serial(), Threads(2)], ids=["serial", "threads"])
@pytest.mark.parametrize("n_rows", [200, 10_000])
def test_killed_anywhere_it_goes_on_with_the_same_bits(source, tmp_path, executor, n_rows):
    undisturbed = scan(source, Serial(), 3, n_rows)
    for after in (1, 5, 17):
        folder = tmp_path / str(after)
        folder.mkdir()
        events = []

        def observe(event, events=events, after=after):
            events.append(event)
            if len(events) == after:
                raise Killed

        with pytest.raises(Killed):
            scan(source, executor, 3, n_rows, observe, kept(folder))
        assert same_scan(scan(source, executor, 3, n_rows, keeper=kept(folder)), undisturbed)


def test_a_run_that_was_killed_in_its_scan_reads_the_rest_only(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(exploration, "EXPLORED_ROWS", 600)
    monkeypatch.setattr(exploration, "EXPLORED_ROWS_A_PARAMETER", 1)
    table = clustered_rows(3000, 3, 2, rng)
    given = {"n_components": 3, "block_rows": 100, "max_iter": 3, "tol": 1e-12, "seed": 1, "checkpoint_every": 0.0}

    def job(**hooks):
        return Job(rows_source(table, block_rows=100), FitConfiguration.checked(given), Serial(), **hooks)

    def die(event):
        if event.details.get("task") == "scan" and event.details["rows"] >= 2000:
            raise Killed

    undisturbed = job().fit()
    with pytest.raises(Killed):
        job(observe=die).fit_in(Run(tmp_path / "run"))
    assert len(scans(tmp_path / "run")) == 1
    told = []
    result = job(observe=told.append).fit_in(Run(tmp_path / "run"))
    rows = [event.details["rows"] for event in told if event.details.get("task") == "scan"]
    assert rows[0] > 1900
    assert rows[-1] == 3000
    assert len(rows) < 13  # of 30 blocks
    assert scans(tmp_path / "run") == []
    assert same_bits(result.mixture, undisturbed.mixture)
