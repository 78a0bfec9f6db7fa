"""Whether the processes of a cluster fit together: versions, numeric profiles. Floor 4.

Asked before the first block is sent, because a mismatch shows itself otherwise as an error of unpickling deep inside a task, or as
other last bits and nothing else.
"""

__all__ = [
    "Answers",
    "ask",
    "failed_reads",
    "refuse_other_profiles",
    "refuse_other_versions",
    "refuse_unfit_cluster",
    "refuse_unread_rows",
    "version_table",
]

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from dask.delayed import Delayed

from streamgmm.errors import ClusterError, WorkerProfileError
from streamgmm.numeric_profile import LIBRARIES, differences, numeric_profile, version_of
from streamgmm.sources.base import AbstractSource
from streamgmm.wording import redacted_words

COMPARED = (*LIBRARIES, "dask", "distributed", "cloudpickle", "msgpack", "zarr", "numcodecs", "threadpoolctl")
MOST_WORKERS_NAMED = 8

Table = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Answers:
    """Versions of this process, the scheduler and every worker, and the workers' profiles; who gave none stands in `silent`."""

    versions: Table
    profiles: Table
    silent: Mapping[str, str]


def own_answer() -> dict[str, Mapping[str, str]]:
    """Runs in every process: its versions and its numeric profile."""
    return {"versions": own_versions(), "profile": numeric_profile()}


@cache
def own_versions() -> Mapping[str, str]:
    """Runs in every process: versions of what client, scheduler and workers must have in common. Looked up once: it takes milliseconds."""
    return {"python": ".".join(platform.python_version_tuple()[:2]), **{name: version_of(name) for name in COMPARED}}


def ask(client: Any) -> Answers:
    """Ask the scheduler and every worker of a distributed.Client. A process that cannot import streamgmm gives no answer."""
    found: dict[str, Any] = {"client": own_answer()}
    try:
        found["scheduler"] = {"versions": client.run_on_scheduler(own_versions), "profile": {}}
    except Exception as error:  # noqa: BLE001  (whatever the other side's Python raised)
        found["scheduler"] = error
    found |= client.run(own_answer, on_error="return")
    good = {name: answer for name, answer in found.items() if isinstance(answer, dict)}
    return Answers(
        {name: answer["versions"] for name, answer in good.items()},
        {name: answer["profile"] for name, answer in good.items() if answer["profile"]},
        {name: f"{type(answer).__name__}: {answer}" for name, answer in found.items() if name not in good},
    )


def version_table(answers: Answers) -> list[str]:
    """One line for each library that differs: `zarr: client 3.1.6; tcp://... 3.2.0`, and one for each process without an answer."""
    lines = [f"{who} does not answer ({why}); is the same streamgmm installed there?" for who, why in answers.silent.items()]
    libraries = dict.fromkeys(name for versions in answers.versions.values() for name in versions)
    for library in libraries:
        holders: dict[str, list[str]] = {}
        for who, versions in answers.versions.items():
            holders.setdefault(versions.get(library, "missing"), []).append(who)
        if len(holders) > 1:
            lines.append(f"{library}: " + "; ".join(f"{version} at {_named(who)}" for version, who in holders.items()))
    return lines


def refuse_other_versions(answers: Answers) -> None:
    """Raises ClusterError with the table of what differs between client, scheduler and workers."""
    lines = version_table(answers)
    if lines:
        raise ClusterError(
            f"client, scheduler and workers do not have the same software: {' | '.join(lines)}. Install the same versions everywhere, or"
            " start all of them from one image."
        )


def refuse_other_profiles(answers: Answers, expected: Mapping[str, str] | None = None) -> None:
    """Raises WorkerProfileError naming each worker whose profile differs from `expected` (by default this process's), and the keys."""
    wanted = answers.profiles["client"] if expected is None else expected
    odd = {who: differences(wanted, profile) for who, profile in answers.profiles.items() if who != "client"}
    told = [f"{who} ({_pairs(keys)})" for who, keys in odd.items() if keys]
    if told:
        raise WorkerProfileError(
            f"{len(told)} worker(s) would give other last bits than expected: {'; '.join(told[:MOST_WORKERS_NAMED])}. Use machines of one"
            " kind with the same libraries, or do without strict mode."
        )


def refuse_unfit_cluster(executor: Any, source: AbstractSource) -> None:
    """Versions and a first read, before a fit on a cluster that somebody else has started. Raises ClusterError."""
    refuse_other_versions(ask(executor.client))
    refuse_unread_rows(failed_reads(executor.client, source))


def refuse_unread_rows(failed: Mapping[str, str]) -> None:
    """Raises ClusterError naming the workers that cannot read the rows."""
    if failed:
        told = [f"{who} ({why})" for who, why in list(failed.items())[:MOST_WORKERS_NAMED]]
        raise ClusterError(
            f"{len(failed)} worker(s) cannot read the rows: {'; '.join(told)}. Put the store where every worker sees it under the same"
            " address, and give the workers the credentials."
        )


def failed_reads(client: Any, source: AbstractSource) -> dict[str, str]:
    """Workers that cannot read the first block, and why. Empty where no worker reads a store itself (rows in memory, a Dask graph)."""
    piece = source.portable(0, 1) if source.n_blocks and source.repeatable and not source.in_memory else None
    if piece is None or isinstance(piece, Delayed):
        return {}
    expected = first_rows(source)
    answers = client.run(first_rows, piece, on_error="return")
    return {who: redacted_words(_why(found)) for who, found in answers.items() if found != expected}


def first_rows(source: AbstractSource) -> str:
    """Runs here and on every worker: a digest of the first block. A store that is not there may read as fill values, without an error."""
    return hashlib.sha256(np.ascontiguousarray(source.read(0).x).tobytes()).hexdigest()


def _why(found: Any) -> str:
    if isinstance(found, Exception):
        return f"{type(found).__name__}: {found}"
    return "it reads other rows under the same address; does it see the same files?"


def _pairs(keys: Mapping[str, tuple[str, str]]) -> str:
    return ", ".join(f"{name} {found!r} instead of {wanted!r}" for name, (wanted, found) in keys.items())


def _named(who: list[str]) -> str:
    more = len(who) - MOST_WORKERS_NAMED
    return ", ".join(who[:MOST_WORKERS_NAMED]) + (f" and {more} more" if more > 0 else "")
