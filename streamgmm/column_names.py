"""What a column of a column store may be called. Floor 1."""

__all__ = ["ROW_DIMENSION", "check_names", "name_fault"]

import unicodedata
from collections.abc import Iterable

from streamgmm.errors import SchemaError

ROW_DIMENSION = "row"
LONGEST_NAME = 200  # bytes; file systems stop at 255, and Zarr lengthens names while it writes


def check_names(names: Iterable[str]) -> None:
    """Refuse names that a folder, Zarr or xarray cannot hold, and names that differ only in case or Unicode form."""
    seen: dict[str, str] = {}
    for name in names:
        fault = name_fault(name)
        if fault:
            raise SchemaError(f"column {name!r} cannot be stored: {fault}. Rename the column or leave it out.")
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in seen:
            raise SchemaError(f"columns {seen[folded]!r} and {name!r} differ only in case or Unicode form; rename one or leave it out")
        seen[folded] = name
    if not seen:
        raise SchemaError("a column store needs at least one column")


def name_fault(name: str) -> str:
    """Why a column cannot have this name, or nothing."""
    if not name:
        return "it has no name"
    if name == ROW_DIMENSION:
        return f"{ROW_DIMENSION!r} is the name of the dimension"
    if name.startswith((".", "__")) or name == "zarr.json":
        return "names that begin with '.' or '__', and 'zarr.json', are reserved in Zarr"
    if any(character in "/\\" or ord(character) < 32 for character in name):
        return "it holds a slash or a control character"
    return f"it is longer than {LONGEST_NAME} bytes" if len(name.encode("utf-8", "replace")) > LONGEST_NAME else ""
