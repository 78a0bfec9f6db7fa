"""Times with units: `90s`, `10min`, `1h30min`. Floor 8."""

__all__ = ["seconds_of"]

import math
import re

from streamgmm.errors import ConfigError

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
PIECE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]+)\s*")


def seconds_of(text: str, name: str = "deadline") -> float:
    """Seconds of a time with units. Raises ConfigError naming the accepted units."""
    rest, total = text.strip(), 0.0
    while rest:
        found = PIECE.match(rest)
        if found is None or found[2] not in SECONDS:
            break
        total += float(found[1]) * SECONDS[found[2]]
        rest = rest[found.end() :]
    if rest or not math.isfinite(total) or total <= 0:
        raise ConfigError(f"{name} must be a positive time with a unit ({', '.join(SECONDS)}), such as 90s, 10min or 1h30min; got {text!r}")
    return total
