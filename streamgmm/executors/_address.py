"""Which scheduler addresses are safe to talk to. Floor 4."""

__all__ = ["check_address"]

import stat
from pathlib import Path
from urllib.parse import urlsplit

import dask

from streamgmm.errors import ConfigError, SecurityError
from streamgmm.safe_paths import is_loopback
from streamgmm.wording import redacted_words

ENCRYPTED = ("tls", "wss")


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
        _refuse_open_key()
    elif not (insecure or is_loopback(host)):
        raise SecurityError(
            f"scheduler {redacted_words(address)}: {parts.scheme}:// is unencrypted and unauthenticated: anyone who reaches it can run"
            " code as you. Use a tls:// scheduler, or --insecure-cluster (insecure_cluster=True) on a network that you trust"
        )


def _refuse_open_key() -> None:
    """The private key that dask's configuration names must be readable by its owner alone."""
    key = dask.config.get("distributed.comm.tls.client.key", None)
    if key is None or not Path(key).is_file():
        return  # distributed says what it needs
    mode = stat.S_IMODE(Path(key).stat().st_mode)
    if mode & 0o077:
        raise SecurityError(f"private key {key} has mode {mode:04o}: others can read it; wanted is 0600 (chmod 600 {key})")
