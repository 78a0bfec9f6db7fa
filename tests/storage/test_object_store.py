"""Object stores: conditional writes, lost replies, refusals that say nothing secret."""

import json
import os
import random
import threading
import time

import numpy as np
import pytest
from obstore import exceptions
from obstore.store import MemoryStore

from streamgmm import commands
from streamgmm.checkpoint import Run
from streamgmm.commands.where import Where
from streamgmm.errors import RunLockedError, SecurityError, StorageError
from streamgmm.initialisers._sample import Sample
from streamgmm.kept_sample import kept_sample
from streamgmm.kept_scan import KeptScan
from streamgmm.kept_sums import keep_sums
from streamgmm.open_storage import open_storage
from streamgmm.reduce import Span
from streamgmm.scan import ScanBlock
from streamgmm.storage import _lease
from streamgmm.storage.object_store import Bucket, ObjectStore
from tests.making import rows_source
from tests.reliability import acknowledgements
from tests.reliability.acknowledgements import SimulatedBucket
from tests.reliability.small_runs import RECORD, same_state, small_state
from tests.running import survey_rows, write_store

FIT = {"n_components": 2, "init": "random", "tol": 0.0, "max_iter": 4, "block_rows": 512, "where": Where(executor="serial")}


def memory():
    return Bucket(MemoryStore())


def test_a_run_in_an_object_store_goes_on_in_the_next_process():
    bucket = memory()
    with Run(ObjectStore(bucket, "memory:///run")) as run:
        run.start(RECORD)
        for passes in range(1, 6):
            run.commit(small_state(passes))
    with Run(ObjectStore(bucket, "memory:///run")) as again:
        assert again.exists
        assert again.numbers() == [3, 4, 5]
        assert same_state(again.latest().state, small_state(5))
        assert again.commit(small_state(6)).number == 6


def test_a_broken_object_is_set_aside():
    bucket = memory()
    run = Run(ObjectStore(bucket, "memory:///run"))
    with run:
        run.start(RECORD)
        run.commit(small_state(1))
        run.commit(small_state(2))
        raw = bucket.get("commits/000002.zip")
        bucket.delete("commits/000002.zip")
        bucket.put_new("commits/000002.zip", raw[:-1])
        assert same_state(run.latest().state, small_state(1))
        assert run.storage.names("commits") == ["000001.zip", "000002.broken"]


def test_the_second_of_two_writers_is_stopped_at_its_next_commit():
    bucket = memory()
    first, second = (Run(ObjectStore(bucket, "memory:///run")) for _ in range(2))
    first.start(RECORD)
    assert second.latest() is None
    first.commit(small_state(1))
    with pytest.raises(RunLockedError, match="another process"):
        second.commit(small_state(1))


# ---- the lease -------------------------------------------------------------------------------------------------------------------


def two_on(bucket):
    return tuple(Run(ObjectStore(bucket, "s3://bucket/run")) for _ in range(2))


def test_p24_the_second_process_is_told_who_holds_the_run_and_for_how_long_it_was_heard_of():
    first, second = two_on(memory())
    began = time.monotonic()
    with first, pytest.raises(RunLockedError, match=rf"in use by process {os.getpid()} on .* \(last heard of at 20") as refusal, second:
        pass
    assert refusal.value.code == 7
    assert time.monotonic() - began < 60, "a guard against hangs; seconds are counted by the trials"
    with second:
        second.start(RECORD)


def test_p25_an_owner_that_was_silent_is_followed_and_cannot_commit_when_it_wakes(silent):
    first, second = two_on(memory())
    with first:
        first.start(RECORD)
        first.commit(small_state(1))
        with second:
            assert "silent" in second.remarks[0].message
            with pytest.raises(RunLockedError, match="in use by process"):
                first.commit(small_state(2, 0.5))
            assert second.latest().number == 1
            second.commit(small_state(2))


def test_p25_without_a_look_at_the_lease_it_commits_and_stops_the_owner(silent, monkeypatch):
    monkeypatch.setattr(ObjectStore, "refuse_if_lost", lambda self: None)
    first, second = two_on(memory())
    with first:
        first.start(RECORD)
        first.commit(small_state(1))
        with second:
            assert second.latest().number == 1
            first.commit(small_state(2, 0.5))
            with pytest.raises(RunLockedError):
                second.commit(small_state(2))


SCANNED = ((Span(0, 0), ScanBlock(3, 5)(rows_source(np.ones((9, 2)), block_rows=9).read(0))),)
KEEPS = {
    "sample.zip": lambda storage: kept_sample(storage, {}, lambda: Sample(np.ones((2, 1)), np.ones(2), complete=True)),
    "scan-000000.zip": lambda storage: KeptScan(storage, {}, 0.0).keep(SCANNED),
    "statistics-000009.zip": lambda storage: keep_sums(storage, 1, small_state(1)),
}


@pytest.mark.parametrize("name", KEEPS)
def test_p25_an_owner_that_wakes_removes_nothing_that_the_next_one_keeps(name, silent):
    bucket = memory()
    first, second = two_on(bucket)
    with first, second:
        bucket.put_new(name, b"the next one's")
        with pytest.raises(RunLockedError, match="in use by process"):
            KEEPS[name](first.storage)
        assert bucket.get(name) == b"the next one's"


@pytest.mark.parametrize("name", KEEPS)
def test_p25_without_a_look_at_the_lease_it_is_gone(name, silent, monkeypatch):
    monkeypatch.setattr(ObjectStore, "refuse_if_lost", lambda self: None)
    bucket = memory()
    first, second = two_on(bucket)
    with first, second:
        bucket.put_new(name, b"the next one's")
        KEEPS[name](first.storage)
        assert "the next one's" not in [str(bucket.get(found), "latin-1") for found in bucket.names("")]


@pytest.fixture
def silent(monkeypatch):
    """Owners do not beat, and nobody waits long for it."""
    monkeypatch.setattr(_lease, "BEAT", 3600.0)
    monkeypatch.setattr(_lease, "SILENCE", 0.1)
    monkeypatch.setattr(_lease, "LOOK", 0.01)


def test_p26_a_killed_owner_of_this_machine_is_followed_at_once(monkeypatch):
    monkeypatch.setattr(_lease, "SILENCE", 3600.0)
    monkeypatch.setattr("streamgmm.storage._lease.is_gone", lambda pid: True)
    bucket = memory()
    bucket.put_new("lease/000007.json", lease_of(os.getpid()))
    with Run(ObjectStore(bucket, "s3://bucket/run")) as run:
        assert "gone or silent" in run.remarks[0].message
        assert run.storage.names("lease") == ["000008.json"]


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"process": "x"}', b"\xff"])
def test_a_lease_that_cannot_be_read_is_somebody_s(raw, silent):
    bucket = memory()
    bucket.put_new("lease/000001.json", raw)
    with Run(ObjectStore(bucket, "s3://bucket/run")) as run:
        assert run.storage.names("lease") == ["000002.json"]


def test_p28_a_wrong_clock_holds_no_lease(silent):
    bucket = memory()
    bucket.put_new("lease/000001.json", lease_of(os.getpid()).replace(b"2026", b"9999"))
    with Run(ObjectStore(bucket, "s3://bucket/run")) as run:
        assert run.is_local is False


def lease_of(pid, **more):
    return json.dumps({"process": pid, **_lease._whereabouts(), "at": "2026-01-01 00:00:00+00:00", **more}).encode()


class Leased(Bucket):
    """With a lease of another process, of which each look finds the next of these contents."""

    def __init__(self, *contents):
        super().__init__(MemoryStore())
        self.put_new("lease/000001.json", contents[0])
        self._contents = iter(contents)

    def get(self, name):
        return next(self._contents, None) or super().get(name) if name == "lease/000001.json" else super().get(name)


def beating(**more):
    return (lease_of(os.getpid(), beat=beat, **more) for beat in range(9))


def test_a_lease_that_is_given_back_while_somebody_looks_is_free(monkeypatch):
    monkeypatch.setattr(_lease, "LOOK", 0.0)
    before = lease_of(os.getpid())
    with Run(ObjectStore(Leased(before, before, lease_of(os.getpid(), released=True)), "s3://bucket/run")) as run:
        assert run.remarks == []
    with pytest.raises(RunLockedError), Run(ObjectStore(Leased(*beating()), "s3://bucket/run")):
        pass


class Slow(Bucket):
    """Takes longer to write over something than anybody waits for it."""

    def put(self, name, content):
        time.sleep(0.3)
        super().put(name, content)


def test_a_run_that_is_opened_again_at_once_does_not_lock_itself_out(monkeypatch):
    quick_looks(monkeypatch)
    bucket = Slow(MemoryStore())
    for _ in range(3):
        with Run(ObjectStore(bucket, "s3://bucket/run")):
            time.sleep(0.1)  # a beat is on its way


def test_without_knowing_what_it_gave_back_it_would(monkeypatch):
    quick_looks(monkeypatch)
    monkeypatch.setattr(_lease, "_given_back", Forgets())
    bucket = Slow(MemoryStore())
    with Run(ObjectStore(bucket, "s3://bucket/run")):
        time.sleep(0.1)
    with pytest.raises(RunLockedError, match=f"process {os.getpid()}"), Run(ObjectStore(bucket, "s3://bucket/run")):
        pass


class Forgets(set):
    def add(self, _):
        """Nothing."""


def quick_looks(monkeypatch):
    for name, value in (("LEAVING", 0.01), ("BEAT", 0.05), ("LOOK", 0.01)):
        monkeypatch.setattr(_lease, name, value)


class Failing(Bucket):
    """Removes no lease. error: what it raises."""

    def __init__(self, error):
        super().__init__(MemoryStore())
        self._error = error

    def delete(self, name):
        if name.startswith("lease/"):
            raise self._error
        super().delete(name)


def beats_of(action):
    """Threads that beat for a lease, and are there after the action."""
    before = set(threading.enumerate())
    action()
    return [thread for thread in threading.enumerate() if thread not in before and thread.name == "streamgmm-lease"]


def test_a_lease_of_before_that_cannot_be_removed_keeps_nobody_out():
    bucket = Failing(exceptions.GenericError("timeout"))
    for _ in range(2):
        with Run(ObjectStore(bucket, "s3://bucket/run")) as run:
            pass
    assert run.storage.names("lease") == ["000001.json", "000002.json"]


def test_nobody_beats_for_an_owner_that_was_stopped_while_it_opened_the_run():
    bucket = Failing(KeyboardInterrupt())
    bucket.put_new("lease/000001.json", lease_of(os.getpid(), released=True))

    def stopped():
        with pytest.raises(KeyboardInterrupt), Run(ObjectStore(bucket, "s3://bucket/run")):
            pass

    assert beats_of(stopped) == []
    assert json.loads(bucket.get("lease/000002.json"))["released"] is True


ELSEWHERE = [{"pids": "pid:[1]"}, {"boot": "another"}, {"host": "another"}, {"pids": ""}]


@pytest.mark.parametrize("other", ELSEWHERE, ids=str)
def test_p24_a_healthy_owner_in_another_container_is_not_robbed(other, monkeypatch):
    """Its host may have the same name, its process is not to be seen from here."""
    monkeypatch.setattr("streamgmm.storage._lease.is_gone", lambda pid: True)
    monkeypatch.setattr(_lease, "LOOK", 0.0)
    with pytest.raises(RunLockedError), Run(ObjectStore(Leased(*beating(**other)), "s3://bucket/run")):
        pass


def test_p24_by_its_host_alone_it_would_be(monkeypatch):
    monkeypatch.setattr("streamgmm.storage._lease.is_gone", lambda pid: True)
    monkeypatch.setattr(_lease, "_whereabouts", lambda: {"host": "a-host"})
    with Run(ObjectStore(Leased(*beating(pids="pid:[1]")), "s3://bucket/run")) as run:
        assert "gone or silent" in run.remarks[0].message


def test_a_lease_is_given_back_and_one_is_left():
    bucket = memory()
    for _ in range(3):
        with Run(ObjectStore(bucket, "s3://bucket/run")) as run:
            pass
    assert run.storage.names("lease") == ["000003.json"]
    assert json.loads(bucket.get("lease/000003.json"))["released"] is True


def test_p23_lost_acknowledgements_are_no_conflicts():
    outcome = acknowledgements.trials(24, seed=3)
    assert outcome.violations == 0, outcome
    assert outcome.remarks["faults"] > 50
    assert outcome.remarks["conflicts"] == 12, "one writer of each race is told"


def test_p23_without_the_writers_id_and_the_reading_back_there_are_false_conflicts(monkeypatch):
    def believe(self, name, content):
        try:
            self._bucket.put_new(name, content)
        except exceptions.AlreadyExistsError:
            raise FileExistsError(name) from None

    monkeypatch.setattr(ObjectStore, "_put", believe)
    monkeypatch.setattr(Run, "_adopt", lambda self: False)
    assert acknowledgements.trials(20, seed=3).violations > 0


def test_a_store_that_ignores_the_condition_is_refused_at_the_start():
    class Ignores(SimulatedBucket):
        def put_new(self, name, content):
            self.objects[name] = content

    storage = ObjectStore(Ignores(random.Random(0), 0.0), "s3://bucket/run")
    with pytest.raises(StorageError, match="If-None-Match"):
        storage.open()


def test_a_store_without_conditional_writes_is_refused_with_a_remedy():
    class Cannot(SimulatedBucket):
        def put_new(self, name, content):
            raise exceptions.NotSupportedError("put with condition")

    with pytest.raises(StorageError, match="use s3, gs or az"):
        ObjectStore(Cannot(random.Random(0), 0.0), "https://host/run").open()


def test_what_a_library_says_is_cut_and_redacted():
    class Talks(SimulatedBucket):
        def get(self, name):
            raise exceptions.GenericError("GET https://user:pa55word@host/x?sig=s3cret failed\nDebug source: token=abc")

    with pytest.raises(StorageError) as refusal:
        ObjectStore(Talks(random.Random(0), 0.0), "https://host/run").read("run.json")
    assert not any(secret in str(refusal.value) for secret in ("pa55word", "s3cret", "abc"))


@pytest.mark.parametrize(
    "url", ["ftp://host/run", "simplecache::s3://bucket/run", "memory://run", "reference://x", "https://127.0.0.1/run"]
)
def test_d29_d30_addresses_that_are_not_allowed(url):
    with pytest.raises(SecurityError):
        open_storage(url)


def test_an_address_keeps_its_password_out_of_messages():
    storage = open_storage("s3://key:pa55word@bucket/run")
    assert "pa55word" not in storage.describe()


def test_a_fit_in_an_object_store_has_the_model_of_one_in_a_folder(tmp_path, monkeypatch):
    bucket = memory()
    store = write_store(tmp_path / "stars.zarr", survey_rows(1500))
    local = commands.fit(store, tmp_path / "run", **FIT)
    monkeypatch.setattr(
        "streamgmm.checkpoint.open_storage",
        lambda place, folders: ObjectStore(bucket, place) if "://" in str(place) else open_storage(place, folders),
    )
    monkeypatch.chdir(tmp_path)
    commands.fit(store, "s3://bucket/run", **{**FIT, "max_iter": 2})
    facts = commands.resume("s3://bucket/run", max_iter=4)
    assert facts["hash"] == local["hash"]
    assert facts["run"] == "s3://bucket/run"
    assert commands.verify("s3://bucket/run")["faults"] == ()
    assert commands.fit(store, "s3://bucket/run", **FIT)["already_complete"]
    with Run("s3://bucket/run") as run:
        run.clear()
        assert not run.exists
        assert run.numbers() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "stars.zarr"], "nothing is written beside it"
