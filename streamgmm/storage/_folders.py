"""Folders of small files, such as a model, in a storage that has none. Floor 4."""

__all__ = ["get_folder", "put_folder"]

from pathlib import Path

from streamgmm.errors import SecurityError
from streamgmm.storage.base import AbstractStorage


def put_folder(storage: AbstractStorage, name: str, folder: Path, root: str) -> None:
    """Replace what is there. The file `root` goes first and comes last: without it, nobody takes the rest for a whole."""
    members = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    storage.remove(f"{name}/{root}")
    for member in sorted(members, key=lambda member: member == root):
        storage.remove(f"{name}/{member}")
        storage.create(f"{name}/{member}", (folder / member).read_bytes())


def get_folder(storage: AbstractStorage, name: str, into: Path) -> None:
    """Copy what is there; nothing where nothing is there."""
    for base in storage.names(name):
        if base in {"", ".", ".."} or "/" in base or "\\" in base:
            raise SecurityError(f"{storage.describe()}/{name} holds the name {base!r}, which could lead out of it")
        into.mkdir(exist_ok=True)
        if storage.names(f"{name}/{base}"):
            get_folder(storage, f"{name}/{base}", into / base)
        else:
            (into / base).write_bytes(storage.read(f"{name}/{base}"))
