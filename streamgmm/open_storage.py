"""The storage that an address stands for. Floor 5."""

__all__ = ["open_storage"]

import importlib
import os

from streamgmm.errors import ConfigError, MissingDependencyError, how_to_install
from streamgmm.sources._locations import locate
from streamgmm.storage.base import AbstractStorage
from streamgmm.storage.local_folder import LocalFolder


def open_storage(path_or_url: str | os.PathLike[str], folders: tuple[str, ...] = ()) -> AbstractStorage:
    """A folder, or an object store for URLs of the allowed schemes. Nothing is touched yet.

    Raises SecurityError (scheme, chained URL, private host), MissingDependencyError (object stores need obstore).
    """
    location = locate(path_or_url)
    if location.path is not None:
        return LocalFolder(location.path, folders)
    try:
        found = importlib.import_module("streamgmm.storage.object_store")
    except ImportError as error:
        raise MissingDependencyError(f"{location.shown} is in an object store, which needs obstore; {how_to_install('obstore')}") from error
    try:
        made: AbstractStorage = found.ObjectStore.at(str(location.url), location.shown)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return made
