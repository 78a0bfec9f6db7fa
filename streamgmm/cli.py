"""The command line: options and help, nothing else. Floor 9.

Nothing but click is imported to answer `--help`: what a verb needs is imported when it runs (`_run`), because the libraries below take
seconds. How a verb runs is shell.py, what it does is commands/.
"""

__all__ = ["cli", "main"]

import importlib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from streamgmm.cli_options import Verbs, count_of, fit_options, names_option, output_options, place_options, table_options
from streamgmm.signals import leave_at_once

SHARED_WITH_FITS = (
    "covariance_type",
    "missing",
    "on_damage",
    "deadline",
    "checkpoint_every",
    "seed",
    "weight_model",
    "assignment",
    "arithmetic",
    "scan",
    "variance_floor",
    "reg_covar",
    "occupancy_floor",
    "on_singular",
    "block_rows",
)  # the other parameters of a fit have other defaults in a ladder

EXIT_CODES = """\b
Exit codes:
   0  done                           7  run in use
   1  internal error                 8  storage failed
   2  usage or configuration         9  cluster failed
   3  not converged, if asked       10  numbers failed
   4  data refused                  11  refused for security
   5  not the run's data or         75  stopped with the state saved:
      configuration                     start again to go on
   6  no usable commit or model"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code. A program of its own, it waits for no thread when it was stopped or failed."""
    try:
        _main(arguments)
    except SystemExit as leaving:
        if arguments is None and leaving.code not in (0, None):
            leave_at_once(leaving.code)
        raise


def _main(arguments: Sequence[str] | None) -> NoReturn:
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a column's name is no reason to fail
    try:
        sys.exit(cli.main(given, prog_name="streamgmm", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show(sys.stderr)
        if "--json" in given:
            print_error = importlib.import_module("streamgmm.shell").print_json_error
            print_error(error.exit_code, "UsageError", error.format_message())
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


def _run(context: click.Context, options: dict[str, Any]) -> None:
    origins = {
        click.core.ParameterSource.COMMANDLINE: "command line",
        click.core.ParameterSource.ENVIRONMENT: "environment",
    }
    sources = {name: context.get_parameter_source(name) for name in options}
    given = {name: origins[source] for name, source in sources.items() if source in origins}
    verb = str(context.command.name)
    context.exit(importlib.import_module("streamgmm.shell").run_verb(verb, options, given))


@click.group(
    "streamgmm",
    cls=Verbs,
    epilog=EXIT_CODES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "STREAMGMM", "max_content_width": 100},
)
@click.version_option(package_name="streamgmm")
@click.pass_context
def cli(context: click.Context) -> None:
    """Gaussian mixtures over tables that do not fit in memory.

    \b
    A survey from files to labels:
      streamgmm ingest gaia-*.parquet --out gaia.zarr
      streamgmm fit gaia.zarr --features pmra,pmdec,parallax -k 16 --run run
      streamgmm predict run gaia.zarr --out component

    streamgmm quickstart does all of it on made-up stars. Every option can be set in the environment, as in STREAMGMM_FIT_TOL=1e-4.
    """
    if context.invoked_subcommand is None:
        context.fail("a command is missing; streamgmm --help lists them")


@cli.command()
@click.argument("files", nargs=-1, required=True, metavar="FILES...")
@click.option("--out", required=True, metavar="STORE", help="The column store to write.")
@names_option("--columns", "Columns to store.  [default: all numeric]")
@click.option("--unit", "units", multiple=True, metavar="COLUMN=UNIT", help="Unit of a column; may be given again.")
@click.option("--null", "null_values", multiple=True, metavar="TEXT", help="Spelling of a missing number in text.  [default: null, empty]")
@click.option("--chunk-rows", type=int, metavar="N", help="Rows of a chunk, a power of two.  [default: 262144]")
@click.option("--overwrite", is_flag=True, help="Replace the store if it is there.")
@output_options
@click.pass_context
def ingest(context: click.Context, /, **options: Any) -> None:
    """Write Parquet or CSV files into a column store.

    FILES are files, folders or patterns of one format (.parquet, .csv, .csv.gz).

    \b
    Example:
      streamgmm ingest gaia-*.parquet --out gaia.zarr --unit pmra=mas/yr --unit pmdec=mas/yr
    """
    options["units"] = dict(_unit(text) for text in options["units"])
    _run(context, {name: value for name, value in options.items() if value not in (None, ())})


@cli.command()
@click.argument("store")
@click.option("--overwrite", is_flag=True, help="Replace manifests that are there.")
@output_options
@click.pass_context
def manifest(context: click.Context, /, **options: Any) -> None:
    """Record length and SHA-256 of every chunk file of a local store; every later read is compared with them.

    Describe a store while it is known to be good: what is damaged now counts as right from then on. Stores of streamgmm ingest
    have their manifests from the start.

    \b
    Example:
      streamgmm manifest gaia.zarr
    """
    _run(context, options)


def _unit(text: str) -> tuple[str, str]:
    column, sign, unit = text.partition("=")
    if not (column and sign and unit):
        raise click.BadParameter(f"{text!r} is not of the form COLUMN=UNIT", param_hint="--unit")
    return column, unit


@cli.command()
@click.argument("store", required=False)
@table_options
@fit_options()
@place_options
@click.option("--config", metavar="FILE.toml", help="Settings from a file; what is given here goes before it.")
@click.option("--show-config", is_flag=True, help="Print every setting and where it comes from, and end.")
@output_options
@click.pass_context
def plan(context: click.Context, /, **options: Any) -> None:
    """Say what a fit would read, hold in memory and compute. Nothing is computed.

    \b
    Example:
      streamgmm plan gaia.zarr --features pmra,pmdec,parallax -k 16 --local 4
    """
    _run(context, options)


@cli.command()
@click.argument("store", required=False)
@click.option("--run", metavar="FOLDER", help="The run: configuration, commits, events and model.")
@table_options
@fit_options()
@place_options
@click.option(
    "--resume", type=click.Choice(["auto", "never", "must"]), default="auto", help="Whether to go on with a run.  [default: auto]"
)
@click.option("--overwrite", is_flag=True, help="Delete what the folder holds of an earlier run, and begin anew.")
@click.option("--fail-if-not-converged", is_flag=True, help="Exit with code 3 if max-iter passes were not enough.")
@click.option("--config", metavar="FILE.toml", help="Settings from a file; what is given here goes before it.")
@click.option("--show-config", is_flag=True, help="Print every setting and where it comes from, and end.")
@output_options
@click.pass_context
def fit(context: click.Context, /, **options: Any) -> None:
    """Fit a mixture to a store, in a run folder.

    The state is saved after every pass. The same command goes on where the last one ended, however it ended; on a finished run it does
    nothing. A store is a Zarr column store, a 2-D Zarr array or Parquet files.

    \b
    Examples:
      streamgmm fit gaia.zarr --features pmra,pmdec,parallax -k 16 --run run
      streamgmm fit --config job.toml --deadline 2h
      streamgmm fit gaia.zarr -k 16 --run run --scheduler tls://scheduler:8786 --strict --stall-timeout 10min

    \b
    job.toml:
      store = "gaia.zarr"
      run = "run"
      features = ["pmra", "pmdec", "parallax"]
      [fit]
      n_components = 16
      missing = "skip"
    """
    _run(context, options)


@cli.command()
@click.argument("run")
@click.option("--store", metavar="STORE", help="Where the rows are now, if they were moved.")
@fit_options(("max_iter", "tol", "deadline", "checkpoint_every", "on_damage"))
@place_options
@click.option("--fail-if-not-converged", is_flag=True, help="Exit with code 3 if max-iter passes were not enough.")
@output_options
@click.pass_context
def resume(context: click.Context, /, **options: Any) -> None:
    """Go on with a run. max-iter, tol, deadline, checkpoint-every and on-damage may change; everything else is in the run's record.

    \b
    Example:
      streamgmm resume run --max-iter 500
    """
    _run(context, {name: value for name, value in options.items() if value is not None})


@cli.command()
@click.argument("store")
@click.option("--run", required=True, metavar="FOLDER", help="The run: configuration, commits, events, model and picture.")
@click.option("-k", "--n-components", "k", default="1:32", metavar="A:B|A,B,...", help="Numbers of components.  [default: 1:32]")
@table_options
@click.option("--n-init", type=int, metavar="N", help="Starts of each; hopeless ones are dropped on a sample.  [default: 3]")
@click.option("--criterion", metavar="bic|aic|aicc|icl_map|icl_entropy|held_out", help="What chooses the model of the run.  [default: bic]")
@click.option("--hold-out", type=float, metavar="SHARE", help="Rows that are only compared on.  [default: 0.01]")
@click.option("--schedule", metavar="auto|anderson|full_batch", help="When to maximise, and when to stop.  [default: auto]")
@click.option("--max-iter", type=int, metavar="N", help="Passes over the table, at most.  [default: 30]")
@click.option("--tol", type=float, metavar="X", help="Mean square of the remaining error in standard errors.  [default: 0.1]")
@click.option(
    "--init",
    metavar="kmeans|kmeans_plus_plus|kmeans_parallel|random_rows|random",
    help="Starts on the sample.  [default: kmeans_plus_plus]",
)
@fit_options(SHARED_WITH_FITS)
@place_options
@click.option("--out", metavar="FILE.png", help="Where the picture goes.  [default: picture.png in the run]")
@click.option(
    "--resume", type=click.Choice(["auto", "never", "must"]), default="auto", help="Whether to go on with a run.  [default: auto]"
)
@click.option("--overwrite", is_flag=True, help="Delete what the folder holds of an earlier run, and begin anew.")
@click.option("--fail-if-not-converged", is_flag=True, help="Exit with code 3 if max-iter passes were not enough for the chosen one.")
@output_options
@click.pass_context
def select(context: click.Context, /, **options: Any) -> None:
    """Fit many numbers of components, several starts of each, in the same passes over a store, and compare them.

    Every pass reads the store once for all of them. The table has log-likelihood, BIC, AIC, ICL (both forms) and the likelihood of rows
    that were held out; larger is better throughout. The chosen one is the run's model, as it was fitted. The same command goes on where
    the last one ended.

    \b
    Examples:
      streamgmm select gaia.zarr --features pmra,pmdec,parallax -k 1:32 --run ladder
      streamgmm select gaia.zarr -k 1,2,4,8,16 --criterion held_out --run ladder
    """
    _run(context, {name: value for name, value in options.items() if value is not None})


@cli.command()
@click.argument("run")
@click.argument("store")
@click.option("--into", required=True, metavar="FOLDER", help="The new run; the old one stays as it is.")
@click.option("--how", metavar="exact|quick", help="One EM step over all rows, or one look at the appended ones.  [default: exact]")
@click.option("--read-all", is_flag=True, help="Exact, without sums that the run has kept: the whole store is read once.")
@click.option("--dry-run", is_flag=True, help="Say what would be read, and end.")
@place_options
@output_options
@click.pass_context
def update(context: click.Context, /, **options: Any) -> None:
    """Bring a model up to date with rows that were appended to its store. Only those are read.

    exact: the sums that the run has kept and those of the new blocks give one EM step over all rows, the same bits as a whole pass.
    quick: the new rows are added, batch by batch, to what the model says of the others; for runs that kept no sums, too. The result is
    a run of its own: predict, score and inspect take it, update goes on from it, and streamgmm resume fits it to the whole store.

    \b
    Examples:
      streamgmm update run gaia.zarr --into run-2
      streamgmm update run-2 gaia.zarr --into run-3 --how quick
    """
    _run(context, {name: value for name, value in options.items() if value is not None})


@cli.command()
@click.argument("run")
@click.argument("store")
@click.option("--blocks", required=True, metavar="A:B", help="Blocks A to B-1, of --block-rows rows each as the run was fitted with.")
@click.option("--out", required=True, metavar="MODEL", help="The model to write.")
@place_options
@click.option("--overwrite", is_flag=True, help="Replace the model if it is there.")
@output_options
@click.pass_context
def forget(context: click.Context, /, **options: Any) -> None:
    """Write the model of a run's store without some of its blocks. Of the store only their neighbours are read.

    The sums that the run has kept of the other blocks are used as they are; one EM step gives the model. Run and store stay as they are.

    \b
    Example:
      streamgmm forget run gaia.zarr --blocks 0:16 --out without.zarr
    """
    options["blocks"] = _range_of(options["blocks"])
    _run(context, options)


def _range_of(text: str) -> tuple[int, int]:
    first, sign, last = text.partition(":")
    if not (sign and first.isdecimal() and last.isdecimal()):
        raise click.BadParameter(f"{text!r} is not of the form A:B with two whole numbers", param_hint="--blocks")
    return int(first), int(last)


@cli.command()
@click.argument("path", metavar="RUN|MODEL|STORE")
@click.option("--correlations", is_flag=True, help="Print the correlations of every component.")
@output_options
@click.pass_context
def inspect(context: click.Context, /, **options: Any) -> None:
    """Show what a run, a model or a store holds.

    \b
    Example:
      streamgmm inspect run
    """
    _run(context, options)


@cli.command()
@click.argument("run")
@output_options
@click.pass_context
def verify(context: click.Context, /, **options: Any) -> None:
    """Check a run without its rows: record, commits, hashes, numbers, model. Exit code 6 where anything is wrong.

    \b
    Example:
      streamgmm verify run
    """
    _run(context, options)


@cli.command()
@click.argument("model", metavar="MODEL|RUN")
@click.argument("store")
@click.option("--out", required=True, metavar="NAME|PATH", help="A new column of the store; with a / or .zarr in it, a new store.")
@names_option("--features", "Columns of the store, in the model's order.  [default: the model's names]")
@click.option("--missing", metavar="raise|skip", help="skip: rows with missing values get the label -1.  [default: as fitted]")
@click.option("--block-rows", type=int, default=65536, metavar="N", help="Rows of a block.  [default: 65536]")
@click.option("--executor", metavar="serial|threads", help="Compute in this process.  [default: threads]")
@click.option("--threads", metavar="N|auto", callback=count_of, help="Blocks at a time.  [default: auto, the cores]")
@click.option("--overwrite", is_flag=True, help="Replace the column or store if it is there.")
@output_options
@click.pass_context
def predict(context: click.Context, /, **options: Any) -> None:
    """Write the most probable component of every row.

    \b
    Examples:
      streamgmm predict run gaia.zarr --out component
      streamgmm predict run gaia.zarr --out labels.zarr
    """
    _run(context, options)


@cli.command()
@click.argument("model", metavar="MODEL|RUN")
@click.argument("store")
@names_option("--features", "Columns of the store, in the model's order.  [default: the model's names]")
@click.option("--weight", metavar="COLUMN", help="Column of row weights.")
@click.option("--missing", metavar="raise|skip", help="skip: leave out rows with missing values.  [default: as fitted]")
@click.option("--block-rows", type=int, default=65536, metavar="N", help="Rows of a block.  [default: 65536]")
@place_options
@output_options
@click.pass_context
def score(context: click.Context, /, **options: Any) -> None:
    """Log-likelihood of a table under a model.

    \b
    Example:
      streamgmm score run new-stars.zarr
    """
    _run(context, options)


@cli.command()
@click.argument("model", metavar="MODEL|RUN")
@click.option("-n", "n", type=int, required=True, metavar="N", help="Rows to draw.")
@click.option("--seed", type=int, default=0, metavar="N", help="The same seed gives the same rows.  [default: 0]")
@click.option("--out", metavar="FILE.csv", help="The file to write.  [default: stdout]")
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
@output_options
@click.pass_context
def sample(context: click.Context, /, **options: Any) -> None:
    """Draw rows from a model, as CSV.

    \b
    Example:
      streamgmm sample run -n 1000 --out stars.csv
    """
    _run(context, options)


@cli.command()
@click.option("--folder", default=".", metavar="FOLDER", help="Where runs are going to be.  [default: .]")
@click.option("--data", metavar="STORE", help="A store whose first block is read, here and on every worker.")
@place_options
@output_options
@click.pass_context
def doctor(context: click.Context, /, **options: Any) -> None:
    """Check libraries, compiled kernels, the file system and, if they are named, a Dask cluster and its view of a store.

    The exit code is the largest of what was found; every finding says what to do.

    \b
    Example:
      streamgmm doctor --scheduler tls://scheduler:8786 --data /survey/gaia.zarr
    """
    _run(context, options)


@cli.command()
@click.option("--out", default="streamgmm-quickstart", metavar="FOLDER", help="Where to put it.  [default: streamgmm-quickstart]")
@click.option("--rows", type=int, default=300_000, metavar="N", help="Stars to draw.  [default: 300000]")
@place_options
@output_options
@click.pass_context
def quickstart(context: click.Context, /, **options: Any) -> None:
    """Draw a mock survey, store it, fit it, label every star and draw a picture. No network is needed.

    Killed and started again, it goes on where it was.

    \b
    Example:
      streamgmm quickstart --out demo
    """
    _run(context, options)
