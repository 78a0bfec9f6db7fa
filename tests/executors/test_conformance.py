"""What every executor must do, for every file of streamgmm/executors."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from streamgmm.errors import NonFiniteDataError
from streamgmm.executors.dask_distributed import DaskDistributed
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.reduce import TreeReducer, spans
from streamgmm.registry import implementation, names
from streamgmm.sources.numpy_array import NumpyArraySource

MADE = {
    "serial": [lambda client: Serial()],
    "threads": [lambda client: Threads(1), lambda client: Threads(2), lambda client: Threads(5)],
    "dask_distributed": [DaskDistributed],
}
CASES = [pytest.param(make, id=f"{name}-{i}") for name in names("executors") for i, make in enumerate(MADE[name])]


@dataclass(frozen=True)
class Sum:
    """A sum whose bits depend on the order of additions."""

    power: float = 1.0

    def __call__(self, block):
        return float(np.sum(block.x**self.power)) / 3.0


def add(a, b):
    return a + b


def table(n_rows, block_rows=10):
    x = np.random.default_rng(1).lognormal(0, 5, (n_rows, 2))
    return NumpyArraySource(feature_names=("a", "b"), units=("", ""), block_rows=block_rows, array=x)


def by_hand(source, function):
    tree = TreeReducer(add)
    for span, block in zip(spans(source.n_blocks, 0), source.blocks(), strict=True):
        tree.add(span, function(block))
    return tree.result()


@pytest.mark.parametrize("name", names("executors"))
def test_every_executor_is_tested(name):
    assert name in MADE
    assert implementation("executors", name).name == name


@pytest.mark.parametrize("make", CASES)
@pytest.mark.parametrize("n_rows", [1, 10, 11, 97, 1000])
def test_same_bits_as_the_tree_by_hand(make, n_rows, client):
    source = table(n_rows)
    assert make(client).map_reduce(Sum(), add, source) == by_hand(source, Sum())


@pytest.mark.parametrize("make", CASES)
def test_no_rows_give_nothing(make, client):
    source = replace(table(1), array=np.empty((0, 2)))
    assert make(client).map_reduce(Sum(), add, source) is None


@pytest.mark.parametrize("make", CASES)
def test_spans_are_handed_over_once_and_cover_the_table(make, client):
    source, seen = table(500), []
    make(client).map_reduce(Sum(), add, source, lambda span, value: seen.append((span.first, span.last(source.n_blocks))))
    covered = sorted(block for first, last in seen for block in range(first, last))
    assert covered == list(range(source.n_blocks))


@pytest.mark.parametrize("make", CASES)
def test_an_error_of_a_block_keeps_its_class_and_text(make, client):
    x = np.ones((100, 2))
    x[57, 1] = np.inf
    source = NumpyArraySource(feature_names=("a", "b"), units=("", ""), block_rows=10, array=x)
    with pytest.raises(NonFiniteDataError, match="block 5, the first in column 'b', row 57"):
        make(client).map_reduce(Sum(), add, source)
    assert make(client).map_reduce(Sum(), add, table(100)) == by_hand(table(100), Sum())  # it still works


@pytest.mark.parametrize("make", CASES)
def test_stopping_in_the_middle_leaves_nothing_behind(make, client):
    class Enough(Exception):
        pass

    def stop(span, value):
        raise Enough

    with pytest.raises(Enough):
        make(client).map_reduce(Sum(), add, table(2000), stop)


@pytest.mark.parametrize("make", CASES)
def test_workers_and_memory_are_known(make, client):
    executor = make(client)
    assert executor.workers >= 1
    assert executor.blocks_in_memory >= 1
