"""The trial sets of `python -m tests.reliability`: what each does, and how often at full size."""

from typing import NamedTuple


class TrialSet(NamedTuple):
    """A function `trials(n, seed)` of a module beside this one."""

    what: str
    module: str
    trials: int
    function: str = "trials"


SETS = {
    "kills": TrialSet("a fit killed (SIGKILL) at any instant or at a system call of a commit, some twice; started again", "kills", 200),
    "default kills": TrialSet(
        "a fit as it is by default, killed while it scans, explores or passes, some twice; started again", "default_kills", 100
    ),
    "updates": TrialSet("exact and quick updates killed at any instant or system call; started again", "updates", 200),
    "commits": TrialSet("every system call of a commit killed, failing or half done, on a simulated disk", "commits", 0),
    "calls": TrialSet("the same with strace on a real process and disk", "system_calls", 0),
    "power": TrialSet("power loss on a simulated disk: what was not synced is lost, torn or reordered", "power_loss", 10_000),
    "damage": TrialSet("damaged commits and models", "damage", 10_000),
    "kept samples": TrialSet("damaged samples in run folders", "kept_samples", 10_000),
    "kept samples in runs": TrialSet("damaged samples and scans of runs that go on", "kept_samples", 500, "run_trials"),
    "hostile inputs": TrialSet("hostile bytes in place of commits and models", "damage", 2_000, "hostile_inputs"),
    "saved parts": TrialSet("commits in mid-pass, whole in every hash, whose sums are not those of rows", "damage", 2_000, "part_trials"),
    "acknowledgements": TrialSet("object stores whose replies are lost", "acknowledgements", 1_000),
    "schedules": TrialSet("simulated schedules: reordered, twice, late, dropped, stale, stopped, resumed", "schedules", 5_000),
    "foreign results": TrialSet("the same with results of workers of another release among them", "schedules", 2_000, "foreign_trials"),
    "ladders": TrialSet("ladders killed at any event, in passes and in the last read; started again", "ladders", 200),
    "killed ladders": TrialSet("ladders killed (SIGKILL) as fits are", "ladders", 100, "kill_trials"),
    "workers": TrialSet("fits on a real cluster whose workers are killed, frozen and retired", "cluster", 20, "worker_trials"),
    "poison": TrialSet("a block that kills every worker that computes it", "cluster", 30, "poison_trials"),
    "schedulers": TrialSet("schedulers killed in the middle of a fit, which goes on with a new one", "cluster", 30, "scheduler_trials"),
    "signals": TrialSet("SIGTERM, SIGINT, SIGHUP and SIGUSR1 to a running fit at any moment", "signals", 300),
    "races": TrialSet("processes that start one run at the same time", "races", 200),
    "bucket races": TrialSet("the same on one run in an object store, whose lease is beaten every second", "races", 200, "bucket_trials"),
    "stores": TrialSet("damaged chunks of data stores", "stores", 3_000),
    "flaky": TrialSet("storage of which a fifth of all reads fail", "flaky", 200),
    "chunk bytes": TrialSet("damaged bytes given to the reader of local chunks, beside zarr's", "direct", 5_000),
    "hostile files": TrialSet("files that would run code or write elsewhere", "hostile", 0),
    "drift": TrialSet("false drift alarms on streams that stay as they are", "drift", 100),
    "live files": TrialSet("damaged files of live mixtures", "live_files", 5_000),
    "live saves": TrialSet("live mixtures killed (SIGKILL) while they feed and save", "live_files", 200, "kill_trials"),
    "addresses": TrialSet("URLs that would read or connect elsewhere", "hostile", 0, "url_trials"),
}
