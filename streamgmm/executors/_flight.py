"""The spans of one pass that are under way on a cluster: sent, lost, refused, suspected. Floor 4.

A span whose workers died again and again is suspected, and with it those that happened to run beside: their blocks are computed
again, each alone, so that the block that kills is found and all others keep their results.
"""

__all__ = ["SPANS_AHEAD", "Flight"]

import itertools
import queue
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

import distributed
from dask.base import tokenize
from dask.delayed import Delayed

from streamgmm.errors import ClusterError, NumericalError, PoisonBlockError, SchedulerLostError
from streamgmm.events import Event
from streamgmm.executors._background import in_background
from streamgmm.executors._span_task import Answer, Work, run_span
from streamgmm.executors.base import PATIENCE, WAITING, Found, Sound
from streamgmm.reduce import Span
from streamgmm.sources.base import AbstractSource

SPANS_AHEAD = 3  # tasks a thread that are outstanding, at most
MOST_LOSSES = 10  # of one span in a pass: cancelled by somebody, or gone with its scheduler
ENOUGH_DEATHS = 3  # of workers that computed one block alone
LEAVING = 1.0  # seconds that a pass left early waits for its tasks to be cancelled


@dataclass(frozen=True, eq=False)
class _Gathered:
    """The values of some futures, or why they did not come."""

    futures: list[Any]
    call: "Future[list[Any]]"


@dataclass(frozen=True)
class _Refusal:
    """A result that was refused: by whom it was computed, why, and its token."""

    worker: str
    fault: str
    token: str


class Flight:
    """Sends spans, takes what comes, and sends again what did not.

    threads: of each worker, kept up to date by others. todo: spans in the order in which they are sent. sound: what is wrong with a
    result. odd: workers of another numeric profile that were told already.
    """

    def __init__(
        self,
        client: Any,
        threads: Callable[[], Mapping[str, int]],
        work: Work[Any],
        source: AbstractSource,
        todo: Iterator[Span],
        sound: "Sound[Any]",
        odd: set[str],
    ) -> None:
        self._client, self._threads, self._work, self._source, self._todo, self._sound = client, threads, work, source, todo, sound
        self._odd = odd
        self._run = uuid.uuid4().hex[:12]
        self._serial = itertools.count()
        self._shared: Any = None
        self._out: dict[Any, Span] = {}
        self._ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._again: deque[Span] = deque()
        self._suspects: deque[Span] = deque()
        self._alone: Span | None = None
        self._deaths: Counter[Span] = Counter()
        self._losses: Counter[Span] = Counter()
        self._refused: dict[Span, _Refusal] = {}
        self._bound: dict[Any, frozenset[str]] = {}

    # ---- sending -----------------------------------------------------------------------------------------------------

    def fill(self) -> bool:
        """Send what there is room for; whether anything is under way."""
        workers = max(1, sum(self._threads().values()))
        self._release_bound()
        if self._suspects:
            if not self._out:
                self._alone = self._suspects.popleft()
                self._send([self._alone])
        elif len(self._out) <= (SPANS_AHEAD - 1) * workers + 1:
            # Many at once: a graph costs the scheduler milliseconds, however few its tasks are.
            self._send(self._next(workers + 1 if self._out else SPANS_AHEAD * workers + 2))
        return bool(self._out)

    def waiting(self) -> str:
        """What is under way, for messages."""
        keys = [f"{future.key} ({self._named(span)})" for future, span in list(self._out.items())[:5]]
        return f"{len(self._out)} tasks: {', '.join(keys)}"

    def cancel(self) -> None:
        """Give up what is under way, without waiting long for a cluster that does not answer."""
        if self._out:
            wait([in_background(self._client.cancel, list(self._out), force=True)], timeout=LEAVING)

    def _next(self, n: int) -> list[Span]:
        first = [self._again.popleft() for _ in range(min(n, len(self._again)))]
        return [*first, *itertools.islice(self._todo, n - len(first))]

    def _send(self, some: list[Span], **options: Any) -> None:
        if not some:
            return
        last = [span.last(self._source.n_blocks or 0) for span in some]
        keys = [f"streamgmm-{self._run}-{span.level}-{span.number}-{next(self._serial)}" for span in some]
        try:
            rows = self._rows(some, last)
            own = [None if piece is self._source else piece for piece in rows]
            shared, first = self._parameters(rows), [span.first for span in some]
            futures = self._client.map(run_span, own, first, last, shared=shared, key=keys, pure=False, batch_size=len(some), **options)
        except distributed.client.ClosedClientError as error:
            raise SchedulerLostError("the scheduler is gone, or the client was closed. Start a scheduler, then resume.") from error
        for future, span in zip(futures, some, strict=True):
            self._out[future] = span
            future.add_done_callback(self._ready.put)

    def _parameters(self, rows: list[Any]) -> Any:
        """The work as one submitted object, not scattered: it survives the loss of the worker that holds it."""
        if self._shared is None or self._shared.status in {"cancelled", "error"}:
            # A source that is the same for all spans travels once for all of them.
            common = self._source if all(piece is self._source for piece in rows) else None
            work = Work(self._work.function, self._work.merge, common, self._work.profile, self._work.strict)
            key = f"streamgmm-{self._run}-parameters-{next(self._serial)}"
            self._shared = self._client.submit(_identity, work, key=key, pure=False)
        return self._shared

    def _rows(self, some: list[Span], last: list[int]) -> list[Any]:
        rows = [self._source.portable(span.first, end) for span, end in zip(some, last, strict=True)]
        delayed = [piece for piece in rows if isinstance(piece, Delayed)]
        computed = iter(self._client.compute(delayed) if delayed else ())
        return [next(computed) if isinstance(piece, Delayed) else piece for piece in rows]

    # ---- taking ------------------------------------------------------------------------------------------------------

    def take(self) -> Iterator["Found[Any]"]:
        """What has come, WAITING where nothing does for a moment. Raises the error of a task."""
        try:
            came = [self._ready.get(timeout=PATIENCE)]
        except queue.Empty:
            yield WAITING
            return
        while not self._ready.empty():
            came.append(self._ready.get())
        finished = []
        for one in came:
            if isinstance(one, _Gathered):
                yield from self._gathered(one)
            elif one not in self._out:
                continue  # sent again to others meanwhile
            elif one.status in {"error", "cancelled"}:
                yield from self._failed(one)
            elif one.status == "finished" and not self._losses[self._out[one]]:
                finished.append(one)
            else:  # its worker died before the value was fetched, or fetching failed: by itself, so that others need not wait for it
                self._gather([one])
        if finished:
            self._gather(finished)

    def _gather(self, futures: list[Any]) -> None:
        """Fetch values; waits for what Dask has to compute again."""
        call = in_background(self._client.gather, futures)
        call.add_done_callback(lambda done: self._ready.put(_Gathered(futures, done)))

    def _gathered(self, found: _Gathered) -> Iterator["Found[Any]"]:
        error = found.call.exception()
        for number, future in enumerate(found.futures):
            if future not in self._out:
                continue
            if error is None:
                yield from self._answered(self._out.pop(future), found.call.result()[number])
            else:  # its state says what is wrong with it, or it is fetched again
                self._count_loss(self._out[future], error)
                future.add_done_callback(self._ready.put)

    def _failed(self, future: Any) -> Iterator[Event]:
        span = self._out.pop(future)
        error = _error_of(future)
        if future.status == "cancelled" or (isinstance(error, distributed.KilledWorker) and error.task == self._shared.key):
            self._count_loss(span, error)
            self._again.append(span)
        elif isinstance(error, distributed.KilledWorker):
            yield self._suspect(span, error)
        else:
            raise error

    def _count_loss(self, span: Span, error: BaseException) -> None:
        self._losses[span] += 1
        if self._losses[span] > MOST_LOSSES:
            raise ClusterError(
                f"{self._named(span)}: the cluster lost the result {MOST_LOSSES + 1} times, at last with {type(error).__name__}: {error}."
                " Does somebody restart the cluster, or cancel its tasks? Resume when it is quiet."
            ) from error

    def _suspect(self, span: Span, error: Any) -> Event:
        """Workers died while they computed this: on to its blocks, each alone. Raises PoisonBlockError where it was alone already."""
        worker, died = str(error.last_worker.address), int(error.allowed_failures) + 1
        if span == self._alone:
            self._deaths[span] += died
            if self._deaths[span] >= ENOUGH_DEATHS:
                raise PoisonBlockError(
                    f"{self._named(span)}: {self._deaths[span]} workers died while they computed it, alone, the last one {worker}. The log"
                    " of that worker, or of its nanny, says of which signal (SIGKILL: mostly memory). All other blocks keep their results:"
                    " put this one right, then resume."
                ) from error
            self._suspects.appendleft(span)
        else:
            blocks = range(span.first, span.last(self._source.n_blocks or 0))
            self._suspects.extend(Span(block, 0) for block in blocks)
        message = f"{self._named(span)}: {died} workers died meanwhile, the last one {worker}; each block is computed again, alone"
        return Event("suspect", message, {"first": span.first, "last": span.last(self._source.n_blocks or 0) - 1, "worker": worker})

    # ---- judging -----------------------------------------------------------------------------------------------------

    def _answered(self, span: Span, answer: Answer[Any]) -> Iterator["Found[Any]"]:
        if answer.odd and answer.worker not in self._odd:
            self._odd.add(answer.worker)
            yield _oddness(answer)
        fault, whole = self._fault_of(span, answer.value)
        before = self._refused.pop(span, None)
        if not fault:
            yield span, answer.value
        elif before is None:
            self._refused[span] = _Refusal(answer.worker, fault, tokenize(answer.value))
            message = f"{self._named(span)}: the result of worker {answer.worker} is refused: {fault}; another one computes it again"
            yield Event("refused", message, {"first": span.first, "worker": answer.worker, "fault": fault})
            self._send_to_others(span, answer.worker)
        elif whole and before.token == tokenize(answer.value):
            yield span, answer.value  # the rows give this, whoever computes: what uses it says what is wrong with them
        else:
            raise NumericalError(
                f"{self._named(span)} gave no sound result: worker {before.worker}: {before.fault}; worker {answer.worker}: {fault}."
                " One of them computes wrongly: streamgmm doctor compares the workers; then resume."
            )

    def _send_to_others(self, span: Span, worker: str) -> None:
        """To any worker but one, to that one where it is alone. A hint (`allow_other_workers`) would not do: Dask steals such tasks."""
        others = [address for address in self._threads() if address != worker]
        self._send([span], **({"workers": others} if others else {}))
        if others:
            self._bound[next(reversed(self._out))] = frozenset(others)

    def _release_bound(self) -> None:
        """What waits for workers that are all gone may run anywhere."""
        for future in [one for one, places in self._bound.items() if one not in self._out or not places & self._threads().keys()]:
            del self._bound[future]
            span = self._out.pop(future, None)
            if span is not None:
                self._again.append(span)

    def _fault_of(self, span: Span, value: Any) -> tuple[str, bool]:
        """What is wrong with a value, and whether it is at least what it should be."""
        try:
            return self._sound(span, value), True
        except Exception as error:  # noqa: BLE001  (a foreign object fails as it likes)
            return f"it is malformed ({type(error).__name__}: {error})", False

    def _named(self, span: Span) -> str:
        first, last = span.first, span.last(self._source.n_blocks or 0) - 1
        if self._source.whole is not self._source:
            return f"block {', '.join(str(self._source.number(index)) for index in range(first, last + 1))}"
        blocks = f"block {first}" if first == last else f"blocks {first} to {last}"
        if self._source.n_rows is None:
            return blocks
        return f"{blocks} (rows {self._source.span(first)[0]} to {self._source.span(last)[1] - 1})"


def _identity(value: Any) -> Any:
    return value


def _oddness(answer: Answer[Any]) -> Event:
    keys = ", ".join(f"{name} {theirs!r} instead of {wanted!r}" for name, (wanted, theirs) in answer.odd.items())
    message = f"worker {answer.worker} computes under another numeric profile than this process: {keys}; last bits may differ"
    return Event("warning", message, {"worker": answer.worker, "keys": list(answer.odd)})


def _error_of(future: Any) -> BaseException:
    try:
        future.result(timeout=LEAVING)
    except BaseException as error:  # noqa: BLE001  (a task fails as it likes)
        return error
    return RuntimeError("no error")
