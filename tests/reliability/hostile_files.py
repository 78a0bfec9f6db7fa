"""Files made to do harm when they are read: each is made in a folder of its own and said how it is opened.

A payload leaves a file at `trace` when it runs. What leads out of a folder points at `outside`, which nobody may touch.
"""

import gzip
import io
import json
import marshal
import os
import pickle
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamgmm import commands
from streamgmm.checkpoint import Run
from streamgmm.commands.settings import resolve
from streamgmm.commands.where import Where
from streamgmm.errors import CheckpointError, ConfigError, DataError, SecurityError
from streamgmm.model_file import load_model
from streamgmm.sources import open_source

ANY_FIT = {"n_components": 2, "init": "random", "max_iter": 2, "where": Where(executor="serial")}


@dataclass(frozen=True)
class Hostile:
    """name: of the case. make: puts it into a folder. opens: reads it. refused: classes of errors that are right."""

    name: str
    make: Callable[[Path], object]
    opens: Callable[[Path], object]
    refused: tuple[type[Exception], ...]


class Payload:
    """Runs when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self._trace = str(trace)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (Path(self._trace),)


def read_rows(folder: Path) -> object:
    """Open a store and read all of it."""
    return [block.n_rows for block in open_source(folder / "store").blocks()]


def foreign(trace: Path) -> dict[str, bytes]:
    """Files of other programs, most of which run code when those load them."""
    pickled = {f"pickle {p}": pickle.dumps(Payload(trace), p) for p in range(6)}
    torch, arrays = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(torch, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Payload(trace)))
    np.savez(arrays, a=np.array([Payload(trace)], object))
    one = io.BytesIO()
    np.save(one, np.array([Payload(trace)], object))
    code = compile(f"open({str(trace)!r}, 'w')", "payload", "exec")
    return {
        **pickled,
        "joblib": zlib.compress(pickle.dumps(Payload(trace))),
        "gzip pickle": gzip.compress(pickle.dumps(Payload(trace))),
        "torch": torch.getvalue(),
        "npz": arrays.getvalue(),
        "npy": one.getvalue(),
        "marshal": marshal.dumps(code),
        "yaml": f"!!python/object/apply:os.system ['touch {trace}']".encode(),
        "script": f"#!/bin/sh\ntouch {trace}\n".encode(),
        "python": f"open({str(trace)!r}, 'w')".encode(),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "empty": b"",
    }


# ---- models and runs -------------------------------------------------------------------------------------------------------------


def foreign_cases(trace: Path, run: Path) -> Iterator[Hostile]:
    """Other programs' files as a model, inside a model, as a commit, as run.json."""
    for name, raw in foreign(trace).items():
        yield Hostile(f"model: {name}", lambda f, raw=raw: (f / "m").write_bytes(raw), lambda f: load_model(f / "m"), (CheckpointError,))
        yield Hostile(f"commit: {name}", lambda f, raw=raw: one_commit(f, run, raw), lambda f: Run(f / "run").latest(), (CheckpointError,))
    for name in ("pickle 4", "joblib", "yaml"):
        raw = foreign(trace)[name]
        yield Hostile(f"zarr.json: {name}", lambda f, raw=raw: in_model(f, run, raw), lambda f: load_model(f / "m"), (CheckpointError,))
        yield Hostile(f"run.json: {name}", lambda f, raw=raw: in_run(f, run, raw), lambda f: commands.resume(f / "run"), (CheckpointError,))


def one_commit(folder: Path, run: Path, raw: bytes) -> None:
    """A run whose only commit holds these bytes."""
    shutil.copytree(run, folder / "run")
    for path in (folder / "run" / "commits").iterdir():
        path.unlink()
    (folder / "run" / "commits" / "000001.zip").write_bytes(raw)


def in_model(folder: Path, run: Path, raw: bytes) -> None:
    """A model whose metadata are these bytes."""
    shutil.copytree(run / "model.zarr", folder / "m")
    (folder / "m" / "zarr.json").write_bytes(raw)


def in_run(folder: Path, run: Path, raw: bytes) -> None:
    """A run whose record is these bytes."""
    shutil.copytree(run, folder / "run")
    (folder / "run" / "run.json").write_bytes(raw)


JSON_BOMBS = {
    "deep": b"[" * 200_000,
    "deep objects": b'{"a":' * 50_000,
    "NaN": b'{"format": NaN}',
    "infinity": b'{"format": -Infinity}',
    "duplicate keys": b'{"format": "streamgmm-run", "format": 1}',
    "digits": b'{"format_version": ' + b"9" * 5000 + b"}",
    "long": b" " * (5 << 20),
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "surrogate": b'{"format": "\\ud800"}',
    "number": b"1e999",
}


def json_cases(run: Path) -> Iterator[Hostile]:
    """JSON that is large, deep or ambiguous, wherever JSON is read."""
    for name, raw in JSON_BOMBS.items():
        yield Hostile(f"zarr.json: {name}", lambda f, raw=raw: in_model(f, run, raw), lambda f: load_model(f / "m"), (CheckpointError,))
        yield Hostile(f"run.json: {name}", lambda f, raw=raw: in_run(f, run, raw), lambda f: Run(f / "run").record(), (CheckpointError,))
        yield Hostile(
            f"record.json: {name}",
            lambda f, raw=raw: one_commit(f, run, zipped({"record.json": raw})),
            lambda f: Run(f / "run").latest(),
            (CheckpointError,),
        )


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED, mode: int = 0) -> bytes:
    """A zip file; mode: of the entries, as Unix has them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, compression)
    return buffer.getvalue()


SLIPS = (
    "../outside/x",
    "a/../../outside/x",
    "/tmp/outside-x",
    "..\\outside\\x",
    "C:\\x",
    "C:/x",
    "./../outside/x",
    "a//../x",
    "..",
    "a/\0b",
)


def zip_cases(run: Path) -> Iterator[Hostile]:
    """Names that lead out, links and devices as members, bombs, sizes that lie."""
    newest = max((run / "commits").glob("*.zip")).read_bytes()
    with zipfile.ZipFile(io.BytesIO(newest)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    raws = {f"slip {name!r}": zipped({**members, name: b"x"}) for name in SLIPS}
    raws |= {f"slip {name!r} alone": zipped({name: b"x"}) for name in SLIPS}
    raws["symbolic link"] = zipped({"record.json": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777)
    raws["device"] = zipped({"record.json": b""}, mode=stat.S_IFCHR | 0o666)
    raws["bomb"] = zipped({"record.json": bytes(64 << 20)}, zipfile.ZIP_DEFLATED)
    raws["bomb of zips"] = zipped({"record.json": zipped({"a": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)}, zipfile.ZIP_DEFLATED)
    raws["lzma"] = zipped({"record.json": bytes(1 << 20)}, zipfile.ZIP_LZMA)
    raws["many members"] = zipped({f"m{i}": b"" for i in range(20_000)})
    raws["other code before"] = b"#!/bin/sh\nexit 1\n" + newest
    raws["cut"] = newest[: len(newest) // 2]
    raws["lying size"] = newest.replace(len(members["record.json"]).to_bytes(4, "little"), (1 << 31).to_bytes(4, "little"))
    for name, raw in raws.items():
        yield Hostile(
            f"zip: {name}", lambda f, raw=raw: one_commit(f, run, raw), lambda f: Run(f / "run").latest(), (CheckpointError, SecurityError)
        )


def link_cases(run: Path, outside: Path) -> Iterator[Hostile]:
    """Links, pipes and devices where a model's files should be."""
    kinds: dict[str, Callable[[Path], object]] = {
        "link to a secret": lambda p: p.symlink_to(outside / "secret"),
        "link to itself": lambda p: p.symlink_to(p),
        "link to a device": lambda p: p.symlink_to("/dev/zero"),
        "pipe": os.mkfifo,
        "folder": lambda p: p.mkdir(),
    }
    for member in ("zarr.json", "weights/c/0", "means/zarr.json"):
        for kind, put in kinds.items():

            def make(folder: Path, member: str = member, put: Callable[[Path], object] = put) -> None:
                shutil.copytree(run / "model.zarr", folder / "m")
                (folder / "m" / member).unlink()
                put(folder / "m" / member)

            yield Hostile(f"model: {kind} as {member}", make, lambda f: load_model(f / "m"), (CheckpointError,))


def record_cases(run: Path) -> Iterator[Hostile]:
    """Records that are whole and name what they must not."""
    places = (
        "http://127.0.0.1:9/x",
        "simplecache::file:///etc/passwd",
        "reference://x",
        "memory://x",
        "s3://b/../x",
        "https://127.0.0.1/x",
    )
    for place in places:

        def make(folder: Path, place: str = place) -> None:
            record = json.loads((run / "run.json").read_text())
            record["location"]["store"] = place
            in_run(folder, run, json.dumps(record).encode())

        yield Hostile(f"run.json: store {place}", make, lambda f: commands.resume(f / "run"), (SecurityError,))
    for feature in ("../secret", "/etc/passwd", "a\\b"):

        def name(folder: Path, feature: str = feature) -> None:
            record = json.loads((run / "run.json").read_text())
            record["location"]["features"] = [feature]
            in_run(folder, run, json.dumps(record).encode())

        yield Hostile(f"run.json: column {feature}", name, lambda f: commands.resume(f / "run"), (SecurityError,))


# ---- stores ----------------------------------------------------------------------------------------------------------------------

BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
EVIL = ("numcodecs.pickle", "pickle", "numcodecs.json2", "vlen-utf8", "numcodecs.categorize", "evil.plugin", "../../evil", "")


def shard(inner: list[object], index: list[object]) -> dict[str, object]:
    """A codec that holds other codecs."""
    return {"name": "sharding_indexed", "configuration": {"chunk_shape": [4], "codecs": inner, "index_codecs": index}}


def positions(evil: object) -> dict[str, list[object]]:
    """Lists of codecs of format 3 with an evil one at each place."""
    crc = {"name": "crc32c"}
    return {
        "alone": [evil],
        "first": [evil, BYTES],
        "last": [BYTES, evil],
        "middle": [BYTES, evil, crc],
        "in a shard": [shard([BYTES, evil], [BYTES, crc])],
        "in the index of a shard": [shard([BYTES], [BYTES, evil])],
        "in a shard of a shard": [shard([shard([BYTES, evil], [BYTES])], [BYTES])],
    }


def codec_cases(trace: Path) -> Iterator[Hostile]:
    """A codec that runs code, in every position of both formats; the chunk holds what it would run."""
    payload = pickle.dumps(Payload(trace))
    for place, codecs in positions({"name": EVIL[0], "configuration": {}}).items():
        yield store_case(f"v3 codec {place}", {"codecs": codecs}, payload)
    for evil in EVIL[1:]:
        yield store_case(f"v3 codec {evil!r}", {"codecs": [BYTES, {"name": evil}]}, payload)
        yield store_case(f"v3 codec {evil!r} as text", {"codecs": [BYTES, evil]}, payload)
    odd: tuple[object, ...] = (3, None, ["pickle"], {}, {"id": "pickle"}, {"name": ["pickle"]}, {"name": None})
    for value in odd:
        yield store_case(f"v3 codec {value!r}", {"codecs": [BYTES, value]}, payload)
    pickled, utf8, zlib_ = {"id": "pickle"}, {"id": "vlen-utf8"}, {"id": "zlib", "level": 1}
    for name, change in {
        "compressor": {"compressor": pickled},
        "only filter": {"filters": [pickled]},
        "filter before": {"filters": [pickled, utf8], "compressor": zlib_},
        "filter behind": {"filters": [utf8, pickled], "compressor": zlib_},
        "filter and compressor": {"filters": [pickled], "compressor": pickled},
        "plugin": {"compressor": {"id": "evil"}},
    }.items():
        for dtype in ("<f8", "|O"):
            yield store_case(f"v2 {name} {dtype}", change, payload, zarr_format=2, dtype=dtype)


def store_case(name: str, change: dict[str, object], chunk: bytes, *, zarr_format: int = 3, dtype: str = "<f8") -> Hostile:
    """A table `store` of one column with changed metadata."""

    def make(folder: Path) -> None:
        if zarr_format == 3:
            write_v3(folder / "store", (8, 1), change, chunk)
        else:
            write_v2(folder / "store", {"dtype": dtype, **change}, chunk)

    return Hostile(name, make, read_rows, (SecurityError,))


def write_v3(store: Path, shape: tuple[int, ...], change: dict[str, object], chunk: bytes) -> None:
    """An array of one chunk."""
    plain: dict[str, object] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": "float64",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0.0,
        "codecs": [BYTES],
    }
    path = store.joinpath("c", *("0" for _ in shape))
    path.parent.mkdir(parents=True)
    path.write_bytes(chunk)
    (store / "zarr.json").write_text(json.dumps(plain | change))


def write_v2(store: Path, change: dict[str, object], chunk: bytes) -> None:
    """An array of one chunk in the older format."""
    head: dict[str, object] = {"zarr_format": 2, "shape": [8, 1], "chunks": [8, 1], "fill_value": 0, "order": "C"}
    store.mkdir()
    (store / ".zarray").write_text(json.dumps(head | {"compressor": None, "filters": None} | change))
    (store / "0.0").write_bytes(chunk)


def other_store_cases(outside: Path) -> Iterator[Hostile]:
    """Reference sets, links, columns by odd names, configurations."""
    reference = {"version": 1, "refs": {".zgroup": '{"zarr_format": 2}', "a/0": [f"file://{outside}/secret", 0, 8]}}
    raw = json.dumps(reference)
    yield Hostile("reference set", lambda f: (f / "store").write_text(raw), read_rows, (DataError,))
    yield Hostile("reference set .json", lambda f: (f / "s.json").write_text(raw), lambda f: open_source(f / "s.json"), (DataError,))
    yield Hostile(
        "reference set in a URL",
        lambda f: (f / "s.json").write_text(raw),
        lambda f: open_source(f"reference://{f}/s.json"),
        (SecurityError,),
    )
    yield Hostile("link to a store elsewhere", lambda f: group_with(f, outside), read_rows, (SecurityError,))
    for name in ("../secret", "/etc/passwd", "a/../../x", "a\\b", "C:/x", ".."):
        yield Hostile(f"listed column {name}", lambda f, name=name: group_with(f, None, name), read_rows, (SecurityError,))
    for kind, text in {
        "deep": "a = " + "[" * 10_000,
        "dotted": ".".join("a" * 10_000) + " = 1",
        "yaml": "a: !!python/object/apply:os.system ['true']",
        "nul": "store = '\0'",
    }.items():
        yield Hostile(
            f"configuration: {kind}",
            lambda f, text=text: (f / "c.toml").write_text(text),
            lambda f: resolve({}, f / "c.toml"),
            (ConfigError,),
        )


def group_with(folder: Path, link: Path | None, listed: str = "a") -> None:
    """A group whose column `a` is a link, or whose list of columns holds an odd name."""
    store = folder / "store"
    store.mkdir()
    document = {"zarr_format": 3, "node_type": "group", "attributes": {"columns": [listed]}}
    (store / "zarr.json").write_text(json.dumps(document))
    if link is not None:
        (store / "a").symlink_to(link / "column")


def all_cases(trace: Path, run: Path, outside: Path) -> list[Hostile]:
    """Every hostile file."""
    return [
        *foreign_cases(trace, run),
        *json_cases(run),
        *zip_cases(run),
        *link_cases(run, outside),
        *record_cases(run),
        *codec_cases(trace),
        *other_store_cases(outside),
    ]
