"""Options that several verbs share, and the parts of click that are our own. Floor 9."""

__all__ = ["Verbs", "count_of", "fit_options", "names_option", "output_options", "place_options", "table_options"]

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, final

import click

from streamgmm.commands._durations import seconds_of
from streamgmm.errors import ConfigError, nearest

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]


@final
class Verbs(click.Group):
    """A group that lists its commands in the order of work and names the nearest one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See click."""
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """See click."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            known = self.list_commands(ctx)
            ctx.fail(f"no such command {args[0]!r}{nearest(args[0], known)}; commands are {', '.join(known)}")
        return super().resolve_command(ctx, args)


def names_of(ctx: click.Context, param: click.Parameter, value: Any) -> list[str] | None:
    """Column names with commas in between; the option may be given again."""
    given = [value] if isinstance(value, str) else list(value or ())
    names = [name.strip() for text in given for name in text.split(",")]
    if not all(names):
        raise click.BadParameter(f"{','.join(given)!r} has an empty name; write a,b,c", ctx, param)
    return names or None


def count_of(ctx: click.Context, param: click.Parameter, value: str | None) -> int | str | None:
    """A whole number, or auto."""
    if value in (None, "auto"):
        return value
    try:
        return int(str(value))
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a whole number nor 'auto'", ctx, param) from None


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """A time with a unit, in seconds."""
    try:
        return None if value is None else seconds_of(value)
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx, param) from None


class Parameter(NamedTuple):
    """A parameter of a fit: its name in FitConfiguration, flags, type, what to write, default and help."""

    name: str
    flags: tuple[str, ...]
    kind: Any
    metavar: str
    default: str
    help: str


PARAMETERS = (
    Parameter("n_components", ("-k", "--n-components"), int, "K", "", "Number of components."),
    Parameter(
        "covariance_type", ("--covariance",), str, "full|tied|diag|spherical|tied_spherical", "full", "Structure of the covariances."
    ),
    Parameter(
        "missing", ("--missing",), str, "raise|skip", "raise", "Rows with missing values: refuse them, or leave them out and count them."
    ),
    Parameter(
        "on_damage", ("--on-damage",), str, "raise|retry|skip", "raise", "A block that cannot be read: stop, try again, or leave it out."
    ),
    Parameter(
        "schedule",
        ("--schedule",),
        str,
        "auto|anchored|full_batch|anderson|stepwise|incremental",
        "auto",
        "auto: explore a sample in memory, then few exact passes.",
    ),
    Parameter("max_iter", ("--max-iter",), int, "N", "30 with auto and anchored, else 100", "Passes over the table, at most."),
    Parameter(
        "tol",
        ("--tol",),
        float,
        "X",
        "0.001",
        "Converged when the mean log-likelihood per row changes by less; auto, anchored: when the squared error left (standard errors) is.",
    ),
    Parameter("deadline", ("--deadline",), str, "TIME", "", "Stop and save after this time (90s, 10min, 2h)."),
    Parameter("checkpoint_every", ("--checkpoint-every",), str, "TIME", "60s", "Work that a kill may cost (10s, 5min)."),
    Parameter("n_init", ("--n-init",), int, "N", "1", "Starts, all fitted in the same passes; the best one wins."),
    Parameter(
        "init",
        ("--init",),
        str,
        "kmeans|kmeans_plus_plus|kmeans_parallel|random_rows|random",
        "kmeans",
        "How a start is made from a sample of rows.",
    ),
    Parameter("scan", ("--scan",), str, "all|part", "all", "What auto reads for its sample: all blocks, or 256 of them."),
    Parameter("hold_out", ("--hold-out",), float, "SHARE", "0.0", "Rows that the fit does not see, and is compared on at its end."),
    Parameter("seed", ("--seed",), int, "N", "0", "Seed of the sample and of the starts."),
    Parameter("weight_model", ("--weight-model",), str, "free|fixed", "free", "Mixing proportions: estimated, or equal and fixed."),
    Parameter("assignment", ("--assignment",), str, "soft|hard", "soft", "hard: every row belongs to one component only."),
    Parameter("arithmetic", ("--arithmetic",), str, "float64|float32", "float64", "Of the E-step; float32 is quicker and less exact."),
    Parameter("variance_floor", ("--variance-floor",), float, "X", "1e-06", "Smallest variance, relative to each column's own."),
    Parameter("reg_covar", ("--reg-covar",), float, "X", "0.0", "Added to every variance, in squared units."),
    Parameter("occupancy_floor", ("--occupancy-floor",), float, "X", "1.0", "Rows that a component must hold."),
    Parameter("on_singular", ("--on-singular",), str, "floor|reseed|drop|raise", "floor", "What to do with a component below a floor."),
    Parameter("block_rows", ("--block-rows",), int, "N", "65536", "Rows of a block: part of the run's record, and of its bits."),
)


def _all(*decorators: Decorator[Any]) -> Decorator[Any]:
    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def fit_options(names: tuple[str, ...] = ()) -> Decorator[Any]:
    """Options of the parameters of a fit; only those named, if any are."""
    chosen = [parameter for parameter in PARAMETERS if not names or parameter.name in names]
    return _all(*(_option(parameter) for parameter in chosen))


def _option(parameter: Parameter) -> Decorator[Any]:
    default = f"  [default: {parameter.default}]" if parameter.default else ""
    made: Decorator[Any] = click.option(
        *parameter.flags,
        parameter.name,
        type=parameter.kind,
        metavar=parameter.metavar,
        callback=_seconds if parameter.metavar == "TIME" else None,
        help=parameter.help + default,
    )
    return made


def names_option(flag: str, text: str) -> Decorator[Any]:
    """An option of column names."""
    made: Decorator[Any] = click.option(flag, multiple=True, callback=names_of, metavar="A,B,...", help=text)
    return made


table_options = _all(
    names_option("--features", "Columns, in this order.  [default: all numeric]"),
    click.option("--weight", metavar="COLUMN", help="Column of row weights."),
)

place_options = _all(
    click.option("--executor", metavar="serial|threads", help="Compute in this process.  [default: threads]"),
    click.option("--threads", callback=count_of, metavar="N|auto", help="Blocks at a time.  [default: auto, the cores]"),
    click.option("--scheduler", metavar="ADDRESS", help="Compute on the Dask cluster of this scheduler, such as tls://host:8786."),
    click.option("--scheduler-file", metavar="FILE", help="The same, its address in a scheduler file."),
    click.option(
        "--local", callback=count_of, metavar="N|auto", help="Start a Dask cluster of N processes on this machine, for this command."
    ),
    click.option("--insecure-cluster", is_flag=True, help="Accept a cluster without encryption that is not on this machine."),
    click.option(
        "--strict",
        is_flag=True,
        help="Refuse what is else a warning: a worker, or a machine to go on with a run, whose last bits differ; a secret in FILE.toml.",
    ),
    click.option(
        "--stall-timeout",
        callback=_seconds,
        metavar="TIME",
        help="Give up when nothing came from the cluster for so long (2min, 1h).  [default: 5min]",
    ),
)

output_options = _all(
    click.option("--json", "json_output", is_flag=True, help="One JSON object on stdout, with at least `code`."),
    click.option("--quiet", is_flag=True, help="No progress on stderr."),
)
