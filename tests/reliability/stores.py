"""Damaged stores: codecs x layouts x damages x positions, with and without a manifest, before the first read and after it.

What is detected is counted as it is. A violation is: rows read wrong without a word where a manifest or a checksum should have told; an
error of another class than those for damage; right rows refused of a store that nothing was done to.
"""

import collections
import itertools
import random
import shutil
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from streamgmm.commands import manifest
from streamgmm.errors import ChunkCorruptError, ChunkMissingError
from streamgmm.sources import open_source
from tests.reliability.outcome import Outcome

CODECS = {
    "none": None,
    "zstd": [ZstdCodec(level=1)],
    "zstd+checksum": [ZstdCodec(level=1, checksum=True)],
    "blosc-lz4": [BloscCodec(cname="lz4", shuffle="shuffle")],
    "gzip": [GzipCodec(level=1)],
    "crc32c": [Crc32cCodec()],
    "blosc-lz4+crc32c": [BloscCodec(cname="lz4", shuffle="shuffle"), Crc32cCodec()],
}
CHECKSUMMED = {"zstd+checksum", "gzip", "crc32c", "blosc-lz4+crc32c"}
LAYOUTS = {"chunks": {"chunks": (16,)}, "shards": {"chunks": (8,), "shards": (16,)}}
DAMAGES = ("nothing", "bit flip", "truncated", "emptied", "zeroed", "deleted", "swapped")
N = 96
ROWS = np.random.default_rng(4).normal(size=N)


def make_store(path, codecs, layout):
    """A store of one column in six files."""
    group = zarr.create_group(path, zarr_format=3)
    group.create_array("a", shape=(N,), dtype="f8", compressors=CODECS[codecs], fill_value=0.0, **LAYOUTS[layout])[:] = ROWS
    return path


def damage(folder, kind, rng):
    """Do one damage to one chunk file of the column in a folder, at a random place."""
    numbers = rng.sample(range(N // 16), 2)
    file, other = (folder / "c" / str(number) for number in numbers)
    raw = file.read_bytes()
    if kind == "bit flip":
        at = rng.randrange(8 * len(raw))
        file.write_bytes(raw[: at // 8] + bytes([raw[at // 8] ^ 1 << at % 8]) + raw[at // 8 + 1 :])
    elif kind == "truncated":
        file.write_bytes(raw[: rng.randrange(1, len(raw))])
    elif kind in {"emptied", "zeroed"}:
        file.write_bytes(b"" if kind == "emptied" else bytes(len(raw)))
    elif kind == "deleted":
        file.unlink()
    elif kind == "swapped":
        file.write_bytes(other.read_bytes())
        other.write_bytes(raw)


def read(source):
    """All rows of a column."""
    return np.concatenate([source.load(index)[:, 0] for index in range(source.n_blocks)])


def one_trial(store, kind, phase, rng):
    """What came of it: detected, warned, right rows, WRONG rows without a word, or the name of another error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if phase == "later":
                source = open_source(store, block_rows=16)
                read(source)
                damage(store / "a", kind, rng)
                rows = read(replace(source))  # a pass whose cache is empty
            else:
                damage(store / "a", kind, rng)
                rows = read(open_source(store, block_rows=16))
        except (ChunkCorruptError, ChunkMissingError):
            return "detected"
        except Exception as error:  # noqa: BLE001  whatever it is, it is counted
            return type(error).__name__
    if rows.tobytes() == ROWS.tobytes():
        return "right"
    return "warned" if any("not in the store" in str(warning.message) for warning in caught) else "WRONG"


def is_violation(codecs, with_manifest, kind, phase, found):
    """Whether this must not be. Without a checksum and a manifest nobody can know; two chunks that changed places only a manifest tells."""
    if kind == "nothing":
        return found != "right"
    if found in {"detected", "right"}:
        return False
    if found == "warned":
        return with_manifest or kind != "deleted" or phase == "later"
    told = (
        with_manifest
        or (codecs in CHECKSUMMED and kind != "swapped")
        or kind in {"truncated", "emptied"}
        or (kind, phase) == ("deleted", "later")
    )
    return found != "WRONG" or told


def trials(n: int, seed: int) -> Outcome:
    """P18: `n` damages, spread evenly over what there is to choose from."""
    rng = random.Random(seed)
    cases = list(itertools.product(CODECS, LAYOUTS, (False, True), ("first", "later"), DAMAGES))
    rng.shuffle(cases)
    table, violations = collections.Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        masters = {}
        for codecs, layout, with_manifest, phase, kind in itertools.islice(itertools.cycle(cases), n):
            key = (codecs, layout, with_manifest)
            if key not in masters:
                masters[key] = make_store(Path(folder, f"master{len(masters)}.zarr"), codecs, layout)
                if with_manifest:
                    manifest(masters[key])
            store = Path(folder, "trial.zarr")
            shutil.copytree(masters[key], store)
            found = one_trial(store, kind, phase, rng)
            shutil.rmtree(store)
            table[codecs, layout, with_manifest, phase, kind, found] += 1
            if is_violation(codecs, with_manifest, kind, phase, found):
                violations.append(f"{codecs}, {layout}, manifest {with_manifest}, {phase} read, {kind}: {found}")
    return Outcome("P18", n, len(violations), {"violations": violations[:20], "detection": detection(table)})


def detection(table):
    """`detected/tried` by codec, manifest, read and damage; damage that changed no row counts neither way."""
    shares = {}
    for (codecs, _, with_manifest, phase, kind, found), count in sorted(table.items(), key=str):
        if kind != "nothing" and found != "right":
            row = shares.setdefault(f"{codecs}, {'with' if with_manifest else 'no'} manifest, {phase} read", {})
            told, tried = row.get(kind, (0, 0))
            row[kind] = (told + count * (found in {"detected", "warned"}), tried + count)
    return {name: {kind: f"{told}/{tried}" for kind, (told, tried) in row.items()} for name, row in shares.items()}
