"""How numbers and foreign text are put into messages: sizes, rates, times, one safe line. Floor 0."""

__all__ = ["human_bytes", "human_number", "human_seconds", "one_line", "redacted_words", "strict_values"]

import math
import re
from collections.abc import Mapping
from typing import Any

BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
TELLING_NAMES = ("secret", "password", "passwd", "token", "signature", "credential", "access_key", "accesskey", "api_key", "apikey")
WORD = re.compile(r"[^\s'\"]+")
ADDRESS_BEGINS = re.compile(r"(:/+)")  # one slash where a path was made of a URL
BEARER = re.compile(r"(?i)\b(bearer )\S+")
SHORT_UNITS = ("", " k", " M", " G", " T")


def one_line(text: object) -> str:
    """Text with every control character, line break and lone surrogate escaped: names of columns and files are not trusted."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def redacted_words(text: str) -> str:
    """Text without the secrets that can be told as such: user names, passwords and queries of URLs, values of secret-looking names."""
    return BEARER.sub(r"\1***", WORD.sub(lambda word: _redacted_word(word[0]), text))


def _redacted_word(word: str) -> str:
    """Every step is linear in the length, which may be that of a hostile name."""
    parts = ADDRESS_BEGINS.split(word)
    parts[2::2] = [_redacted_address(part) for part in parts[2::2]]
    return "".join(map(_redacted_pair, re.split("([,;&])", "".join(parts))))


def _redacted_address(text: str) -> str:
    """What follows the slashes of a URL."""
    rest, sign, query = text.partition("?")
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    return ("***@" if at and user else at) + host + slash + path + sign + ("***" if query else "")


def _redacted_pair(text: str) -> str:
    name, sign, value = text.partition("=")
    telling = sign and value and any(word in name.rpartition("/")[2].lower() for word in TELLING_NAMES)
    return f"{name}=***" if telling else text


def human_bytes(n: float) -> str:
    """2400000000 -> '2.40 GB' (powers of 1000)."""
    power = 0 if n < 1000 else min(int(math.log10(n) // 3), len(BYTE_UNITS) - 1)
    return f"{n:.0f} bytes" if power == 0 else f"{n / 1000**power:.3g} {BYTE_UNITS[power]}"


def human_number(x: float) -> str:
    """1234567 -> '1.23 M'."""
    if not math.isfinite(x) or abs(x) < 1000:
        return f"{x:.3g}"
    power = min(int(math.log10(abs(x)) // 3), len(SHORT_UNITS) - 1)
    return f"{x / 1000**power:.3g}{SHORT_UNITS[power]}"


def human_seconds(seconds: float) -> str:
    """75 -> '1 min 15 s'."""
    whole = max(0, math.ceil(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def strict_values(value: Any) -> Any:
    """Plain data that strict JSON can hold: NaN and infinity become text, what is no plain value as well."""
    if isinstance(value, Mapping):
        return {str(key): strict_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict_values(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, str | int | bool) else str(value)
