"""A world from a seed: an executor that delivers as badly as it may, a clock that nobody waits for, a run kept in memory.

The executor computes rightly; when, how often and in which pieces its results arrive is drawn from the seed. A schedule that breaks
something comes back with its seed.
"""

import json
import random
from collections import Counter
from types import SimpleNamespace

from streamgmm.executors.base import WAITING, AbstractExecutor, accepted
from streamgmm.reduce import Span, TreeReducer, remaining
from streamgmm.state import FitState, Outcome


class FakeClock:
    """Seconds that pass only when somebody says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class MemoryRun:
    """What a saver needs of a run: states go through their record and back."""

    def __init__(self):
        self.commits = 0
        self._kept = None

    def commit(self, state, *, last=False):
        arrays, described = state.to_record()
        self.commits += 1
        self._kept = {name: value.copy() for name, value in arrays.items()}, json.dumps(described)
        return SimpleNamespace(number=self.commits)

    def latest(self, first):
        """The last state that was committed, open again where the fit was stopped; `first` where there is none."""
        if self._kept is None:
            return first
        state = FitState.from_record(self._kept[0], json.loads(self._kept[1]))
        return state.reopened() if state.outcome is Outcome.INTERRUPTED else state


class SimExecutor(AbstractExecutor):
    """Spans of mixed levels in any order; some twice, some lost and delivered later, in other pieces or in another pass.

    computed: results by what they are of, shared between executors whose function and source are the same.
    """

    name = "simulated"
    workers = 3
    blocks_in_memory = 3

    def __init__(self, seed, clock, computed):
        self.random = random.Random(seed)
        self.clock, self.computed = clock, computed
        self.delivered = Counter()
        self.past = []

    def map_spans(self, function, merge, source, *, done=(), sound=accepted):
        todo = self._pieces(source.n_blocks, done)
        here = []
        try:
            while todo or self.random.random() < 0.6:
                yield from self._one(function, merge, source, todo, here)
        finally:
            self.past.extend(here)

    def _one(self, function, merge, source, todo, here):
        self.clock.now += self.random.expovariate(1.0)
        kind = self.random.choices(("deliver", "wait", "late", "twice", "drop"), (10, 1, 2, 2, 1))[0]
        if kind == "wait":
            yield WAITING
        elif kind == "late" and self.past:
            yield self._counted(kind, self.random.choice(self.past))
        elif kind == "twice" and here:
            yield self._counted(kind, self._again(function, merge, source, self.random.choice(here)))
        elif kind == "drop" and todo:
            self.delivered["drop"] += 1
            todo.extend(self._shuffled(self._split(todo.pop(), source.n_blocks)))
        elif todo:
            span = todo.pop()
            here.append((span, self._value(function, merge, source, span)))
            yield self._counted("deliver", here[-1])

    def _counted(self, kind, found):
        self.delivered[kind] += 1
        return found

    def _pieces(self, n_blocks, done):
        """What is left to do, cut at random."""
        pieces = []
        for span in remaining(n_blocks, self.random.randrange(6), done):
            pieces.extend(self._split(span, n_blocks))
        return self._shuffled(pieces)

    def _split(self, span, n_blocks):
        if span.level == 0 or self.random.random() < 0.4:
            return [span]
        halves = [Span(2 * span.number + i, span.level - 1) for i in (0, 1)]
        return [piece for half in halves if half.first < n_blocks for piece in self._split(half, n_blocks)]

    def _again(self, function, merge, source, found):
        """The same result, or that of a part of its blocks."""
        part = self.random.choice(self._split(found[0], source.n_blocks))
        return part, self._value(function, merge, source, part)

    def _shuffled(self, pieces):
        self.random.shuffle(pieces)
        return pieces

    def _value(self, function, merge, source, span):
        key = function.stamp, span
        if key not in self.computed:
            tree = TreeReducer(merge)
            for block in range(span.first, span.last(source.n_blocks)):
                tree.add(Span(block - span.first, 0), self._block(function, source, block))
            self.computed[key] = tree.result()
        return self.computed[key]

    def _block(self, function, source, block):
        key = function.stamp, block
        if key not in self.computed:
            self.computed[key] = function(source.read(block))
        return self.computed[key]
