"""Dask arrays and partitions: every chunk computed once, tasks that get their chunks alone, schedulers that Dask would take."""

import pickle
import threading
from collections import Counter

import dask
import dask.array
import dask.dataframe
import distributed
import numpy as np
import pandas as pd
import pytest
from dask.threaded import get as threaded_get

from streamgmm.errors import DataError, SchemaError
from streamgmm.sources import as_source
from streamgmm.sources.base import EndOfSource
from streamgmm.sources.dask_array import DaskArraySource
from streamgmm.sources.dask_partitions import DaskPartitionsSource

X = np.arange(200.0).reshape(100, 2)


class Computed:
    """A dask array of X that counts the chunks it computes and the threads it does so in."""

    def __init__(self, chunks):
        self.chunks = Counter()
        self.threads = set()
        self.array = dask.array.from_array(X, chunks=(chunks, 2), name=False).map_blocks(self._count, dtype="f8", meta=np.empty((0, 2)))

    def _count(self, rows):
        self.chunks[rows[0, 0] / 2] += 1
        self.threads.add(threading.current_thread().name)
        return rows


@pytest.mark.parametrize("block_rows", [3, 10, 37, 500])
@pytest.mark.parametrize("chunks", [10, 33, (5, 60, 1, 34)])
def test_a_pass_computes_every_chunk_once(chunks, block_rows):
    counted = Computed(chunks)
    source = as_source(counted.array, block_rows=block_rows)
    assert np.concatenate([block.x for block in source.blocks()]).tobytes() == X.tobytes()
    assert set(counted.chunks.values()) == {1}
    assert len(counted.chunks) == counted.array.numblocks[0]


def test_a_portable_piece_depends_on_its_chunks_alone():
    counted = Computed(10)
    piece = as_source(counted.array, block_rows=8).portable(2, 5)  # rows 16 to 39
    (source,) = dask.compute(piece, scheduler="synchronous")
    assert sorted(counted.chunks) == [10, 20, 30]
    assert source.array.shape == (24, 2)
    assert source.read(4).x.tobytes() == X[32:40].tobytes()
    for index in (1, 5):
        with pytest.raises(EndOfSource):
            source.load(index)
    assert len(pickle.dumps(source)) < 2000


def test_pieces_share_the_chunk_between_them():
    counted = Computed(10)
    source = as_source(counted.array, block_rows=8)
    dask.compute([source.portable(i, i + 1) for i in range(13)], scheduler="synchronous")
    assert set(counted.chunks.values()) == {1}


def test_a_reader_thread_computes_by_itself_and_the_main_thread_as_dask_would():
    counted = Computed(10)
    reader = threading.Thread(target=lambda: as_source(counted.array, block_rows=50).read(0), name="a reader")
    reader.start()
    reader.join()
    assert counted.threads == {"a reader"}
    as_source(counted.array, block_rows=50).read(0)
    assert len(counted.threads) > 1


def test_a_scheduler_that_the_caller_chose_is_kept():
    used = []

    def scheduler(graph, keys, **options):
        used.append(threading.current_thread().name)
        return threaded_get(graph, keys, **options)

    with dask.config.set(scheduler=scheduler):
        reader = threading.Thread(target=lambda: as_source(Computed(10).array).read(0), name="a reader")
        reader.start()
        reader.join()
    assert used == ["a reader"]


def test_chunks_persisted_on_a_cluster_are_read():
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        distributed.Client(cluster),
    ):
        source = as_source(dask.array.from_array(X, chunks=(30, 2)).persist(), block_rows=40)
        assert np.concatenate([block.x for block in source.blocks()]).tobytes() == X.tobytes()
        (piece,) = dask.compute(source.portable(1, 3))
        assert piece.read(2).x.tobytes() == X[80:].tobytes()


def test_chunks_along_the_columns_are_merged_with_a_warning():
    array = dask.array.from_array(X, chunks=(25, 1))
    with pytest.warns(UserWarning, match=r"chunked along its columns: re-chunked from \(4 x 25, 2 x 1\) to \(1 x 100, 1 x 2\)"):
        source = as_source(array, block_rows=30)
    assert np.concatenate([block.x for block in source.blocks()]).tobytes() == X.tobytes()


def test_chunks_along_the_columns_of_unknown_length_are_merged_too():
    array = dask.array.from_array(X, chunks=(25, 1))
    with pytest.warns(UserWarning, match="chunked along its columns"):
        source = as_source(array[dask.array.from_array(X[:, 0], chunks=25) >= 0])
    assert isinstance(source, DaskPartitionsSource)
    assert [block.n_rows for block in source.blocks()] == [25] * 4


def test_chunks_that_do_not_hold_their_rows_are_refused():
    array = dask.array.from_array(X, chunks=(25, 2)).map_blocks(lambda rows: rows[:-1], dtype="f8", meta=np.empty((0, 2)))
    source = as_source(array)
    with pytest.raises(DataError, match="its lengths are wrong"):
        source.read(0)
    with pytest.raises(DataError, match="chunk lengths are wrong"):
        dask.compute(source.portable(0, 1), scheduler="synchronous")


def test_empty_chunks_do_no_harm():
    array = dask.array.concatenate([dask.array.from_array(X[a:b], chunks=(100, 2)) for a, b in ((0, 0), (0, 60), (60, 60), (60, 100))])
    source = as_source(array, block_rows=45)
    assert isinstance(source, DaskArraySource)
    assert [block.n_rows for block in source.blocks()] == [45, 45, 10]


def ordinary_frame():
    return pd.DataFrame({"a": X[:, 0], "b": X[:, 1]})


def test_a_data_frame_keeps_its_names_and_partitions():
    frame = dask.dataframe.from_pandas(ordinary_frame(), npartitions=4)
    source = as_source(frame)
    assert source.feature_names == ("a", "b")
    assert source.n_blocks == 4
    assert np.concatenate([block.x for block in source.blocks()]).tobytes() == X.tobytes()


def test_a_filtered_data_frame_with_empty_partitions():
    frame = dask.dataframe.from_pandas(ordinary_frame(), npartitions=4)
    source = as_source(frame[frame.a > 150])
    assert [block.n_rows for block in source.blocks()] == [0, 0, 0, 24]


def test_nullable_and_arrow_columns_give_nan():
    frame = pd.DataFrame({"a": pd.array([1.0, None, 3.0], "double[pyarrow]"), "b": pd.array([1, 2, None], "Int64")})
    source = as_source(dask.dataframe.from_pandas(frame, npartitions=1), missing="skip")
    block = source.read(0)
    assert block.x.tolist() == [[1.0, 1.0]]
    assert block.skipped == 2


def test_a_text_column_is_refused_by_name():
    frame = ordinary_frame().assign(name="x")
    with pytest.raises(SchemaError, match=r"column 'name'.*could not convert"):
        as_source(dask.dataframe.from_pandas(frame, npartitions=2))


class Catalogue:
    """A table as LSDB has it: partitions as Delayed objects, names and dtypes of the columns, no dask collection."""

    def __init__(self, frames, described=True):
        self._frames = frames
        if described:
            self.columns, self.dtypes = frames[0].columns, frames[0].dtypes

    def to_delayed(self):
        return [dask.delayed(frame) for frame in self._frames]


@pytest.mark.parametrize("described", [True, False])
def test_anything_with_to_delayed_is_taken(described):
    frames = [ordinary_frame().iloc[a:b] for a, b in ((0, 30), (30, 30), (30, 100))]
    source = as_source(Catalogue(frames, described))
    assert source.feature_names == ("a", "b")
    assert np.concatenate([block.x for block in source.blocks()]).tobytes() == X.tobytes()


def test_partitions_may_be_arrays():
    source = as_source(Catalogue([X[:40], X[40:]], described=False))
    assert source.feature_names == ("f0", "f1")
    assert [block.n_rows for block in source.blocks()] == [40, 60]


def test_a_partition_with_other_columns_is_refused():
    source = as_source(Catalogue([ordinary_frame(), ordinary_frame()[["a"]]]))
    with pytest.raises(SchemaError, match=r"partition 1 has 1 columns \['a'\], expected \['a', 'b'\]"):
        source.read(1)
    arrays = as_source(Catalogue([X, X[:, :1]], described=False))
    with pytest.raises(SchemaError, match=r"partition 1 has shape \(100, 1\)"):
        arrays.read(1)


def test_a_table_without_partitions_is_refused():
    with pytest.raises(SchemaError, match="no partitions"):
        as_source(Catalogue([], described=False))


def test_portable_partitions_compute_on_the_worker_and_travel_further():
    frame = dask.dataframe.from_pandas(ordinary_frame(), npartitions=4)
    (piece,) = dask.compute(as_source(frame).portable(1, 3), scheduler="synchronous")
    assert all(isinstance(rows, np.ndarray) for rows in piece.partitions)
    assert pickle.loads(pickle.dumps(piece)).portable(2, 3).read(2).x.tobytes() == X[50:75].tobytes()
    with pytest.raises(EndOfSource):
        piece.load(0)
    with pytest.raises(EndOfSource):
        as_source(frame).portable(4, 6)


def test_a_frame_with_known_lengths_still_is_partitions():
    frame = dask.dataframe.from_pandas(ordinary_frame(), npartitions=2)
    assert as_source(frame, sample_weight=frame["a"]).read(1).sample_weight.tolist() == X[50:, 0].tolist()
    with pytest.raises(DataError, match="pass one of its columns"):
        as_source(frame, sample_weight=X[:, 0])
    with pytest.raises(DataError, match="3 partitions for 2 partitions"):
        as_source(frame, sample_weight=frame["a"].repartition(npartitions=3))
