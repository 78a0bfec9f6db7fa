"""One measurement in a fresh process: what predict, predict_proba and score_samples take, beside an E-step pass over the same rows.

    python -m benchmarks.question_process 1000000 16 6 2       rows, K, D, threads

"now": rows in memory, answers in memory; "from a store, lazily": a Zarr array through dask arrays, computed by dask's threads and
written to a Zarr array in the chunks of the answers. Prints one line of JSON: the best of a few runs, in seconds.
"""

__all__ = ["main"]

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Literal

import dask
import zarr
from zarr.codecs import BloscCodec

import streamgmm as sg
from benchmarks.roof import best_seconds
from benchmarks.standard import Array, standard_mixture, standard_rows
from benchmarks.timed import mixture_of
from streamgmm.em import merge_partials
from streamgmm.executors.threads import Threads
from streamgmm.lazy import answer_lazily
from streamgmm.mixture import Mixture
from streamgmm.passes import BlockStatistics
from streamgmm.prediction import Question, answer_now
from streamgmm.sources.numpy_array import from_array_like

Kind = Literal["labels", "probabilities", "log_densities"]
LZ4 = [BloscCodec(cname="lz4", shuffle="shuffle")]
KINDS: dict[str, Kind] = {"predict": "labels", "predict_proba": "probabilities", "score_samples": "log_densities"}


def answers_now(rows: Array, mixture: Mixture, n_threads: int) -> dict[str, float]:
    """A pass, and the three questions."""
    source, executor = from_array_like(rows), Threads(n_threads)
    function = BlockStatistics((mixture,), source.block_rows, hard=False)
    found = {"pass": best_seconds(lambda: executor.map_reduce(function, merge_partials, source))}
    for name, kind in KINDS.items():
        question = Question(mixture, kind, source.feature_names)
        found[f"{name}, now"] = best_seconds(lambda question=question: answer_now(question, source, executor))  # type: ignore[misc]
    return found


def answers_lazily(rows: Array, mixture: Mixture, folder: Path) -> dict[str, float]:
    """The questions about a store, answers written to another."""
    zarr.create_array(str(folder / "rows.zarr"), data=rows, chunks=(65_536, rows.shape[1]), compressors=LZ4, zarr_format=3)
    source, found = sg.open_source(folder / "rows.zarr"), {}
    for name, kind in KINDS.items():
        question = Question(mixture, kind, source.feature_names)

        def write(question: Question = question) -> None:
            answers: Any = answer_lazily(question, source)
            chunks = tuple(sizes[0] for sizes in answers.chunks)
            target = zarr.create_array(
                str(folder / "answers.zarr"), shape=answers.shape, chunks=chunks, dtype=answers.dtype, compressors=None, overwrite=True
            )
            answers.store(target, lock=False)

        found[f"{name}, from a store, lazily"] = best_seconds(write)
    return found


def main() -> None:
    """Print the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("rows", "n_components", "n_features", "n_threads"):
        parser.add_argument(name, type=int)
    given = parser.parse_args()
    standard = standard_mixture(given.n_components, given.n_features, 0)
    rows, mixture = standard_rows(standard, given.rows, 0), mixture_of(standard)
    found = answers_now(rows, mixture, given.n_threads)
    with tempfile.TemporaryDirectory(prefix="questions-") as name, dask.config.set(scheduler="threads", num_workers=given.n_threads):
        found |= answers_lazily(rows, mixture, Path(name))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
