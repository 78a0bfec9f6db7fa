"""A run's files in an object store: S3, Google Cloud, Azure. Floor 4.

Publishing is a conditional PUT. A reply that was lost makes one's own object look like another's, so after every doubtful reply the
object is read back: the writer's id in it tells. A lease (_lease.py) says who works on a run; the exclusive create is the fence.
"""

__all__ = ["Bucket", "ObjectStore"]

import contextlib
import re
import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Self, final

import obstore
from obstore import exceptions
from obstore.store import from_url

from streamgmm.errors import StorageError
from streamgmm.events import Event
from streamgmm.storage._lease import Lease
from streamgmm.storage.base import AbstractStorage
from streamgmm.wording import redacted_words

ATTEMPTS = 3
# A signal waits for the request that runs: one that is not answered is given up soon, and tried again by us.
PATIENCE: Any = {"timeout": "5s", "connect_timeout": "3s"}
RETRIES: Any = {"max_retries": 1, "retry_timeout": timedelta(seconds=8)}
QUERY = re.compile(r"\?[^\s\"')]+")  # signed addresses carry their signature there
TAKEN = (exceptions.AlreadyExistsError, exceptions.PreconditionError)
REFUSED = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
FAILED = (exceptions.BaseError, OSError)


class Bucket:
    """The requests of a run, one method each, so that a test can put a simulated bucket in their place."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def put_new(self, name: str, content: bytes) -> None:
        """Write what is not there yet."""
        obstore.put(self._store, name, content, mode="create", use_multipart=False)

    def put(self, name: str, content: bytes) -> None:
        """Write, over what is there."""
        obstore.put(self._store, name, content, use_multipart=False)

    def get(self, name: str) -> bytes:
        """Read. Raises FileNotFoundError."""
        return bytes(obstore.get(self._store, name).bytes())

    def names(self, prefix: str) -> list[str]:
        """Everything below."""
        return [str(found["path"]) for batch in obstore.list(self._store, prefix or None) for found in batch]

    def delete(self, name: str) -> None:
        """Remove; what is not there is no error."""
        with contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, name)


@final
class ObjectStore(AbstractStorage):
    """A prefix of a bucket. shown: the address for messages, without credentials."""

    def __init__(self, bucket: Bucket, shown: str) -> None:
        self.writer = secrets.token_hex(8)
        self._bucket = bucket
        self._shown = shown
        self._is_open = False
        self._lease = Lease(self, self.writer)

    @classmethod
    def at(cls, url: str, shown: str) -> Self:
        """The prefix that a URL names. Raises ValueError, without the library's words, for one that it does not take."""
        try:
            return cls(Bucket(from_url(url, client_options=PATIENCE, retry_config=RETRIES)), shown)
        except FAILED as error:
            raise ValueError(f"{shown} is no address of an object store: {_said(error)}") from None

    # ---- opening -----------------------------------------------------------------------------------------------------

    def open(self) -> list[Event]:
        """See the base class."""
        self._probe()
        remarks = self._lease.take()
        self._is_open = True
        return remarks

    def _probe(self) -> None:
        """Some stores take the condition and ignore it."""
        name = f"probe-{self.writer}"
        self.create(name, b"one")
        try:
            self.create(name, b"two")
        except FileExistsError:
            return
        finally:
            self.remove(name)
        raise StorageError(f"{self._shown}: the store overwrites what it was told not to (If-None-Match); use one that honours it")

    def close(self) -> None:
        """See the base class."""
        if self._is_open:
            self._lease.release()
        self._is_open = False

    def refuse_if_lost(self) -> None:
        """See the base class."""
        if self._is_open:
            self._lease.check()

    @property
    def is_open(self) -> bool:
        """See the base class."""
        return self._is_open

    # ---- contents ----------------------------------------------------------------------------------------------------

    def create(self, name: str, content: bytes, *, last: bool = False) -> None:
        """See the base class."""
        del last
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._named("write", name):
                    self._put(name, content)
            except StorageError:
                if attempt == ATTEMPTS:
                    raise
            else:
                return

    def _put(self, name: str, content: bytes) -> None:
        try:
            self._bucket.put_new(name, content)
        except FAILED as error:
            found = self._found(name)
            if found == content:
                return
            if found is not None:
                raise FileExistsError(f"{self._shown}/{name} is there already") from None
            if isinstance(error, TAKEN):
                raise StorageError(f"{self._shown}/{name} was there, and is gone; start again") from None
            raise

    def overwrite(self, name: str, content: bytes) -> None:
        """Write over what is there: for what only its writer changes, and nobody relies on."""
        with self._named("write", name):
            self._bucket.put(name, content)

    def _found(self, name: str) -> bytes | None:
        try:
            return self._bucket.get(name)
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        """See the base class."""
        with self._named("read", name):
            return self._bucket.get(name)

    def names(self, folder: str) -> list[str]:
        """See the base class."""
        prefix = f"{folder}/" if folder else ""
        with self._named("list", folder):
            found = [name.removeprefix(prefix) for name in self._bucket.names(folder) if name.startswith(prefix)]
        return sorted({name.partition("/")[0] for name in found})

    def remove(self, name: str) -> None:
        """See the base class."""
        with self._named("remove", name):
            self._bucket.delete(name)

    def rename(self, name: str, other: str) -> None:
        """See the base class. Killed in between, both names are there."""
        content = self.read(name)
        with contextlib.suppress(FileExistsError):
            self.create(other, content)
        self.remove(name)

    def describe(self) -> str:
        """See the base class."""
        return self._shown

    @contextlib.contextmanager
    def _named(self, verb: str, name: str) -> Iterator[None]:
        """The library's errors as ours: its messages hold addresses, which may hold secrets, and are cut to one redacted line."""
        try:
            yield
        except (FileNotFoundError, FileExistsError, StorageError):
            raise
        except exceptions.NotSupportedError as error:
            raise StorageError(f"{self._shown}: the store cannot {verb} as a run needs it ({_said(error)}); use s3, gs or az") from None
        except REFUSED as error:
            raise StorageError(f"cannot {verb} {self._shown}/{name}: credentials refused ({type(error).__name__})") from None
        except FAILED as error:
            raise StorageError(f"cannot {verb} {self._shown}/{name}: {_said(error)}; start again to go on") from None


def _said(error: BaseException) -> str:
    return QUERY.sub("?...", redacted_words(str(error).partition("\n")[0]))[:300]
