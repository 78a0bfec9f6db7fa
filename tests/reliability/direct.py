"""Hostile bytes for the reader that decodes chunks by itself: the rows that zarr would give, or ChunkCorruptError, and nothing else."""

import collections
import random
import resource
import tempfile
import zlib
from pathlib import Path

import google_crc32c
import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from streamgmm.errors import ChunkCorruptError
from streamgmm.sources._zarr_chunks import chunk_checks
from streamgmm.sources._zarr_direct import direct_reader
from tests.reliability.outcome import Outcome

CODECS = {
    "none": None,
    "crc32c": [Crc32cCodec()],
    "blosc-lz4": [BloscCodec(cname="lz4", shuffle="shuffle")],
    "blosc-zstd": [BloscCodec(cname="zstd", shuffle="bitshuffle")],
    "blosc-blosclz": [BloscCodec(cname="blosclz", shuffle="noshuffle")],
    "blosc-zlib+crc32c": [BloscCodec(cname="zlib"), Crc32cCodec()],
    "zstd": [ZstdCodec()],
    "zstd+checksum": [ZstdCodec(checksum=True)],
    "gzip": [GzipCodec()],
}
SHAPES = ((61,), (61, 3))
DTYPES = ("<f8", "<f4", "<i2", "<u8")
CHUNK, SHARD = 8, 24
MOST_MEMORY = 128 * 2**10  # KiB that a run may grow by: a wild allocation is larger


def arrays(folder):
    """Readers and files of arrays of every kind."""
    made = []
    for i, (name, codecs) in enumerate(CODECS.items()):
        for sharded in (False, True):
            shape, dtype = SHAPES[i % 2], DTYPES[(i + sharded) % len(DTYPES)]
            rest = shape[1:]
            path = Path(folder, f"{name}{sharded}.zarr")
            shards = (SHARD, *rest) if sharded else None
            rows = np.round(np.random.default_rng(i).normal(scale=1e3, size=shape), 1).astype(dtype)  # compressible
            zarr.create_array(path, shape=shape, dtype=dtype, chunks=(CHUNK, *rest), shards=shards, compressors=codecs, zarr_format=3)[
                ...
            ] = rows
            array = zarr.open_array(path, mode="r")
            reader = direct_reader(chunk_checks(array, name, complete=True))
            made.append((name, reader, array, path / array.metadata.encode_chunk_key((0,) * len(shape))))
    return made


def mutated(raw, rng):
    """Bytes near these, or far from them."""
    kind, at = rng.randrange(8), rng.randrange(len(raw))
    if kind == 0:
        return raw[:at]
    if kind == 1:
        return raw + rng.randbytes(rng.randrange(1, 40))
    if kind == 2:
        return rng.randbytes(rng.randrange(0, 200))
    if kind == 3:
        return raw[:at] + raw[rng.randrange(len(raw)) :]
    if kind == 4:
        return raw + raw
    changed = bytearray(raw)
    near = 24 if kind == 5 else len(raw)  # headers are where sizes are
    for _ in range(rng.randrange(1, 6)):
        changed[rng.randrange(min(near, len(raw)))] = rng.choice((0, 255, 127, 128, rng.randrange(256)))
    if kind == 7:
        changed[-4:] = google_crc32c.value(bytes(changed[:-4])).to_bytes(4, "little")  # damage that a checksum was made for
    return bytes(changed)


def one_trial(reader, array, file, rng):
    """What came of a damaged first file: refused, as zarr reads it, or what it must not be."""
    raw = file.read_bytes()
    bad = mutated(raw, rng)
    file.write_bytes(bad)
    try:
        rows = reader.rows(0, min(reader.file_rows, array.shape[0]))
    except ChunkCorruptError:
        return "refused" if bad != raw else "RIGHT BYTES REFUSED"
    except Exception as error:  # noqa: BLE001  whatever it is, it is counted
        return f"{type(error).__name__}: {error}"
    else:
        return _as_zarr(rows, array, reader.file_rows)
    finally:
        file.write_bytes(raw)


def _as_zarr(rows, array, n_rows):
    if rows is None:
        return "left to zarr"
    try:
        return "as zarr" if rows.tobytes() == array[:n_rows].tobytes() else "OTHER ROWS THAN ZARR"
    except Exception as error:  # noqa: BLE001  zarr raises what it likes
        return f"READ WHAT ZARR REFUSES: {type(error).__name__}"


def trials(n: int, seed: int) -> Outcome:
    """P18: `n` damaged files."""
    rng, found = random.Random(seed), collections.Counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        made = arrays(folder)
        for _ in range(n):
            name, reader, array, file = rng.choice(made)
            outcome = one_trial(reader, array, file, rng)
            found[name, outcome] += 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    fine = {"refused", "as zarr", "left to zarr"}
    violations = {f"{name}: {outcome}": count for (name, outcome), count in found.items() if outcome not in fine}
    totals = collections.Counter()
    for (_, outcome), count in found.items():
        totals[outcome] += count
    return Outcome(
        "P18", n, sum(violations.values()) + (grown > MOST_MEMORY), {"violations": violations, "found": dict(totals), "KiB grown": grown}
    )


def zstd_frame(rows, *, claimed=None):
    """A Zstandard frame of one raw block; claimed: decoded bytes that its header tells, None for a header that tells nothing."""
    body = (len(rows) << 3 | 1).to_bytes(3, "little") + rows
    head = b"\x00\x50" if claimed is None else b"\xc0\x50" + claimed.to_bytes(8, "little")
    return b"\x28\xb5\x2f\xfd" + head + body


def gzip_bomb(n_bytes):
    """A gzip file of so many zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(2**20)
    return b"".join([*(packer.compress(piece) for _ in range(n_bytes // 2**20)), packer.flush()])
