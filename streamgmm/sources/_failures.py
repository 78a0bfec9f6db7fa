"""Which failure of a store is which: worth another try, refused for good, or damage. Floor 4.

Storage libraries have errors of their own; here they become the errors of this package, by what they say and not by their class, so that
none of the libraries is imported. Texts of refused credentials are never repeated: they may hold the credentials.
"""

__all__ = ["guarded", "is_refusal", "is_transient"]

import errno
import gzip
import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from streamgmm.errors import ChunkCorruptError, StorageError, StreamGMMError
from streamgmm.wording import one_line, redacted_words

T = TypeVar("T")

TRANSIENT_NUMBERS = {
    *(errno.EIO, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT, errno.ENETDOWN, errno.ENETUNREACH),
    *(errno.ECONNRESET, errno.ECONNABORTED, errno.ECONNREFUSED, errno.EPIPE, errno.EHOSTUNREACH, errno.ENETRESET),
}
TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
STATUS = re.compile(r"(?i)\b(?:status|error|code)\D{0,20}\b([45]\d\d)\b")
REFUSED = re.compile(
    r"(?i)expired ?token|invalid ?token|token (?:has |is )?expired|access ?denied|invalidaccesskeyid|signaturedoesnotmatch"
)
REFUSED_CLASSES = {"UnauthenticatedError", "PermissionDeniedError", "NoCredentialsError", "TokenRetrievalError"}
QUERY = re.compile(r"(?<=\?)[^\s'\"]*=[^\s'\"]*")


def guarded(read: Callable[[], T], where: str) -> T:
    """What `read` gives; whatever it raises becomes StorageError, or ChunkCorruptError where what was read cannot be decoded."""
    try:
        return read()
    except (MemoryError, StreamGMMError):
        raise
    except Exception as error:  # codecs and storage libraries raise what they like
        if is_refusal(error):
            raise StorageError(f"{where}: credentials refused ({_kind(error)}); renew them and start again, the run goes on") from None
        if _from_storage(error):
            raise StorageError(f"{where} cannot be read: {_words(error)}") from error
        raise ChunkCorruptError(
            f"{where} cannot be decoded ({type(error).__name__}: {one_line(error)}): a chunk is damaged or cut short"
        ) from error


def is_refusal(error: BaseException) -> bool:
    """Whether the store refuses who asks (401, 403, an expired token), which no repetition changes. Files have permissions instead."""
    return _from_storage(error) and (
        type(error).__name__ in REFUSED_CLASSES or _status(error) in {401, 403} or bool(REFUSED.search(str(error)))
    )


def is_transient(error: BaseException) -> bool:
    """Whether a storage error may pass by itself: busy, too many requests, reset, timed out, a read error of a disk or network mount."""
    return isinstance(error, StorageError) and any(_passes(cause) for cause in _causes(error))


def _passes(error: BaseException) -> bool:
    if isinstance(error, TimeoutError | ConnectionError) or getattr(error, "errno", None) in TRANSIENT_NUMBERS:
        return True
    status = _status(error)
    return status in TRANSIENT_STATUS or (status is None and type(error).__name__ in {"GenericError", "JoinError"})


def _from_storage(error: BaseException) -> bool:
    # gzip's own error is an OSError without a number; the errors of obstore and of HTTP clients do not derive from OSError
    numbered = isinstance(error, OSError) and error.errno is not None and not isinstance(error, gzip.BadGzipFile)
    foreign = type(error).__module__.partition(".")[0] in {"obstore", "aiohttp", "botocore", "gcsfs", "azure"}
    return numbered or foreign or isinstance(error, TimeoutError | ConnectionError) or _attribute_status(error) is not None


def _status(error: BaseException) -> int | None:
    given = _attribute_status(error)
    if given is not None:
        return given
    found = STATUS.search(str(error))
    return int(found[1]) if found else None


def _attribute_status(error: BaseException) -> int | None:
    status = getattr(error, "status", None)
    return status if isinstance(status, int) and 100 <= status < 600 else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _kind(error: BaseException) -> str:
    status = _status(error)
    return type(error).__name__ if status is None else f"{type(error).__name__}, status {status}"


def _words(error: BaseException) -> str:
    return QUERY.sub("...", redacted_words(one_line(error)))
