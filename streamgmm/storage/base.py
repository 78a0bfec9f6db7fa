"""Named, immutable contents: the abstract role. Floor 4.

A storage knows names and bytes, nothing of commits. A content appears whole or not at all, under a name that nobody had, and is
durable when `create` returns. Names are relative, with "/" between folders.
"""

__all__ = ["AbstractStorage"]

from abc import ABC, abstractmethod

from streamgmm.events import Event


class AbstractStorage(ABC):
    """Files of one run. Every error of the system or the network comes out as StorageError, except where a method says otherwise."""

    writer = ""
    """Identifies this writer in what it writes, where a lost acknowledgement can make its own content look like another's."""

    @abstractmethod
    def open(self) -> list[Event]:
        """Make the place where there is none, lock it, probe it and remove what killed writers left; remarks for the observer.

        Raises RunLockedError, SecurityError (others may write there), StorageError (what publishing needs does not work there).
        """

    @abstractmethod
    def close(self) -> None:
        """Let the lock go."""

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether this storage was opened for writing."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content. Raises FileNotFoundError, CheckpointCorruptError (it cannot be read as a file, or is far too large)."""

    @abstractmethod
    def create(self, name: str, content: bytes, *, last: bool = False) -> None:
        """Write a content under a name that nobody has; the last one of a process may take the room that `reserve` kept.

        Raises FileExistsError where another's content has the name.
        """

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Sorted names of what lies directly in a folder ("" for the place itself), without the folder; none where it is not there."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a content; one that is not there is no error."""

    @abstractmethod
    def rename(self, name: str, other: str) -> None:
        """Give a content, readable or not, another name in the same folder."""

    @abstractmethod
    def describe(self) -> str:
        """For messages, without credentials."""

    def refuse_if_lost(self) -> None:  # noqa: B027  (a lock that dies with its process cannot be lost)
        """Called around every commit. Raises RunLockedError where another process is known to have taken this place over."""

    def reserve(self, size: int) -> None:
        """Keep room for a last content of this size on a full disk, where that is possible; a full disk is no error."""
        del size
