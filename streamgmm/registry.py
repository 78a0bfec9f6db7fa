"""The registry: a role is a folder, an implementation is a file in it. Floor 0.

Nothing is registered by hand, so a new file is known as soon as it exists. Names are looked up only at the edges (command line,
configuration, conformance tests); everything else passes objects. It is NOT a plug-in system: only files of the package count.
"""

__all__ = ["ROLES", "implementation", "names"]

import importlib
import pkgutil
from typing import Any

from streamgmm.errors import ConfigError, MissingDependencyError, how_to_install, nearest

ROLES = ("components", "weights", "observations", "sources", "executors", "schedules", "initialisers", "observers", "formats")


def names(role: str) -> tuple[str, ...]:
    """Names of the implementations of a role, sorted: its modules but for `base` and those that begin with an underscore."""
    if role not in ROLES:
        raise ConfigError(f"unknown role {role!r}; roles are {', '.join(ROLES)}{nearest(role, ROLES)}")
    package = importlib.import_module(f"streamgmm.{role}")
    found = (module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg)
    return tuple(sorted(name for name in found if name != "base" and not name.startswith("_")))


def implementation(role: str, name: str) -> type[Any]:
    """The public class of a role's module: the first name in its `__all__`.

    Raises ConfigError for an unknown name and MissingDependencyError where the library it needs is not installed.
    """
    allowed = names(role)
    if name not in allowed:
        raise ConfigError(f"unknown {role} {name!r}; known are {', '.join(allowed) or 'none'}{nearest(name, allowed)}")
    try:
        module = importlib.import_module(f"streamgmm.{role}.{name}")
    except ModuleNotFoundError as error:
        if str(error.name).startswith("streamgmm"):
            raise
        needed = f"{name!r} of {role} needs {error.name}, which is not installed"
        raise MissingDependencyError(f"{needed}: {how_to_install(error.name)}") from error
    found: type[Any] = getattr(module, module.__all__[0])
    return found
