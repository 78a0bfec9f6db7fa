"""All trial sets at full size, and RELIABILITY.md from what they found: promise, trials, violations, bound, conditions.

    python -m tests.reliability                      everything: hours on two cores
    python -m tests.reliability --only kills races   some sets
    python -m tests.reliability --share 0.05         a twentieth of the trials of each set
    python -m tests.reliability --only signals --share 0.25 --seed 1      a slice of a set, beside those of other seeds
    python -m tests.reliability --write RELIABILITY.md

Each set runs in a process of its own; its seed and its figures are kept in a JSON file beside the table (--json), from which later calls
fill in what they do not run again. What is run with another seed is added to what is kept of a set; with the same seed, or --anew, it takes
its place. Exits 1 where a promise was violated, or a set did not end.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.reliability.joining import joined, quantiles, with_slice
from tests.reliability.sets import SETS

SEEDS_APART = 1_000_000  # many sets count on from their seed
HEAD = "| promise | what was done | trials | violations | bound (95 %) | what else was seen |\n|---|---|---:|---:|---:|---|\n"


def main():
    """Run what was asked for, keep it, write the table."""
    given = _options()
    kept = kept_in(given.json)
    for name in () if given.table else given.only or SETS:
        _say(f"{name}: {SETS[name].what}")
        found = _run(name, given)
        adds = SETS[name].trials and not given.anew  # a set without a number takes all there are: a second time adds nothing
        kept[name] = with_slice(kept.get(name, []) if adds else [], found)
        _say(f"  {found}")
        given.json.write_text(json.dumps(kept, indent=1))
    text = table_of({name: kept[name] for name in SETS if name in kept})
    _say(text)
    if given.write:
        given.write.write_text(text, encoding="utf-8")
    sys.exit(1 if any(one["violations"] for slices in kept.values() for one in slices) else 0)


def kept_in(path):
    """Slices by set; in older files, a set is its one slice."""
    found = json.loads(path.read_text()) if path.exists() else {}
    return {name: slices if isinstance(slices, list) else [slices] for name, slices in found.items()}


def _say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SETS, metavar="SET", help=", ".join(SETS))
    parser.add_argument("--share", type=float, default=1.0, help="of the trials of each set")
    parser.add_argument("--seed", type=int, default=0, help="of a slice")
    parser.add_argument("--anew", action="store_true", help="forget what is kept of the sets that are run")
    parser.add_argument("--json", type=Path, default=Path("reliability.json"), help="what was found, set by set")
    parser.add_argument("--table", action="store_true", help="run nothing: the table of what was found before")
    parser.add_argument("--write", type=Path, help="where the table goes, besides standard output")
    parser.add_argument("--limit", type=float, default=7200.0, help="seconds after which a set counts as hanging")
    parser.add_argument("--inside", choices=SETS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        _inside(given)
    return given


def _inside(given):
    """In the process of one set: run it and print what it found."""
    one = SETS[given.inside]
    found = importlib.import_module(f"tests.reliability.{one.module}")
    n = one.trials and max(1, round(one.trials * given.share))  # 0: all there are
    outcome = getattr(found, one.function)(n, given.seed * SEEDS_APART)
    _say(json.dumps(asdict(outcome)))
    sys.exit(0)


def _run(name, given):
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.reliability", "--inside", name, "--share", str(given.share), "--seed", str(given.seed)]
    when = {"seed": given.seed, "date": datetime.now(UTC).date().isoformat(), "machine": f"{os.cpu_count()} cores, {platform.machine()}"}
    when["load"] = round(os.getloadavg()[0], 1)  # what else ran: seconds are to be read with it
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=given.limit, check=False)
    except subprocess.TimeoutExpired:
        return {**when, "promise": "P29", "trials": 0, "violations": 1, "remarks": {"hang": f"not done after {given.limit:g} s"}}
    seconds = round(time.monotonic() - began)
    if done.returncode:
        return {**when, "promise": "?", "trials": 0, "violations": 1, "remarks": {"ended with": done.returncode}, "seconds": seconds}
    return {**when, **json.loads(done.stdout.splitlines()[-1]), "seconds": seconds}


def table_of(kept):
    """Markdown: a line for each set."""
    whole = {name: joined(slices) for name, slices in kept.items()}
    lines = [_line(SETS[name].what, found) for name, found in whole.items()]
    days = {f"{one['date']} on {one['machine']}, Python {platform.python_version()}" for slices in kept.values() for one in slices}
    details = [_details(SETS[name].what, found["remarks"]) for name, found in whole.items()]
    return INTRODUCTION + f"Made {'; '.join(sorted(days))}.\n\n" + HEAD + "".join(lines) + "".join(details) + NOT_SHOWN


def _details(what, remarks):
    """A table of its own for what was counted in two ways."""
    text = ""
    for tables in (value for value in remarks.values() if _is_table(value)):
        columns = sorted({name for row in tables.values() for name in row})
        text += f"\n{what[0].upper()}{what[1:]}: how many were detected\n\n| | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}\n"
        text += "".join(f"| {name} | {' | '.join(str(row.get(one, '-')) for one in columns)} |\n" for name, row in tables.items())
    return text


def _is_table(value):
    return isinstance(value, dict) and bool(value) and all(isinstance(one, dict) for one in value.values())


def _line(what, found):
    bound = "-" if found["violations"] or not found["trials"] else f"{300 / found['trials']:.2g} %"
    remarks = "; ".join(
        f"{key}: {_said(value)}" for key, value in found["remarks"].items() if value not in ([], {}, None, "") and not _is_table(value)
    )
    return f"| {found['promise']} | {what} | {found['trials']:,} | {found['violations']} | {bound} | {remarks} |\n"


def _said(value):
    if isinstance(value, dict) and "values" in value:
        return _said(quantiles(value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_said(one)}" for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_said(one) for one in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "/")


INTRODUCTION = """# What was tried to break streamgmm, and what came of it

Written by `python -m tests.reliability --write RELIABILITY.md`; a sample of every set is part of the test suite. No violation in N trials
means that with 95 % confidence fewer than 3/N of such trials would show one: it never means "never".

"""

NOT_SHOWN = """
Not shown by any of this: real power loss and disks that lie about it, network file systems, real object stores, hosts of different
hardware, clusters of many machines. Where these are covered at all, they are simulated.

Of damaged chunks only the store's own means are counted above; a fit compares every block with the pass before in addition, and finds from
its second pass on whatever changes a row. What no checksum, no manifest and no earlier pass can tell is not noticed.
"""


if __name__ == "__main__":
    main()
