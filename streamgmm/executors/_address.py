"""Which scheduler addresses are safe to talk to. Floor 4."""

__all__ = ["check_address"]

import ssl
import stat
from pathlib import Path
from urllib.parse import urlsplit

import dask

from streamgmm.errors import ClusterError, ConfigError, SecurityError
from streamgmm.safe_paths import is_loopback
from streamgmm.wording import redacted_words

ENCRYPTED = ("tls", "wss")
TLS_FILES = ("ca-file", "client.cert", "client.key")


def check_address(address: str, *, insecure: bool) -> None:
    """Refuse a scheduler's address that is malformed (ConfigError), or open to others and neither encrypted nor allowed (SecurityError)."""
    if address.startswith("inproc://"):
        return  # this very process
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None:
        raise ConfigError(f"scheduler address {redacted_words(address)!r} is not of the form tls://host:8786 or tcp://127.0.0.1:8786")
    if parts.scheme in ENCRYPTED:
        _check_files()
    elif not (insecure or is_loopback(host)):
        raise SecurityError(
            f"scheduler {redacted_words(address)}: {parts.scheme}:// is unencrypted and unauthenticated: anyone who reaches it can run"
            " code as you. Use a tls:// scheduler, or --insecure-cluster (insecure_cluster=True) on a network that you trust"
        )


def _check_files() -> None:
    """The three files that dask's configuration names: there, a pair that fits, and the key for its owner alone.

    Asked first, because distributed waits for minutes where one is missing. Raises ClusterError, SecurityError.
    """
    found = {name: dask.config.get(f"distributed.comm.tls.{name}", None) for name in TLS_FILES}
    if found["client.key"] and Path(found["client.key"]).is_file():
        _refuse_open_key(Path(found["client.key"]))
    for name, path in found.items():
        if not path or not Path(path).is_file():
            what = f"{path}, which is not there" if path else "nothing"
            raise ClusterError(
                f"a tls:// scheduler needs three files, and dask's configuration names as distributed.comm.tls.{name} {what}; point"
                " DASK_CONFIG to the client's folder (deploy/tls/make-certificates makes one)"
            )
    try:
        ssl.create_default_context(cafile=found["ca-file"]).load_cert_chain(found["client.cert"], found["client.key"])
    except (ssl.SSLError, OSError) as error:
        raise ClusterError(f"certificate {found['client.cert']}, key {found['client.key']} and {found['ca-file']}: {error}") from error


def _refuse_open_key(key: Path) -> None:
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & 0o077:
        raise SecurityError(f"private key {key} has mode {mode:04o}: others can read it; wanted is 0600 (chmod 600 {key})")
