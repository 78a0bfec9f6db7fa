"""Configuration files: TOML bytes to a plain table, every fault with its place. Floor 8.

The standard library's parser is guarded: size, nesting and dotted keys are limited on the raw bytes, because it needs minutes or ends
the process on hostile ones. What the keys mean is settings.py.
"""

__all__ = ["read_table"]

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from streamgmm.errors import ConfigError

MOST_BYTES = 1 << 20
MOST_NESTING = 50
BOM = b"\xef\xbb\xbf"
# Each string ends at its quotes or where the parser would stop: nothing is looked at twice, however hostile the text.
STRINGS_AND_COMMENTS = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"""|\\?\Z)'
    r"|'''.*?(?:'''|\Z)"
    r'|"(?:\\.|[^"\\\n])*+(?:"|\\?\n|\\?\Z)'
    r"|'[^'\n]*+(?:'|\n|\Z)"
    r"|\#[^\n]*+",
    re.DOTALL,
)
LONG_DOTTED_KEY = re.compile(rf"(?<![\w-])(?:[\w-]+[ \t]*\.[ \t]*){{{MOST_NESTING}}}")
KEY_OF_LINE = re.compile(r"\s*(\[\[?[^\]]*\]\]?|[^=\n]+?)\s*(?:=|$)")


def read_table(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The table that a configuration file holds. Raises ConfigError naming file, place, fault and the right spelling."""
    text = _text(Path(path))
    _refuse_depth(text, path)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}{_advice(text, str(error))}") from None


def _text(path: Path) -> str:
    raw = _bytes(path)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{path}: byte 0: this is UTF-16; save it as UTF-8")
    if b"\0" in raw:
        raise ConfigError(f"{path}: byte {raw.index(0)} is NUL; a configuration is UTF-8 text")
    raw = raw.removeprefix(BOM)
    try:
        return raw.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8 ({error.reason}); save the file as UTF-8") from None


def _bytes(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # before opening: a FIFO would wait for ever
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "not a plain file"
            raise ConfigError(f"configuration {path} is {kind}; name a TOML file")
        if found.st_size > MOST_BYTES:
            raise ConfigError(f"{path}: {found.st_size} bytes; a configuration may have {MOST_BYTES} bytes")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"cannot read configuration {path}: {getattr(error, 'strerror', None) or error}") from None


def _refuse_depth(text: str, path: str | os.PathLike[str]) -> None:
    bare = STRINGS_AND_COMMENTS.sub('""', text).replace('""', "s")
    depth = 0
    for character in bare:
        depth += (character in "[{") - (character in "]}")
        if depth > MOST_NESTING:
            raise ConfigError(f"{path}: nested deeper than {MOST_NESTING} levels")
    if LONG_DOTTED_KEY.search(bare):
        raise ConfigError(f"{path}: a dotted key has more than {MOST_NESTING} parts")


def _advice(text: str, said: str) -> str:
    if any(words in said for words in ("Cannot overwrite", "Cannot declare", "Cannot mutate")):
        return _first_place(text, said)
    line = _line_at(text, said)
    looks = (
        (text.lstrip().startswith("{"), "This looks like JSON: write key = value lines"),
        (_is_yaml(text, line), "This looks like YAML: TOML is written key = value, with [tables]"),
        (
            re.search(r"=\s*(True|False|yes|no|on|off|None|null)\b", line),
            "TOML spells truth values true and false; for null leave the key out",
        ),
        (re.search(r"=\s*[+-]?0\d", line), "TOML numbers have no leading zeros"),
        ("Unescaped" in said, "Text with backslashes goes into single quotes"),
    )
    return ". " + next((advice for is_so, advice in looks if is_so), "Text goes into double quotes, on one line")


def _is_yaml(text: str, line: str) -> bool:
    return text.startswith(("---", "%YAML")) or "!!" in line or re.search(r"(?m)^\s*[\w-]+:(\s|$)", text) is not None


def _line_at(text: str, said: str) -> str:
    """The line that the parser stopped at."""
    lines = text.split("\n")
    return lines[_number_at(text, said) - 1] if lines else ""


def _number_at(text: str, said: str) -> int:
    found = re.search(r"at line (\d+)", said)
    lines = text.split("\n")
    last = max((number for number, line in enumerate(lines, 1) if line.strip()), default=1)
    return min(int(found[1]), len(lines)) if found else last


def _first_place(text: str, said: str) -> str:
    """Both places of a key that stands twice, where the first can be found."""
    number = _number_at(text, said)
    lines = text.split("\n")
    key = _key(lines[number - 1])
    first = key.split(".")[0].strip()
    earlier = [i for i, line in enumerate(lines[: number - 1], 1) if _key(line) == key or _key(line).split(".")[0].strip() == first]
    place = f", first on line {earlier[-1]}" if earlier else ""
    return f". The key {key!r} stands twice: on line {number}{place}"


def _key(line: str) -> str:
    found = KEY_OF_LINE.match(line)
    return found[1].strip() if found else ""
