"""How a verb runs in a process: options to arguments, progress to stderr, the result to stdout, errors to exit codes. Floor 9.

Standard output carries data only: a table for people, or with --json one JSON object that has at least `code`, errors included.
"""

__all__ = ["print_json_error", "run_study", "run_verb"]

import contextlib
import io
import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, TextIO

from rich.console import Console

from streamgmm import commands
from streamgmm.commands.settings import Setting, resolve
from streamgmm.commands.where import Where
from streamgmm.errors import EXIT_DONE, EXIT_INTERNAL, EXIT_NOT_CONVERGED, EXIT_STOPPED, ConfigError, exit_code
from streamgmm.events import ignore
from streamgmm.observers.base import AbstractObserver
from streamgmm.observers.plain_lines import PlainLines
from streamgmm.observers.progress_bar import ProgressBar
from streamgmm.signals import StopRequest, leaving_on_term
from streamgmm.tables import show
from streamgmm.wording import one_line, redacted_words, strict_values

Options = dict[str, Any]

CONFIGURED = ("fit", "plan")
WATCHED = ("fit", "resume", "select", "update", "forget", "ingest", "predict", "score", "quickstart")
STOPPABLE = ("fit", "resume", "select", "update", "quickstart")
PLACES = tuple(field.name for field in fields(Where))
STOPPED = ("deadline", "interrupted")
WIDTH_OF_FILES = 160  # of tables that no terminal shows


def run_verb(verb: str, options: Options, given: Mapping[str, str]) -> int:
    """Run a verb with the options of the command line and return the exit code. given: options that were given, and by whom."""
    as_json, quiet = options.pop("json_output"), options.pop("quiet", False)
    unconverged = EXIT_NOT_CONVERGED if options.pop("fail_if_not_converged", False) else EXIT_DONE
    try:
        with _plain_warnings():
            result = _sample(options, as_json=as_json) if verb == "sample" else _result(verb, options, given, quiet=quiet, as_json=as_json)
            code = _code(result, unconverged)
            _print(verb if "settings" not in result else "settings", result, code, as_json=as_json)
    except BrokenPipeError:
        return _close_stdout()
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001  (whatever it is, it has an exit code and a report)
        return _report(error, as_json=as_json)
    return code


def run_study(study: Callable[..., dict[str, Any]]) -> int:
    """Run a pipeline's function of (observe, stop_requested, on_plan) as `quickstart` is run; returns the exit code."""
    try:
        with _plain_warnings(), StopRequest(_say_at_once) as asked, _observer(sys.stderr) as observer:
            result = study(observe=observer, stop_requested=asked, on_plan=_show_plan)
        code = _code(result, EXIT_DONE)
        _print("quickstart", result, code, as_json=False)
    except BrokenPipeError:
        return _close_stdout()
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001  (whatever it is, it has an exit code and a report)
        return _report(error, as_json=False)
    return code


def _show_plan(planned: Mapping[str, Any]) -> None:
    _print("plan", planned, EXIT_DONE, as_json=False)


def print_json_error(code: int, name: str, message: str) -> None:
    """An error as the one JSON object on stdout."""
    with contextlib.suppress(BrokenPipeError):
        _write_json({"code": code, "error": name, "message": message})


def _report(error: BaseException, *, as_json: bool) -> int:
    """Say what went wrong on stderr, and on stdout where JSON was asked for; the exit code."""
    interrupted = isinstance(error, KeyboardInterrupt)
    code, message = (130, "interrupted") if interrupted else (exit_code(error), redacted_words(one_line(error)))
    if code == EXIT_INTERNAL:
        sys.stderr.writelines(redacted_words(one_line(line)) + "\n" for line in "".join(traceback.format_exception(error)).splitlines())
        message = f"internal error, please report it with the lines above: {type(error).__name__}: {message}"
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(f"streamgmm: {message}\n")
    if as_json:
        print_json_error(code, type(error).__name__, message)
    return code


# ---- options to arguments --------------------------------------------------------------------------------------------------------


def _result(verb: str, options: Options, given: Mapping[str, str], *, quiet: bool, as_json: bool) -> dict[str, Any]:
    if verb in CONFIGURED:
        settings = _settings(options, given)
        if options.pop("show_config"):
            return {"settings": {key: {"value": _shown(s.value), "origin": s.origin} for key, s in sorted(settings.items())}}
        options = _configured(verb, options, settings)
    arguments = _with_place(options)
    with contextlib.ExitStack() as stack:
        if verb in STOPPABLE:
            arguments["stop_requested"] = stack.enter_context(StopRequest(_say_at_once))
        else:
            stack.enter_context(leaving_on_term())
        if verb in WATCHED:
            arguments["observe"] = stack.enter_context(_observer(sys.stderr)) if not quiet else ignore
        if verb == "quickstart" and not as_json:
            arguments["on_plan"] = _show_plan
        result: dict[str, Any] = getattr(commands, verb)(**arguments)
    return result


def _settings(options: Options, given: Mapping[str, str]) -> dict[str, Setting]:
    flags = {}
    for name, origin in given.items():
        key = name if name in TOP else f"fit.{name}" if name in options and name not in BESIDE else None
        if key is not None:
            flags[key] = Setting(options[name], origin)
    return resolve(flags, options["config"], strict=options["strict"])


TOP = ("store", "run", "features", "weight", *PLACES)
BESIDE = ("config", "show_config", "resume", "overwrite")


def _configured(verb: str, options: Options, settings: Mapping[str, Setting]) -> Options:
    """Arguments of a verb out of resolved settings; what is no setting stays as it is."""
    values = {key: setting.value for key, setting in settings.items()}
    for name in ("store", "run") if verb == "fit" else ("store",):
        if values[name] is None:
            raise ConfigError(f"{verb} needs {'a STORE' if name == 'store' else '--run FOLDER'}, on the command line or in a --config file")
    parameters = {key.removeprefix("fit."): value for key, value in values.items() if key.startswith("fit.") and value is not None}
    if values["fit.n_components"] is None:
        raise ConfigError(f"{verb} needs the number of components: -k N, or n_components in the table [fit] of a --config file")
    top = {name: values[name] for name in TOP if name != "run" or verb == "fit"}
    return {**top, **parameters, **{name: options[name] for name in ("resume", "overwrite") if name in options}}


def _with_place(options: Options) -> Options:
    """Gather what says where to run."""
    if not any(name in options for name in PLACES):
        return options
    place = {name: options[name] for name in PLACES if options.get(name) is not None}
    return {**{name: value for name, value in options.items() if name not in PLACES}, "where": Where(**place)}


def _shown(value: Any) -> Any:
    return redacted_words(value) if isinstance(value, str) else value


def _sample(options: Options, *, as_json: bool) -> dict[str, Any]:
    """CSV goes to stdout, or into the one JSON object that is allowed there, unless a file was named."""
    text = io.StringIO()
    if options["out"] is None:
        options["out"] = text if as_json else sys.stdout
    with leaving_on_term():
        result: dict[str, Any] = commands.sample(**options)
    return {**result, "csv": text.getvalue()} if options["out"] is text else result


# ---- streams ---------------------------------------------------------------------------------------------------------------------


def _observer(stream: TextIO) -> AbstractObserver:
    terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
    return ProgressBar(stream) if terminal else PlainLines(stream)


def _say_at_once(message: str) -> None:
    """From a signal handler: no buffered stream may be entered there."""
    with contextlib.suppress(OSError):
        os.write(2, f"\nstreamgmm: {message}\n".encode())


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as lines on stderr; Dask's log stays out of the way."""
    logging.getLogger("distributed").setLevel(logging.ERROR)

    def say(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None) -> None:
        sys.stderr.write(f"warning: {redacted_words(one_line(message))}\n")

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = say
        yield


def _print(verb: str, result: Mapping[str, Any], code: int, *, as_json: bool) -> None:
    if code == EXIT_STOPPED:
        sys.stderr.write("streamgmm: saved; start again to go on\n")
    if as_json:
        _write_json({"code": code, **result})
    elif verb != "sample":
        show(verb, result, Console(width=None if sys.stdout.isatty() else WIDTH_OF_FILES, markup=False, highlight=False, emoji=False))
    sys.stdout.flush()


def _write_json(result: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(strict_values(result), allow_nan=False) + "\n")
    sys.stdout.flush()


def _close_stdout() -> int:
    """Whoever read our output has left: end quietly, and keep the interpreter from flushing once more."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def _code(result: Mapping[str, Any], unconverged: int) -> int:
    fit = result.get("fit", result)
    if "code" in result:
        return int(result["code"])
    if fit.get("outcome") in STOPPED:
        return EXIT_STOPPED
    return unconverged if fit.get("converged") is False else EXIT_DONE
