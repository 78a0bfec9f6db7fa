"""P16, P42 and P43: damaged commits and models are found, the good commit before is used, and `verify` says the same as the loader."""

import io
import itertools
import os
import random
import shutil
import stat
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from streamgmm import commit_file
from streamgmm.errors import CheckpointError, SecurityError, StreamGMMError
from streamgmm.executors.base import never
from streamgmm.executors.serial import Serial
from streamgmm.fit import fit_states, run_fit
from streamgmm.model_file import SavedModel, load_model, save_model
from streamgmm.passes import Caller
from streamgmm.reduce import Span
from streamgmm.state import Progress
from streamgmm.verification import verify_run
from tests.reliability.outcome import Outcome
from tests.reliability.schedules import BLOCKS, world
from tests.reliability.simulated_disk import File, Folder, SimulatedDisk
from tests.reliability.small_runs import PLACE, RECORD, remembered_commits, run_on, same_state, small_state

COMMITS = 5
KINDS = ("flip", "flip", "flip", "flip", "truncate", "truncate", "zero", "empty", "swapped", "other run", "deleted", "folder", "fifo")
KINDS += ("appended", "garbage", "pickle", "hostile zip", "hostile json", "bytes swapped")
OF_MODELS = tuple(kind for kind in KINDS if kind not in ("swapped", "other run"))
FILES = ("commits/000003.zip", "commits/000004.zip", "commits/000005.zip", "commits/000005.zip", "run.json")


def trials(n, seed):
    """n damaged files: two in three are of runs, one in three is of a model."""
    rng = random.Random(seed)
    with remembered_commits(), tempfile.TemporaryDirectory() as scratch:
        originals, others = _files(RECORD, 0.0), _files({**RECORD, "source": {"n_rows": 11}}, 0.5)
        model = save_model(Path(scratch, "model.zarr"), _model())
        found = [_run_case(rng, originals, others) if i % 3 else _model_case(rng, model) for i in range(n)]
    wrong = [case for case in found if case[1]]
    remarks = {what: sum(case[1] == what for case in wrong) for what in sorted({case[1] for case in wrong})}
    return Outcome("P16, P42, P43", n, len(wrong), {**remarks, "kinds": len(set(KINDS)), "examples": [case[0] for case in wrong[:5]]})


# ---- runs ------------------------------------------------------------------------------------------------------------------------


def _files(record, shift):
    """Names and contents of a run of five commits, of which three are kept."""
    disk = SimulatedDisk()
    disk.root.change((PLACE.parts[1], Folder()))
    run = run_on(disk)
    with run:
        run.start(record)
        for passes in range(1, COMMITS + 1):
            run.commit(small_state(passes, shift))
    return {name: run.storage.read(name) for name in (*(f"commits/{name}" for name in run.storage.names("commits")), "run.json")}


def _run_case(rng, originals, others):
    name, kind = rng.choice(FILES), rng.choice(KINDS)
    changed = damaged(kind, originals[name], rng, others.get(name, b"x"), originals["commits/000004.zip"])
    label = f"{kind} of {name}"
    if changed == originals[name] or (kind == "swapped" and name == "commits/000004.zip"):
        return label, ""
    disk = _disk_with({**originals, name: changed})
    run = run_on(disk)
    try:
        judged = verify_run(run)
        verdict = _verdict_of_loader(run, name, hostile=kind == "hostile zip")
    except Exception as error:  # noqa: BLE001  (what is looked for)
        return f"{label}: {error!r}"[:300], "another exception"
    if verdict:
        return label, verdict
    return label, "" if judged.faults else "verify disagrees"


def _verdict_of_loader(run, name, *, hostile):
    """What the loader did wrong about a run with one damaged file."""
    seen = []
    expected = 4 if name == "commits/000005.zip" else COMMITS
    try:
        with run:
            run.record()
            found = run.latest(seen.append)
    except SecurityError:
        return "" if hostile else "damage taken for an attack"
    except CheckpointError:
        return "" if name == "run.json" else "refused, though a good commit is there"
    if name == "run.json":
        return "undetected"
    if found is None or not same_state(found.state, small_state(expected)):
        return "wrong commit used"
    return "" if seen else "undetected"


def _disk_with(files):
    disk = SimulatedDisk()
    place = disk.root
    for part in PLACE.parts[1:]:
        place.now[part] = Folder()
        place = place.now[part]
    place.now["commits"] = Folder()
    for name, content in files.items():
        folder, _, base = name.rpartition("/")
        entry = (
            {"folder": Folder(), "fifo": File(special=stat.S_IFIFO)}.get(content) if isinstance(content, str) else File(bytearray(content))
        )
        if entry is not None:
            (place.now[folder] if folder else place).now[base] = entry
    return disk


# ---- models ----------------------------------------------------------------------------------------------------------------------


def _model():
    mixture = small_state(3).best.mixture
    return SavedModel(mixture, ("pm_ra",), ("mas/yr",), (1.0, 2.0, 3.0), {"source": {"n_rows": 10}, "configuration": {}, "passes": 3})


def _model_case(rng, model):
    members = sorted(path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file())
    name, kind = rng.choice(members), rng.choice(OF_MODELS)
    original = (model / name).read_bytes()
    changed = damaged(kind, original, rng, b"", b"")
    if changed == original:
        return name, ""
    try:
        _put(model / name, changed)
        load_model(model)
    except CheckpointError:
        return name, ""
    except Exception as error:  # noqa: BLE001  (what is looked for)
        return f"{kind} of {name}: {error!r}"[:300], "another exception"
    else:
        return f"{kind} of {name}", "undetected in a model"
    finally:
        _clear(model / name)
        (model / name).write_bytes(original)


def _put(path, content):
    _clear(path)
    if content == "folder":
        path.mkdir()
    elif content == "fifo":
        os.mkfifo(path)
    elif content != "deleted":
        path.write_bytes(content)


def _clear(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# ---- damage ----------------------------------------------------------------------------------------------------------------------


def damaged(kind, raw, rng, other, before):
    """Bytes, or the words "deleted", "folder" and "fifo"."""
    at, length = rng.randrange(max(len(raw), 1)), rng.randint(1, 64)
    if kind in ("deleted", "folder", "fifo"):
        return kind
    if kind == "flip":
        return raw[:at] + bytes([raw[at] ^ (1 << rng.randrange(8))]) + raw[at + 1 :] if raw else b"\0"
    if kind == "bytes swapped":
        return raw[:at][::-1] + raw[at:]
    return {
        "truncate": raw[:at],
        "zero": raw[:at] + bytes(len(raw[at : at + length])) + raw[at + length :],
        "empty": b"",
        "swapped": before,
        "other run": other,
        "appended": raw + rng.randbytes(length),
        "garbage": rng.randbytes(rng.choice([1, 100, len(raw)])),
        "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
        "hostile zip": hostile_zip(rng),
        "hostile json": hostile_json(rng),
    }[kind]


def hostile_zip(rng):
    """A zip that asks for too much, leads out, or lies."""
    buffer = io.BytesIO()
    method = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in rng.sample(["record.json", "../../outside", "/etc/outside", "zarr.json", "a\\b", "x" * 300, "é", "record.json "], 3):
            archive.writestr(zipfile.ZipInfo(name), hostile_json(rng), method)
    raw = bytearray(buffer.getvalue())
    for _ in range(rng.randint(0, 3)):
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    return bytes(raw)


def hostile_json(rng):
    """JSON that is too deep, too long, twice, or no JSON."""
    return rng.choice(
        [
            b"[" * 100_000,
            b'{"format": NaN}',
            b'{"a": 1, "a": 2}',
            b'{"format": "streamgmm-run", "format_version": 1, "number": 5, "sha256": {"../x": "0"}, "state": {}}',
            b'{"format": "streamgmm-run", "format_version": 1e999}',
            b'{"format": "streamgmm-run", "format_version": ' + b"9" * 5000 + b"}",
            b"\xff\xfe",
            b"null",
            b'"' + b"\\ud800" * 100 + b'"',
        ]
    )


def hostile_inputs(n, seed):
    """P43: n inputs to the reader of commits; only errors of the package may come out of it."""
    rng, wrong = random.Random(seed), []
    raw = _files(RECORD, 0.0)["commits/000005.zip"]
    disk = _disk_with({})
    for _ in range(n):
        kind = rng.choice(("flip", "zero", "truncate", "hostile zip", "garbage", "bytes swapped", "resealed"))
        content = _resealed(raw, rng) if kind == "resealed" else damaged(kind, raw, rng, b"", b"")
        disk._entry(PLACE / "commits").now = {"000005.zip": File(bytearray(content))}
        try:
            run_on(disk).latest()
        except StreamGMMError:
            continue
        except Exception as error:  # noqa: BLE001  (what is looked for)
            wrong.append(f"{kind}: {error!r}"[:200])
        else:
            wrong += [kind] if content != raw and kind != "resealed" else []
    return Outcome("P43", n, len(wrong), {"examples": wrong[:5]})


def _resealed(raw, rng):
    """Every hash put right after a change, as somebody would who may write there: only the checks of values are left."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    content = bytearray(members[name])
    for _ in range(rng.randint(1, 4)):
        content[rng.randrange(len(content))] = rng.choice([0, 34, 91, 123, 125, 255, rng.randrange(256)])
    members[name] = bytes(content)
    if name != "record.json":
        found, put_right = (commit_file.hashlib.sha256(body).hexdigest().encode() for body in (archive_member(raw, name), members[name]))
        members["record.json"] = members["record.json"].replace(found, put_right)
    return commit_file.zipped(members)


def archive_member(raw, name):
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        return archive.read(name)


# ---- saved parts of a pass -------------------------------------------------------------------------------------------------------


def part_trials(n, seed):
    """n commits, whole in every hash, whose saved part of a pass is not what the rows give: `verify` says what a resume says."""
    rng, here = random.Random(seed), world()
    states = _states_within_passes(here)
    record = {"configuration": {"schedule": "full_batch"}, "source": here.problem.source.fingerprint}
    wrong, found = [], 0
    for _ in range(n):
        state = _with_odd_part(rng.choice(states), rng)
        refused, judged = _said_by_resume(here, state), _said_by_verify(state, record)
        found += bool(refused)
        if (refused or judged) and refused not in judged:
            wrong.append(f"resume: {refused or 'nothing'}; verify: {judged or 'nothing'}"[:300])
    return Outcome("P16, P42", n, len(wrong), {"refused by resume": found, "examples": wrong[:5]})


def _states_within_passes(here):
    """Whole ones, as they are saved."""
    states = []
    for stop_after in range(3, 40, 4):
        asked = itertools.count()
        caller = Caller(stop_requested=lambda asked=asked, last=stop_after: next(asked) >= last, snapshot_due=never)
        state = run_fit(here.problem, here.first, Serial(), caller).state
        if state.progress is not None:
            states.append(state.reopened())
    return states


def _with_odd_part(state, rng):
    """One thing of the saved part changed, or nothing."""
    done = list(state.progress.done)
    at = rng.randrange(len(done))
    span, partial = done[at]
    one, stamp = partial.statistics[0], state.progress.stamp
    kind = rng.choice(("nothing", "rows", "weight", "n", "first", "second", "centre", "negative", "shape", "checksums", "span", "stamp"))
    if kind == "rows":
        one = replace(one, rows=one.rows + rng.choice((-1, 1, 8)))
    elif kind == "weight":
        one = replace(one, weight=one.weight * rng.choice((0.5, 2.0)))
    elif kind == "negative":
        one = replace(one, skipped=-1, rows=one.rows + 1)
    elif kind in ("n", "first", "second", "centre"):
        one = replace(one, components=replace(one.components, **{kind: getattr(one.components, kind) * rng.choice((0.5, 1.5))}))
    elif kind == "shape":
        return replace(state, progress=Progress(stamp, tuple((span, _of_one_component(partial)) for span, partial in done)))
    elif kind == "checksums":
        partial = replace(partial, checksums=np.ones(rng.randrange(40), np.uint32))
    elif kind == "span" and at == len(done) - 1:
        span = rng.choice((Span(span.number + 1, span.level), Span(span.number, span.level + 7), Span(BLOCKS, 0)))
    elif kind == "stamp":
        stamp = "another"
    done[at] = span, replace(partial, statistics=(one,))
    return replace(state, progress=Progress(stamp, tuple(done)))


def _of_one_component(partial):
    one = partial.statistics[0]
    return replace(partial, statistics=(replace(one, components=replace(one.components, n=one.components.n[:1])),))


def _said_by_resume(here, state):
    """Of the state as it comes back from a commit: the error or the warning with which a pass begins; "" where it takes the part."""
    seen = []
    try:
        commit = commit_file.unpack(commit_file.pack(state, commit_file.Link(1))[0], 1)
        next(iter(fit_states(here.problem, commit.state, Serial(), Caller(observe=seen.append, snapshot_due=lambda: True))))
    except CheckpointError as error:
        return str(error)
    return next((event.message for event in seen if event.kind == "warning"), "")


def _said_by_verify(state, record):
    disk = SimulatedDisk()
    disk.root.change((PLACE.parts[1], Folder()))
    run = run_on(disk)
    with run:
        run.start(record)
        run.commit(state)
    return " ".join(verify_run(run).faults)
