"""Where a store may be: local paths and an allow-list of URL schemes. Floor 4.

A store's address may come from a configuration file or another program, so it is looked at before anything is opened: no chained
URLs (they can read local files through a remote one), no schemes that open other protocols, no hosts of this machine or of its
link, where metadata services live. What is NOT defended: a name server that answers otherwise at the second question.
"""

__all__ = ["Location", "locate", "parquet_files", "redacted"]

import ipaddress
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from urllib.parse import unquote, urlsplit

from streamgmm.errors import DataError, SecurityError, nearest
from streamgmm.safe_paths import host_class
from streamgmm.wording import redacted_words

ZARR_DOCUMENTS = ("zarr.json", ".zarray", ".zgroup")
PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")
IPV6_HOST = re.compile(r"//([^/@]*@)?\[[0-9A-Fa-f:.%]*\]")
SCHEMES = ("file", "s3", "gs", "az", "https")


@dataclass(frozen=True)
class Location:
    """A local path or a URL of an allowed scheme; exactly one of the two is set. shown: what messages may print."""

    path: Path | None
    url: str | None
    shown: str


def locate(url_or_path: str | PathLike[str], allow_hosts: Collection[str] = ()) -> Location:
    """Check an address. allow_hosts: names of hosts that may be private ones. Raises SecurityError."""
    text = fspath(url_or_path)
    if "\0" in text:
        raise SecurityError("the address of a store holds a NUL character")
    if "::" in IPV6_HOST.sub("", text):
        raise SecurityError(
            f"{redacted(text)} chains two protocols with '::', which can reach files beside the store; give the store itself"
        )
    if "://" not in text:
        return Location(Path(text).expanduser(), None, text)
    try:
        scheme = urlsplit(text).scheme.lower()
    except ValueError:
        raise SecurityError(f"{redacted(text)} is no URL") from None  # the parser's own words hold the user name and password
    if scheme not in SCHEMES:
        raise SecurityError(
            f"URL scheme {scheme!r} of {redacted(text)} is not allowed; allowed are {', '.join(SCHEMES)}{nearest(scheme, SCHEMES)}"
        )
    return _file(text) if scheme == "file" else _remote(text, scheme, allow_hosts)


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files that a path or pattern stands for, sorted; none where it is a folder of something else, or nothing."""
    if path.is_file():
        return [_refuse_other_file(path)]
    if path.is_dir():
        return [] if any((path / name).exists() for name in ZARR_DOCUMENTS) else _below(path)
    root = Path(path.anchor)
    return sorted(found for found in root.glob(str(path.relative_to(root))) if found.suffix in PARQUET_SUFFIXES)


def redacted(url: str) -> str:
    """The URL without user name, password and query, any of which may be a secret; whatever it is, no error."""
    return redacted_words(url).partition("#")[0] if "://" in url else url


def _refuse_other_file(path: Path) -> Path:
    with path.open("rb") as file:
        if path.suffix in PARQUET_SUFFIXES or file.read(4) == b"PAR1":
            return path
    raise DataError(
        f"{path} is a file of a kind that is not read in place; Parquet and Zarr are. `streamgmm ingest` turns CSV into a store."
    )


def _below(folder: Path) -> list[Path]:
    # HATS catalogues nest their files; names that begin with "_" or "." hold metadata
    found = (path for path in folder.rglob("*") if path.suffix in PARQUET_SUFFIXES and path.is_file())
    return sorted(path for path in found if not any(part.startswith(("_", ".")) for part in path.relative_to(folder).parts))


def _file(text: str) -> Location:
    parts = urlsplit(text)
    if parts.netloc not in {"", "localhost"}:
        raise SecurityError(f"file URL {redacted(text)} names a host; write file:///path")
    return Location(Path(unquote(parts.path)), None, text)


def _remote(text: str, scheme: str, allow_hosts: Collection[str]) -> Location:
    parts = urlsplit(text)
    if ".." in unquote(parts.path).split("/") or "\\" in unquote(text):
        raise SecurityError(f"{redacted(text)} holds '..' or a backslash, which could lead out of the store")
    if not parts.hostname:
        raise DataError(f"{redacted(text)} names no {'host' if scheme == 'https' else 'bucket'}")
    if scheme == "https" and parts.hostname not in allow_hosts:
        _refuse_private(parts.hostname, redacted(text))
    return Location(None, text, redacted(text))


def _refuse_private(host: str, shown: str) -> None:
    try:
        answers = socket.getaddrinfo(host, 443, proto=socket.IPPROTO_TCP)
    except OSError as error:
        raise DataError(f"{shown}: the host name {host!r} is not known ({error.strerror or error})") from error
    for answer in answers:
        kind = host_class(ipaddress.ip_address(str(answer[4][0]).partition("%")[0]))
        if kind is not None:
            raise SecurityError(
                f"{shown}: host {host!r} is {kind}, where services of this machine or network live; name it in allow_hosts if it is meant"
            )
