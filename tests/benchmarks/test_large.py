"""The parts of the benchmarks of large tables that can be wrong without a clock: laws, layouts, the virtual table, the judges."""

import asyncio
from contextlib import AsyncExitStack

import distributed
import numpy as np
import pytest

import streamgmm as sg
from benchmarks import out_of_core, scaling, scheduler_load
from benchmarks.laws import fit_law
from benchmarks.light_workers import light_workers
from benchmarks.order_of_rows import sorted_into_boxes
from benchmarks.reporting import markdown
from benchmarks.virtual_source import virtual_source


def test_a_law_that_holds_is_found():
    n = np.array([1e5, 1e6, 1e7, 1e8])
    law = fit_law(("a", "b"), np.stack([np.ones(4), n], axis=1), 0.25 + 3e-7 * n)
    np.testing.assert_allclose(law.coefficients, [0.25, 3e-7], rtol=1e-9)
    assert law.largest_error < 1e-9
    assert law.seconds((1, 1e9)) == pytest.approx(300.25)
    assert law.standard_error((1, 1e9)) < 1e-4


def test_no_coefficient_is_negative_where_that_is_asked_for():
    n = np.array([1.0, 2.0, 3.0, 4.0])
    terms = np.stack([np.ones(4), n, n * n], axis=1)
    law = fit_law(("a", "b", "c"), terms, 2 + 3 * n - 0.2 * n * n, nonnegative=True)
    assert (law.coefficients >= 0).all()
    assert law.largest_error > 0


def test_every_layout_reads_as_the_same_rows(tmp_path):
    rows = np.random.default_rng(0).normal(size=(3000, 2)).round(3)
    for name, layout in out_of_core.all_layouts().items():
        small = out_of_core.Layout(layout.kind, layout.codec, layout.chunk_rows // 256, layout.sharded)
        assert out_of_core.write_store(tmp_path / name, rows, small) > 0
        source = sg.open_source(tmp_path / name, block_rows=512)
        assert np.array_equal(np.concatenate([block.x for block in source.blocks()]), rows), name
    assert set(out_of_core.USUAL) <= set(out_of_core.all_layouts())


def test_the_judge_of_out_of_core():
    line = {"n_components": 16, "n_threads": 2, "layout": "x", "same_bits": True, "of_memory": 1.05, "of_larger": 1.05}
    line |= {"peak_bytes": 100, "planned_bytes": 110}
    assert not out_of_core.complaints(line)
    assert out_of_core.complaints({**line, "of_memory": 1.2})
    assert out_of_core.complaints({**line, "planned_bytes": 150})
    assert out_of_core.complaints({**line, "same_bits": False})
    assert not out_of_core.complaints({**line, "n_components": 8, "of_memory": 1.4, "of_larger": 1.19})


def test_the_virtual_table_gives_the_same_blocks_again_and_no_two_alike():
    table = virtual_source(1_800_000_000, 4, 3)
    assert table.n_blocks == 27_466
    assert np.array_equal(table.load(27_000), virtual_source(1_800_000_000, 4, 3).load(27_000))
    assert not np.array_equal(table.load(0), table.load(1))
    assert table.prefix(100_000).n_blocks == 2
    assert table.prefix(100_000).load(1).shape == (100_000 - 65_536, 3)


def test_points_vary_one_thing_at_a_time(monkeypatch):
    monkeypatch.setattr("sys.argv", ["scaling"])
    base, *others = scaling.points(scaling.options())
    for point in others:
        differ = [name for name in vars(base) if name != "varied" and getattr(point, name) != getattr(base, name)]
        assert len(differ) == 1 or (point.executor == "dask" and set(differ) <= {"executor", "workers"})


def test_load_is_extrapolated_from_the_largest_measurement(monkeypatch):
    monkeypatch.setattr("sys.argv", ["scheduler_load", "--seconds-a-span", "2"])
    used = {"peak_bytes": 1, "processor_seconds": 2.0}
    driver = {**used, "pass_processor_seconds": 1.0, "seconds": 4.0, "moved_bytes": 1000}
    line = {"n_workers": 4, "spans": 1000, "driver": driver, "scheduler": used, "workers_process": used}
    found = scheduler_load.extrapolation([line], scheduler_load.options())
    assert found["tasks_per_second"] == 500
    assert found["scheduler_busy"] == pytest.approx(1.0)
    assert found["driver_busy"] == pytest.approx(0.5)
    assert found["breaks_first"] == "scheduler"
    assert found["breaks_at"] == pytest.approx(500)
    assert found["workers_at_break"] == pytest.approx(1000)


async def answers_of_light_workers():
    """The scheduler of distributed, three light workers, a client: what two tasks, one of them the other's parameters, give."""
    async with AsyncExitStack() as stack:
        here = distributed.Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address=":0")
        scheduler = await stack.enter_async_context(here)
        await stack.enter_async_context(light_workers(scheduler.address, 3, {"answer": 42}, 100, 0.0))
        client = await stack.enter_async_context(distributed.Client(scheduler.address, asynchronous=True, set_as_default=False))
        asked = await client.run(int, "7")
        shared = client.submit(len, (), key="some-parameters-0", pure=False)
        return asked, await client.gather(client.map(divmod, range(20), b=shared, pure=False))


def test_light_workers_answer_as_workers_do():
    asked, answers = asyncio.run(answers_of_light_workers())
    assert list(asked.values()) == [7, 7, 7]
    assert answers == [{"answer": 42}] * 20


def test_tables_are_markdown():
    assert markdown(("a", "b"), [("x", 1)]) == "| a | b |\n|---|---:|\n| x | 1 |"


def test_rows_sorted_into_boxes_are_the_same_rows_in_smaller_boxes(rng):
    x = rng.normal(size=(1000, 3))
    boxes = sorted_into_boxes(x)
    np.testing.assert_array_equal(np.sort(boxes, axis=0), np.sort(x, axis=0))
    assert np.ptp(boxes[:100], axis=0).prod() < 0.5 * np.ptp(x[:100], axis=0).prod()
