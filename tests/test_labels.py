"""Labels come in the order of the rows, whatever the order in which they are computed, and one block after the other."""

import numpy as np
import pytest

from streamgmm.errors import ConfigError, DataError, SchemaError
from streamgmm.executors.base import AbstractExecutor
from streamgmm.executors.serial import Serial
from streamgmm.labels import label_blocks, write_labels
from streamgmm.reduce import Span, TreeReducer
from tests.making import clustered_rows, random_mixture, rows_source


class Backwards(AbstractExecutor):
    """Hands over spans of two blocks, the last one first, as a cluster may."""

    name = "backwards"
    workers = blocks_in_memory = 1

    def map_spans(self, function, merge, source):
        for first in reversed(range(0, source.n_blocks, 2)):
            tree = TreeReducer(merge)
            for index in range(first, min(first + 2, source.n_blocks)):
                tree.add(Span(index - first, 0), function(source.read(index)))
            yield Span(first // 2, 1), tree.result()


@pytest.fixture
def mixture(rng):
    return random_mixture("gaussian_full", 3, 2, rng)


@pytest.mark.parametrize("n_rows", [1, 99, 100, 101, 750])
@pytest.mark.parametrize("executor", [Serial(), Backwards()], ids=["serial", "backwards"])
def test_labels_are_in_the_order_of_the_rows(mixture, rng, n_rows, executor):
    x = clustered_rows(n_rows, 3, 2, rng)
    pieces = list(label_blocks(mixture, rows_source(x, block_rows=100), executor))
    np.testing.assert_array_equal(np.concatenate(pieces), mixture.predict(x))
    assert all(piece.dtype == np.int32 for piece in pieces)


def test_blocks_are_read_as_labels_are_asked_for(mixture, rng):
    source = rows_source(clustered_rows(500, 3, 2, rng), block_rows=100)
    pieces = label_blocks(mixture, source, Serial())
    next(pieces)
    assert source.reads == [0]


def test_rows_left_out_keep_their_place(mixture, rng):
    x = clustered_rows(250, 3, 2, rng)
    x[[0, 99, 120, 249], 1] = np.nan
    labels = np.concatenate(list(label_blocks(mixture, rows_source(x, block_rows=100, missing="skip"), Backwards())))
    np.testing.assert_array_equal(np.flatnonzero(labels == -1), [0, 99, 120, 249])


def test_a_store_that_is_none_gets_no_column(tmp_path):
    with pytest.raises(SchemaError, match=r"labels\.zarr"):
        write_labels(iter([np.zeros(3, np.int32)]), tmp_path, "label", attributes={})


def test_nothing_is_left_of_labels_that_end_early(tmp_path, mixture, rng):
    store = tmp_path / "labels.zarr"

    def broken():
        yield np.zeros(3, np.int32)
        raise DataError("block 1 is damaged")

    with pytest.raises(DataError, match="damaged"):
        write_labels(broken(), None, store, attributes={})
    assert list(tmp_path.iterdir()) == []
    assert write_labels(iter([np.zeros(3, np.int32)]), None, store, attributes={}) == 3
    with pytest.raises(ConfigError, match="overwrite"):
        write_labels(iter([np.zeros(3, np.int32)]), None, store, attributes={})
