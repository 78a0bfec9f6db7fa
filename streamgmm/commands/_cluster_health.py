"""What `doctor` asks a cluster: size, traffic, versions, numeric profiles, a read on every worker. Floor 8."""

__all__ = ["ask", "profiles", "reads", "size", "traffic", "versions"]

from collections import Counter
from typing import Any

from streamgmm.errors import SecurityError
from streamgmm.executors._worker_checks import (
    Answers,
    ask,
    failed_reads,
    refuse_other_profiles,
    refuse_other_versions,
    refuse_unread_rows,
)
from streamgmm.numeric_profile import UNCOUNTED, differences
from streamgmm.safe_paths import is_loopback
from streamgmm.sources.base import AbstractSource
from streamgmm.wording import human_bytes


def size(client: Any) -> str:
    """Workers, threads, memory."""
    workers = list(client.scheduler_info(n_workers=-1)["workers"].values())
    threads = sum(worker["nthreads"] for worker in workers)
    memory = min(worker["memory_limit"] for worker in workers)
    limit = f"at least {human_bytes(memory)} each" if memory else "no memory limit (start workers with --memory-limit)"
    return f"{len(workers)} worker(s), {threads} thread(s), {limit}"


def traffic(client: Any) -> str:
    """Whether the scheduler and the workers listen to others without encryption. Raises SecurityError naming those that do."""
    addresses = [client.scheduler.address, *client.scheduler_info(n_workers=-1)["workers"]]
    open_ones = [address for address in addresses if not _is_safe(address)]
    if open_ones:
        raise SecurityError(
            f"{len(open_ones)} process(es) listen to other machines without encryption: {', '.join(open_ones[:5])}. Anyone who reaches"
            " them can run code there; start them with TLS (deploy/tls)"
        )
    return "encrypted, or on this machine only"


def _is_safe(address: str) -> bool:
    scheme, _, rest = address.partition("://")
    return scheme in {"tls", "wss", "inproc"} or is_loopback(rest.rpartition(":")[0].strip("[]"))


def versions(answers: Answers) -> str:
    """That they agree. Raises ClusterError with the table of differences."""
    refuse_other_versions(answers)
    return ", ".join(f"{name} {version}" for name, version in answers.versions["client"].items())


def profiles(answers: Answers) -> tuple[str, bool]:
    """What the workers' profile is, and whether it is this process's. Raises WorkerProfileError where workers differ among themselves."""
    workers = {who: profile for who, profile in answers.profiles.items() if who != "client"}
    # What most workers have, whoever answered first; this process's where there are none.
    alike = Counter(tuple(sorted((name, value) for name, value in one.items() if name not in UNCOUNTED)) for one in workers.values())
    common = dict(alike.most_common(1)[0][0]) if alike else answers.profiles["client"]
    refuse_other_profiles(answers, common)
    other = differences(answers.profiles["client"], common)
    if not other:
        return "the same on every worker and here", True
    pairs = "; ".join(f"{name}: {theirs} there, {own} here" for name, (own, theirs) in other.items())
    return f"the same on every worker, another one here ({pairs}): a fit in this process alone would give other last bits", False


def reads(client: Any, source: AbstractSource) -> str:
    """That every worker reads what this process reads. Raises ClusterError naming those that do not."""
    refuse_unread_rows(failed_reads(client, source))
    return "every worker reads the first block, the same as here"
