"""Local folders: whole or not at all, at every system call; whose they are; what a full or odd disk does."""

import errno
import os
import resource
import stat
from dataclasses import replace

import pytest

from streamgmm.checkpoint import Run
from streamgmm.errors import CheckpointCorruptError, RunLockedError, SecurityError, StorageError
from streamgmm.saving import Saver
from streamgmm.state import Outcome
from streamgmm.storage.disk import Disk
from streamgmm.storage.local_folder import LEAST_RESERVE, RESERVE, LocalFolder
from tests.reliability import commits, power_loss
from tests.reliability.simulated_disk import Folder, SimulatedDisk
from tests.reliability.small_runs import PLACE, RECORD, run_on, same_state, small_state


def simulated(**given):
    disk = SimulatedDisk(**given)
    disk.root.change((PLACE.parts[1], Folder()))
    return disk


def failing(call, number, place=""):
    """A `before` that refuses one kind of call."""

    def before(count, made, path):
        if made == call and place in str(path):
            raise OSError(number, os.strerror(number), str(path))

    return before


# ---- crashes and power losses ----------------------------------------------------------------------------------------------------


def test_p2_p5_any_system_call_may_be_the_last_or_fail():
    outcome = commits.trials(350, seed=1)
    assert outcome.violations == 0, outcome
    assert outcome.remarks["fewest good commits"] == 3
    assert outcome.remarks["commits that failed"] > 10


def test_p3_whatever_a_power_loss_leaves_the_acknowledged_commit_is_read():
    outcome = power_loss.trials(1500, seed=1)
    assert outcome.violations == 0, outcome


@pytest.mark.parametrize(
    "skip",
    [
        lambda kind, path: kind == "file",
        lambda kind, path: path.name == "commits",
        lambda kind, path: path == PLACE,
        lambda kind, path: path == PLACE.parent,
    ],
    ids=["a commit", "the folder of commits", "the run folder", "the folder of runs"],
)
def test_p3_no_sync_can_be_left_out(skip):
    assert power_loss.trials(400, seed=1, skip=skip).violations > 0


def test_p5_a_clean_up_that_does_not_look_leaves_too_few(monkeypatch):
    """Removing by number alone, with a broken commit among the newest three, would leave two."""
    run = run_on(simulated())
    with run:
        run.start(RECORD)
        for passes in range(1, 4):
            run.commit(small_state(passes))
        broken = run.storage._disk._entry(PLACE / "commits" / "000003.zip")
        broken.now = broken.now[:-1]
        run.commit(small_state(4))
        assert [commit.number for commit in run.examine(9)[0]] == [4, 2, 1]
        monkeypatch.setattr(Run, "_is_whole", lambda self, number: True)
        run.commit(small_state(5))
        assert len(run.examine(9)[0]) < 3


# ---- full disks ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", range(80 << 10, 112 << 10, 4 << 10))
def test_k17_the_last_save_fits_on_a_disk_that_others_filled(room):
    """K17 and P17: another program takes all that is free; commits before the last one say bytes needed and free, the last one fits."""
    disk = simulated(room=room)
    run = run_on(disk)
    with run:
        run.start(RECORD)
        run.commit(small_state(1))
        disk.room = disk._used()
        for _ in range(5):
            with pytest.raises(StorageError, match=r"ENOSPC.*\d+ bytes are needed, 0 are free") as refusal:
                run.commit(small_state(2))
            assert refusal.value.errno == errno.ENOSPC
            assert refusal.value.code == 8
        assert run.commit(ended(3)).number == 2
        assert same_state(run_on(disk).latest().state, ended(3))
        disk.room = 1 << 20
        run.commit(small_state(4))
        assert disk._entry(PLACE / RESERVE).allocated >= LEAST_RESERVE, "the reserve is made again"


def test_k17_without_the_reserve_the_last_save_fails(monkeypatch):
    monkeypatch.setattr(LocalFolder, "reserve", lambda self, size: None)
    disk = simulated(room=100 << 10)
    with run_on(disk) as run:
        run.start(RECORD)
        disk.room = disk._used()
        with pytest.raises(StorageError):
            run.commit(ended(1))


def test_k17_where_a_commit_in_mid_fit_spends_the_reserve_the_last_save_fails(monkeypatch):
    monkeypatch.setattr(LocalFolder, "_with_room", always_with_room(LocalFolder._with_room))
    disk = simulated(room=100 << 10)
    with run_on(disk) as run:
        run.start(RECORD)
        disk.room = disk._used()
        run.commit(small_state(1))
        disk.room = disk._used()
        with pytest.raises(StorageError):
            run.commit(ended(2))


def always_with_room(method):
    def spend(self, action, *, last):
        method(self, action, last=True)

    return spend


def test_k17_a_fit_on_a_full_disk_says_so_once_computes_on_and_saves_its_end():
    """The saver and the run together: only the state that ends the fit takes the reserve."""
    disk, told = simulated(room=200 << 10), []
    run = run_on(disk)
    with run:
        run.start(RECORD)
        saver = Saver(run, 0.0, told.append)
        disk.room = disk._used()
        for passes in range(1, 6):
            saver(small_state(passes))
        assert run.numbers() == []
        saver(ended(6))
        assert same_state(run.latest().state, ended(6))
    assert [event.kind for event in told] == ["warning", "commit"]


def ended(passes):
    """A state that ends a fit."""
    return replace(small_state(passes), outcome=Outcome.INTERRUPTED)


def test_the_reserve_grows_with_the_commits_and_goes_with_the_process(tmp_path):
    storage = LocalFolder(tmp_path / "run")
    storage.open()
    assert (tmp_path / "run" / RESERVE).stat().st_size == LEAST_RESERVE
    storage.reserve(200_000)
    assert (tmp_path / "run" / RESERVE).stat().st_size == 200_000
    storage.close()
    assert not (tmp_path / "run" / RESERVE).exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EFBIG])
def test_k17_e10_an_error_while_saving_names_path_and_errno(number):
    disk = simulated()
    with run_on(disk) as run:
        run.start(RECORD)
        run.commit(small_state(1))
        disk.before = failing("write", number)
        with pytest.raises(StorageError, match=errno.errorcode[number]) as refusal:
            run.commit(small_state(2))
        assert "000002.zip" in str(refusal.value)
        assert (refusal.value.errno, refusal.value.code) == (number, 8)
        assert same_state(run_on(disk.reopened()).latest().state, small_state(1))


def test_e10_a_file_size_limit_is_as_a_full_disk(tmp_path):
    """E10: past `ulimit -f` a write fails (Python ignores SIGXFSZ), and what was committed stays."""
    with Run(tmp_path / "run") as run:
        run.start(RECORD)
        run.commit(small_state(1))
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            with pytest.raises(StorageError, match="EFBIG"):
                run.commit(small_state(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert same_state(run.latest().state, small_state(1))


def test_e9_no_more_open_files_says_the_limit():
    """E9: the error names the limit and how to raise it."""
    disk = simulated()
    with run_on(disk) as run:
        run.start(RECORD)
        disk.before = failing("create", errno.EMFILE)
        with pytest.raises(StorageError, match=r"at most \d+ files may be open \(ulimit -n\)"):
            run.commit(small_state(1))


# ---- odd file systems ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_k11_a_run_folder_that_cannot_be_written_is_refused_before_any_work(number):
    disk = simulated()
    with run_on(disk) as run:
        run.start(RECORD)
    disk = disk.reopened()
    disk.before = failing("create", number)
    with pytest.raises(StorageError, match=f"{PLACE}.*{errno.errorcode[number]}"), run_on(disk):
        pass
    assert run_on(disk.reopened()).exists


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_k18_a_file_system_without_links_is_refused_at_the_start_with_a_remedy(number):
    with (
        pytest.raises(StorageError, match=r"no hard links.*local disk, or in an object store"),
        run_on(simulated(before=failing("link", number))),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_k19_without_locks_a_warning_and_the_exclusive_create_guards(number):
    disk = simulated(before=failing("flock", number))
    with run_on(disk) as first, run_on(disk) as second:
        assert [event.kind for event in first.remarks] == ["warning"]
        assert "file system" in first.remarks[0].message
        first.start(RECORD)
        assert second.latest() is None
        first.commit(small_state(1))
        with pytest.raises(RunLockedError):
            second.commit(small_state(1))


def test_k20_the_owner_is_named(tmp_path):
    with Run(tmp_path / "run"), pytest.raises(RunLockedError, match=rf"process {os.getpid()} on .* since 20") as refusal:
        Run(tmp_path / "run").__enter__()
    assert refusal.value.code == 7


def test_k10_a_run_that_comes_from_another_host_says_so(tmp_path):
    with Run(tmp_path / "run") as run:
        run.start(RECORD)
    (tmp_path / "run" / "lock").write_text("process 12 on elsewhere")
    with Run(tmp_path / "run") as run:
        assert ["elsewhere" in event.message for event in run.remarks] == [True]


# ---- whose it is -----------------------------------------------------------------------------------------------------------------


def test_s17_nobody_else_may_look_into_a_run(tmp_path):
    before = os.umask(0)
    try:
        with Run(tmp_path / "deep" / "run") as run:
            run.start(RECORD)
            run.commit(small_state(1))
            for path in (tmp_path / "deep").rglob("*"):
                wanted = 0o700 if path.is_dir() else 0o600
                assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    finally:
        os.umask(before)


def test_s17_a_folder_that_everybody_may_write_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    with pytest.raises(SecurityError, match=r"mode 0777.*chmod 700"), Run(tmp_path / "run"):
        pass
    assert list((tmp_path / "run").iterdir()) == []


def test_s17_a_sticky_folder_above_is_fine(tmp_path):
    tmp_path.chmod(0o1777)
    with Run(tmp_path / "run"):
        pass


def test_s17_a_folder_of_somebody_else_is_refused(tmp_path):
    class Somebody(Disk):
        def user(self):
            return 4321

    with pytest.raises(SecurityError, match="4321"):
        LocalFolder(tmp_path, (), Somebody()).open()


def test_s17_a_planted_link_is_not_followed(tmp_path):
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "run" / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(StorageError, match="ELOOP"), Run(tmp_path / "run"):
        pass
    assert (tmp_path / "victim").read_text() == "mine"


# ---- what lies there -------------------------------------------------------------------------------------------------------------


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(CheckpointCorruptError, match=r"not a plain file|EISDIR"):
            LocalFolder(tmp_path).read(name)


def test_a_content_is_never_replaced(tmp_path):
    storage = LocalFolder(tmp_path)
    storage.create("a", b"one")
    with pytest.raises(FileExistsError):
        storage.create("a", b"two")
    assert storage.read("a") == b"one"
    assert storage.names("") == ["a"]
    storage.remove("a")
    storage.remove("a")
    with pytest.raises(FileNotFoundError):
        storage.read("a")
