"""Whether a table has the columns that a model was fitted to: scikit-learn's rules and words, for tables of any kind. Floor 5."""

__all__ = ["check_columns", "own_names"]

import warnings
from collections.abc import Iterable, Sequence

from streamgmm.errors import SchemaError
from streamgmm.sources.base import AbstractSource

MOST_LISTED = 5


def own_names(feature_names: Sequence[str]) -> tuple[str, ...] | None:
    """The names of a table's columns, None where they are only f0, f1, ... because the table has none."""
    return None if all(name == f"f{j}" for j, name in enumerate(feature_names)) else tuple(feature_names)


def check_columns(model: str, feature_names: Sequence[str], source: AbstractSource) -> None:
    """Refuse a table with other columns than those of the model (a class name, for messages). Raises SchemaError."""
    fitted, found = own_names(feature_names), own_names(source.feature_names)
    if fitted is not None and found is not None:
        _refuse_other_names(fitted, found)
    elif found is not None:
        warnings.warn(f"X has feature names, but {model} was fitted without feature names", UserWarning, stacklevel=5)
    elif fitted is not None:
        warnings.warn(f"X does not have valid feature names, but {model} was fitted with feature names", UserWarning, stacklevel=5)
    if source.n_features != len(feature_names):
        raise SchemaError(f"X has {source.n_features} features, but {model} is expecting {len(feature_names)} features as input.")


def _refuse_other_names(fitted: Sequence[str], found: Sequence[str]) -> None:
    if fitted == found:
        return
    unseen, missing = sorted(set(found) - set(fitted)), sorted(set(fitted) - set(found))
    message = "The feature names should match those that were passed during fit.\n"
    if unseen:
        message += f"Feature names unseen at fit time:\n{_listed(unseen)}"
    if missing:
        message += f"Feature names seen at fit time, yet now missing:\n{_listed(missing)}"
    if not unseen and not missing:
        message += "Feature names must be in the same order as they were in fit.\n"
    raise SchemaError(message)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    shown = [f"- {name}\n" for name in names[:MOST_LISTED]]
    return "".join(shown) + ("- ...\n" if len(names) > MOST_LISTED else "")
