"""A mixture that is kept current while rows arrive, and says when they no longer follow the same law. Floor 9.

It reads streams and growing stores; what rows make of a state is in live_state.py, the alarm in drift_alarm.py.
"""

__all__ = ["LiveMixture"]

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from streamgmm.column_check import check_columns
from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.errors import ConfigError, DataChangedError, DataError
from streamgmm.executors.base import never
from streamgmm.live_file import load_live, save_live
from streamgmm.live_state import LiveSettings, LiveState, Reading, fed, first_live
from streamgmm.mixture import Mixture
from streamgmm.online_step import Online, online_from
from streamgmm.sources import as_source
from streamgmm.sources.base import AbstractSource


class LiveMixture:
    """A Gaussian mixture that learns from a stream by stepwise EM, with rows held out and a drift alarm. Not for several threads.

    start: a Mixture, a fitted GaussianMixture, or the number of components: then the first rows make a start. seen: row weight that a
    given start stands for, where it does not say so itself; the more, the less the first batches move it.
    settings (keywords): `window`: rows after which the past has faded, None for never; `hold_out`: share of rows that are never learned
    from; `reservoir_rows`: how many of them are kept; `batch_rows`: rows that are waited for before a step; `start_rows`: those of a
    start; `limit`: of the drift alarm (see drift_alarm.py); `covariance_type`, `reg_covar`, `variance_floor`, `missing`, `seed`.
    """

    def __init__(self, start: Any, *, seen: float = 0.0, **settings: Any) -> None:
        mixture = _mixture_of(start)
        if mixture is not None:
            c = mixture.components
            settings = {**settings, "covariance_type": c.name.removeprefix("gaussian_")}
        try:
            self._settings = LiveSettings(n_components=int(start) if mixture is None else mixture.n_components, **settings)
        except TypeError as error:
            raise ConfigError(f"LiveMixture: {error}") from None
        self._online = None if mixture is None else _online_of(start, mixture, seen, self._settings.regularisation.reg_covar)
        self._state: LiveState | None = None

    # ---- what is known -----------------------------------------------------------------------------------------------

    @property
    def mixture(self) -> Mixture:
        """The current mixture. Raises DataError before there is one."""
        online = self._online if self._state is None else self._state.online
        if online is None:
            raise DataError(f"no mixture yet: {self.rows} rows were fed, which do not make a start; feed more")
        return online.mixture

    @property
    def rows(self) -> int:
        """Rows fed so far."""
        return 0 if self._state is None else self._state.rows

    @property
    def alarms(self) -> int:
        """Alarms so far."""
        return 0 if self._state is None else self._state.alarms

    # ---- rows --------------------------------------------------------------------------------------------------------

    def feed(self, X: Any, sample_weight: Any = None) -> Reading:  # noqa: N803  scikit-learn's name for a table is X
        """Learn from rows of any kind of table, block by block. An error leaves everything as it was before."""
        source = as_source(X, sample_weight=sample_weight, missing=self._settings.missing)
        state, readings = self._state_for(source), []
        for block in source.blocks():
            state, reading = fed(state, block)
            readings.append(reading)
        self._state = state
        return _together(readings)

    def watch(
        self,
        table: Any,
        *,
        rows_now: Callable[[], int] | None = None,
        poll: float | None = None,
        block_rows: int | None = None,
        stop_requested: Callable[[], bool] = never,
        sleep: Callable[[float], Any] = time.sleep,
    ) -> Iterator[Reading]:
        """Readings of an iterator of arrays, or of the new complete blocks of a store that grows.

        table: an iterator; or the address of a store, or a function that opens it. rows_now: says how many rows are written, where the
        store itself says more. poll: seconds between two looks; None ends after the first. The rows fed so far are those of the store.
        """
        if hasattr(table, "__next__"):
            for array in table:
                yield self.feed(array)
                if stop_requested():
                    return
            return
        while not stop_requested():
            source = as_source(table() if callable(table) else table, block_rows=block_rows, missing=self._settings.missing)
            for index in _new_blocks(source, self.rows, rows_now):
                if stop_requested():
                    return
                self._state, reading = fed(self._state_for(source), source.read(index))
                yield reading
            if poll is None:
                return
            sleep(poll)

    def _state_for(self, source: AbstractSource) -> LiveState:
        if self._state is not None:
            check_columns("LiveMixture", self._state.feature_names, source)
            return self._state
        if self._online is not None and self._online.mixture.n_features != source.n_features:
            wanted = self._online.mixture.n_features
            raise DataError(f"X has {source.n_features} features, but LiveMixture is expecting {wanted} features as input.")
        return first_live(self._settings, self._online, source.feature_names)

    # ---- the file ----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything into one file, over the one before; what goes on from it has the same bits. Raises StorageError."""
        if self._state is None:
            raise DataError("nothing to save: no row was fed yet")
        save_live(Path(path), self._state)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Go on from a file of `save`. Raises CheckpointError."""
        state = load_live(Path(path))
        made = cls(state.settings.n_components)
        made._settings, made._online, made._state = state.settings, state.online, state
        return made


def _mixture_of(start: Any) -> Mixture | None:
    """The start's; None for a number of components."""
    if isinstance(start, int | np.integer):
        return None
    mixture = getattr(start, "mixture_", start)
    if not isinstance(mixture, Mixture) or not isinstance(mixture.components, AbstractGaussian):
        raise ConfigError(f"start must be a Mixture, a fitted GaussianMixture or a number of components, got {type(start).__name__}")
    return mixture


def _online_of(start: Any, mixture: Mixture, seen: float, reg_covar: float) -> Online:
    """Where it goes on from."""
    known = getattr(start, "_seen", 0.0)
    return known if isinstance(known, Online) and not seen else online_from(mixture, seen or float(known), reg_covar)


def _new_blocks(source: AbstractSource, fed_rows: int, rows_now: Callable[[], int] | None) -> range:
    """Numbers of the complete blocks that have not been read."""
    n_rows, size = source.n_rows, source.block_rows
    if n_rows is None:
        raise DataError("a store that is watched must know how many rows it holds; feed an iterator of arrays instead")
    written = n_rows if rows_now is None else min(n_rows, int(rows_now()))
    if written < fed_rows:
        raise DataChangedError(
            f"the store holds {written} rows, of which {fed_rows} have been read: rows are gone; start a new live mixture"
        )
    if fed_rows % size:
        raise ConfigError(f"{fed_rows} rows were fed, which are no whole blocks of {size}; watch with the same block_rows as before")
    return range(fed_rows // size, written // size)


def _together(readings: list[Reading]) -> Reading:
    """One reading of several blocks: alarms are kept, the rest is the latest; the likelihood is that of all rows."""
    if not readings:
        raise DataError("Found array with 0 sample(s) to feed while a minimum of 1 is required.")
    last, rows = readings[-1], sum(one.rows for one in readings)
    known = [one for one in readings if not math.isnan(one.log_likelihood)]
    total = sum(one.rows for one in known)
    mean = sum(one.rows * one.log_likelihood for one in known) / total if total else math.nan
    said = "; ".join(dict.fromkeys(one.said for one in readings if one.said))
    drift = max(one.drift for one in readings)
    return replace(last, rows=rows, log_likelihood=mean, drift=drift, alarm=any(one.alarm for one in readings), said=said)
