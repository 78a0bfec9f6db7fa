"""Results of the verbs as tables for people. Floor 8.

Programs take `--json`. Names and units come from files and are not trusted: control characters are escaped, nothing is read as markup.
"""

__all__ = ["show"]

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamgmm.held_out_scores import HeldOut
from streamgmm.wording import human_bytes, human_number, one_line

Facts = Mapping[str, Any]

WIDTH_BEFORE, WIDTH_OF_FEATURE = 20, 19  # of component and weight, and of a column: what does not fit goes into another table
PASSES_SHOWN = 12
MARKS = {"ok": "ok", "note": "note", "failed": "FAILED"}


def show(verb: str, result: Facts, console: Console) -> None:
    """Print the result of a verb."""
    SHOWN[verb](result, console)


def _pairs(console: Console, pairs: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one a line; values that are None are left out."""
    shown = [(one_line(name), one_line(value)) for name, value in pairs if value is not None]
    width = max(len(name) for name, _ in shown)
    for name, value in shown:
        console.print(Text.assemble((f"{name:<{width}}", "bold"), "  ", value), soft_wrap=True)


def _text(value: object) -> Text:
    return Text(one_line(value))


def _table(console: Console, columns: Iterable[str], rows: Iterable[Iterable[object]], *, left: int = 1) -> None:
    """A table with a line under its head; the first `left` columns are text, the others numbers."""
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.SIMPLE, pad_edge=False, show_edge=False)
    for i, name in enumerate(columns):
        table.add_column(_text(name), justify="left" if i < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(_text, row))
    console.print(table)


# ---- models and runs -------------------------------------------------------------------------------------------------------------


def _show_fit(result: Facts, console: Console) -> None:
    passes = result["passes"]
    made = "" if result["passes_made"] in (0, passes) else f", {result['passes_made']} of them now"
    state = "already complete: " if result["already_complete"] else ""
    _pairs(
        console,
        [
            ("outcome", f"{state}{result['outcome']} after {passes} passes{made}"),
            ("log-likelihood", _likelihood(result["log_likelihood"])),
            ("held out", _held_out(result["held_out"])),
            ("rows", _rows(result)),
            ("run", result["run"]),
            ("model", result["model"]),
            ("hash", result["hash"]),
        ],
    )
    _components(result, console)


def _show_update(result: Facts, console: Console) -> None:
    read = f"{human_bytes(result['bytes_read'])} of {human_bytes(result['bytes_in_all'])}"
    appended = f"{result['rows_appended']:,} to {result['rows_before']:,}"
    made = result.get("outcome") is not None
    state = "nothing to do" if result["nothing_to_do"] else result["message"] if made and result["hash"] is None else result["said"]
    _pairs(
        console,
        [
            ("updated", result["updated"]),
            ("rows appended", appended),
            ("reads", None if result["nothing_to_do"] else read),
            ("result", state),
            ("run", result.get("run")),
            ("model", result.get("model")),
            ("hash", result.get("hash")),
        ],
    )
    if made:
        _components(result, console)


def _show_forget(result: Facts, console: Console) -> None:
    first, last = result["forgotten"]
    _pairs(
        console,
        [
            ("run", result["run"]),
            ("forgotten", f"blocks {first} to {last - 1}; {result['blocks_read']:,} others were read"),
            ("log-likelihood", _likelihood(result["log_likelihood"])),
            ("rows", _rows(result)),
            ("model", result["model"]),
            ("hash", result["hash"]),
        ],
    )
    _components(result, console)


def _likelihood(value: float | None) -> str | None:
    return None if value is None else f"{value:.10g} per row"


def _held_out(found: Any) -> str | None:
    """What a fit, or a model's file, says of the rows held out."""
    figures = HeldOut.from_json(found)
    return None if figures is None else figures.said()


def _rows(result: Facts) -> str:
    left_out = f" ({result['skipped']:,} more left out for missing values)" if result["skipped"] else ""
    return f"{result['rows']:,}{left_out}"


def _components(result: Facts, console: Console) -> None:
    """Weights, and mean ± standard deviation of every column."""
    features, units = result["features"], result["units"]
    sign = "±" if str(console.encoding).lower().startswith("utf") else "+-"
    at_once = max(1, (console.width - WIDTH_BEFORE) // WIDTH_OF_FEATURE)
    for start in range(0, len(features), at_once):
        shown = range(start, min(start + at_once, len(features)))
        heads = [f"{features[j]} [{units[j]}]" if units[j] else features[j] for j in shown]
        rows = [
            [k, f"{c['weight']:.4f}", *(mean_and_deviation(c["mean"][j], c["standard_deviation"][j], sign) for j in shown)]
            for k, c in enumerate(result["components"])
        ]
        console.print()
        _table(console, ["component", "weight", *heads], rows)


def mean_and_deviation(mean: float, deviation: float, sign: str = "±") -> str:
    """A mean with as many decimals as its standard deviation needs: '3.23 ± 2.20'."""
    if not (1e-6 <= deviation < 1e6 and abs(mean) < 1e9):
        return f"{mean:.9g} {sign} {deviation:.3g}"
    decimals = max(0, 2 - math.floor(math.log10(deviation)))
    return f"{mean:.{decimals}f} {sign} {deviation:.{decimals}f}"


def _correlations(result: Facts, console: Console) -> None:
    for k, component in enumerate(result["components"]):
        if "correlation" in component:
            console.print(f"\ncorrelations of component {k}")
            rows = [
                [name, *(f"{value:+.3f}" for value in row)] for name, row in zip(result["features"], component["correlation"], strict=True)
            ]
            _table(console, ["", *result["features"]], rows)


def _show_inspect(result: Facts, console: Console) -> None:
    {"run": _show_run, "model": _show_model, "store": _show_store}[result["kind"]](result, console)


def _show_run(result: Facts, console: Console) -> None:
    location = result["location"] if isinstance(result["location"], dict) else {}
    commits = result["commits"]
    _pairs(
        console,
        [
            ("run", result["path"]),
            ("store", location.get("store")),
            ("outcome", result["outcome"] or "not finished"),
            ("passes", result["passes"]),
            ("commits", f"{len(commits)} kept, the newest is {commits[-1]}" if commits else "none"),
            ("rows", _rows(result) if "rows" in result else None),
            ("held out", _held_out(result["held_out"])),
            ("model", result["model"]),
            ("hash", result["hash"]),
            *((f"warning {i}", text) for i, text in enumerate(result["warnings"], 1)),
        ],
    )
    _history(result["log_likelihoods"], console)
    if "components" in result:
        _components(result, console)
        _correlations(result, console)


def _show_model(result: Facts, console: Console) -> None:
    provenance = result["provenance"]
    _pairs(
        console,
        [
            ("model", result["path"]),
            ("hash", result["hash"]),
            ("components", f"{result['n_components']} {result['covariance_type']}, {result['weight_model']} weights"),
            ("parameters", result["n_parameters"]),
            ("rows", _rows(provenance) if "rows" in provenance and "skipped" in provenance else None),
            ("held out", _held_out(provenance.get("held_out"))),
            ("outcome", provenance.get("outcome")),
        ],
    )
    _history(result["log_likelihoods"], console)
    _components(result, console)
    _correlations(result, console)


def _history(values: list[float], console: Console) -> None:
    """The first and the last passes."""
    if not values:
        return
    numbered = list(enumerate(values, 1))
    half = PASSES_SHOWN // 2
    shown = numbered if len(numbered) <= PASSES_SHOWN else [*numbered[:half], *numbered[-half:]]
    rows: list[list[object]] = []
    for number, value in shown:
        if rows and number - 1 != rows[-1][0]:
            rows.append(["...", "", ""])
        change = f"{value - values[number - 2]:.3g}" if number > 1 else ""
        rows.append([number, f"{value:.10g}", change])
    console.print()
    _table(console, ["pass", "log-likelihood", "change"], rows)


# ---- stores ----------------------------------------------------------------------------------------------------------------------


def _show_store(result: Facts, console: Console) -> None:
    on_disk = result.get("bytes_on_disk")
    rows = result.get("rows")
    _pairs(
        console,
        [
            ("store", result["path"]),
            ("format", result["format"]),
            ("rows", None if rows is None else f"{rows:,}"),
            ("on disk", None if on_disk is None else human_bytes(on_disk)),
        ],
    )
    console.print()
    if "columns" in result:
        _table(
            console, ["column", "unit", "type", "codecs", "chunk", "shard", "nulls"], map(_column_row, result["columns"].items()), left=4
        )
    elif "codecs" in result:
        _table(console, ["column", "unit", "type", "codecs", "chunk", "shard", "nulls"], [_column_row(("(all)", result))], left=4)
    else:
        _table(console, ["column", "unit"], zip(result["features"], result["units"], strict=True), left=2)


def _column_row(item: tuple[str, Facts]) -> list[object]:
    name, facts = item
    shape = facts["shape"]
    sizes = ["" if value is None else " x ".join(map(str, value)) for value in (facts["chunks"], facts["shards"])]
    kind = facts["dtype"] if len(shape) == 1 else f"{facts['dtype']} {shape}"
    return [name, facts["units"], kind, " ".join(facts["codecs"]), *sizes, "" if facts["nulls"] is None else f"{facts['nulls']:,}"]


def _show_manifest(result: Facts, console: Console) -> None:
    absent = f", {result['absent']:,} chunks are absent and count as fill values" if result["absent"] else ""
    described = f"{result['files']:,} files of {result['arrays']} arrays, {human_bytes(result['bytes'])}{absent}"
    _pairs(console, [("store", result["store"]), ("described", described)])


def _show_ingest(result: Facts, console: Console) -> None:
    _pairs(
        console,
        [
            ("store", result["store"]),
            ("rows", f"{result['rows']:,}"),
            ("on disk", human_bytes(result["bytes"])),
            *((f"left out: {name!r}", reason) for name, reason in result["left_out"].items()),
        ],
    )
    console.print()
    _table(console, ["column", "nulls"], ((name, f"{result['nulls'][name]:,}") for name in result["columns"]))


# ---- the other verbs -------------------------------------------------------------------------------------------------------------


def _show_plan(result: Facts, console: Console) -> None:
    configuration = result["configuration"]
    memory, driver = result["memory_per_worker"], result["memory_of_driver"]
    flops = result["flops_per_pass"]
    _pairs(
        console,
        [
            ("store", result["store"]),
            ("columns", ", ".join(f"{f} [{u}]" if u else f for f, u in zip(result["features"], result["units"], strict=True))),
            ("weights", result["weight"]),
            ("rows", "unknown" if result["rows"] is None else f"{result['rows']:,}"),
            (
                "blocks",
                f"{result['blocks'] or 'unknown'} of {result['block_rows']:,} rows; the store gives {result['rows_per_read']:,} at a time",
            ),
            ("bytes a pass", None if result["bytes"] is None else f"{human_bytes(result['bytes'])} ({result['dtype']}, uncompressed)"),
            ("held out", _share_held_out(result)),
            ("model", f"{configuration['n_components']} components, {configuration['covariance_type']}"),
            ("work a pass", None if flops is None else f"about {human_number(flops)} floating-point operations"),
            ("a run keeps", f"its sample, {human_bytes(result['bytes_kept_in_run'])} at most" if result["bytes_kept_in_run"] else None),
            ("executor", _workers(result)),
            *((f"remark {i}", text) for i, text in enumerate(result["remarks"], 1)),
        ],
    )
    console.print()
    head = "memory, at most" if driver is None else "memory of a worker, at most"
    _table(console, [head, ""], _memory_rows(memory))
    if driver is not None:
        console.print()
        _table(console, ["memory of this process, at most", ""], _memory_rows(driver))


def _share_held_out(result: Facts) -> str | None:
    share = result["configuration"]["hold_out"]
    about = "" if result["rows"] is None else f", about {round(share * result['rows']):,} rows"
    return f"{100 * share:.3g} % of the rows{about}; they are looked at in one more read, after the last pass" if share else None


def _workers(result: Facts) -> str:
    if result["executor"] == "dask_distributed":
        return f"Dask, {result['processes']} processes to be started" if result["processes"] else "Dask, as many workers as the cluster has"
    return f"{result['executor']}, {result['threads']} block(s) at a time"


def _memory_rows(parts: Mapping[str, int]) -> list[list[object]]:
    return [[name.replace("_", " "), human_bytes(size)] for name, size in parts.items() if size]


def _show_predict(result: Facts, console: Console) -> None:
    _pairs(console, [("labels", result["labels"]), ("rows", f"{result['rows']:,}"), ("model hash", result["model_hash"])])


def _show_score(result: Facts, console: Console) -> None:
    _pairs(
        console,
        [
            ("mean log-likelihood", _likelihood(result["mean_log_likelihood"])),
            ("log-likelihood", f"{result['log_likelihood']:.10g}"),
            ("rows", _rows(result)),
            ("total weight", f"{result['weight']:.10g}"),
            ("model hash", result["model_hash"]),
        ],
    )


def _show_doctor(result: Facts, console: Console) -> None:
    _table(console, ["check", "result", "found"], ((c["name"], MARKS[c["result"]], c["found"]) for c in result["checks"]), left=3)


def _show_quickstart(result: Facts, console: Console) -> None:
    _show_fit(result["fit"], console)
    console.print()
    _pairs(console, [("store", result["store"]), ("labels", result["labels"]), ("picture", result["picture"])])


def _show_verify(result: Facts, console: Console) -> None:
    commits = ", ".join(map(str, result["commits"])) or "none"
    _pairs(console, [("run", result["run"]), ("whole", "yes" if result["ok"] else "no"), ("good commits", commits)])
    for what in ("faults", "remarks", "not_checked"):
        if result[what]:
            console.print()
            _table(console, [what.replace("_", " ")], ([said] for said in result[what]))


def _show_select(result: Facts, console: Console) -> None:
    passes = f"{result['outcome']} after {result['passes']} passes"
    _pairs(
        console,
        [
            ("outcome", passes),
            ("rows", f"{result['rows']:,} fitted to, {result['held_out_rows']:,} held out"),
            ("chosen", f"K = {result['winner']} by {result['criterion']}" if result["rungs"] else None),
            ("run", result["run"]),
            ("model", result["model"]),
            ("hash", result["hash"]),
            ("picture", result.get("picture")),
        ],
    )
    if result["rungs"]:
        console.print()
        console.print(Text(result["table"]), soft_wrap=True)
        _components(result, console)


def _show_settings(result: Facts, console: Console) -> None:
    rows = ((key, setting["value"], setting["origin"]) for key, setting in result["settings"].items() if setting["value"] is not None)
    _table(console, ["setting", "value", "from"], rows, left=3)


SHOWN: dict[str, Callable[[Facts, Console], None]] = {
    "doctor": _show_doctor,
    "fit": _show_fit,
    "forget": _show_forget,
    "ingest": _show_ingest,
    "manifest": _show_manifest,
    "inspect": _show_inspect,
    "plan": _show_plan,
    "predict": _show_predict,
    "quickstart": _show_quickstart,
    "resume": _show_fit,
    "score": _show_score,
    "select": _show_select,
    "settings": _show_settings,
    "update": _show_update,
    "verify": _show_verify,
}
