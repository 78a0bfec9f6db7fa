"""Names from files and hosts from addresses, before anything is opened by them. Floor 0.

A name in an untrusted file must stay below the folder it is read from; a host may be this machine or its link, where services live
that trust whoever reaches them. It is NOT where schemes of URLs are chosen: each front door has its own list.
"""

__all__ = ["check_member", "host_class", "is_loopback", "safe_join"]

import ipaddress
from pathlib import Path

from streamgmm.errors import SecurityError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_member(name: str, what: str = "column name") -> str:
    """A name of something inside a store, commit or folder: it must stay inside. Raises SecurityError."""
    parts = name.split("/")
    bad = next((part for part in parts if part in {"", ".", ".."} or "\\" in part or "\0" in part), None)
    if bad is not None or name[1:2] == ":":
        why = "an absolute path" if name.startswith("/") else f"the part {bad!r}" if bad is not None else "a drive letter"
        raise SecurityError(f"{what} {name!r} holds {why}, which could lead out of its folder; use plain names")
    return name


def safe_join(root: Path, name: str, what: str = "file name") -> Path:
    """`root/name`, which lies below `root` after all links are followed. Raises SecurityError."""
    path = root / check_member(name, what)
    if not path.resolve().is_relative_to(root.resolve()):
        raise SecurityError(f"{what} {name!r} is a link that leads out of {root}; put the file itself there")
    return path


def is_loopback(host: str) -> bool:
    """Whether a host, named by number or as localhost, is this machine. No name server is asked."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_class(address: IPAddress) -> str | None:
    """What kind of address this is where services of this machine or network live; None for one that is public."""
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return host_class(mapped)
    if address.is_global and not address.is_multicast:
        return None
    kinds = {"is_loopback": "a loopback address", "is_link_local": "a link-local address", "is_unspecified": "an unspecified address"}
    return next((words for kind, words in kinds.items() if getattr(address, kind)), "a private or reserved address")
