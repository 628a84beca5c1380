"""The ``u2net`` command. Each subcommand has its own file: it parses, calls one function and prints."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from u2net.cli.bench import bench
from u2net.cli.build import build
from u2net.cli.compare import compare_suites
from u2net.cli.compile import compile
from u2net.cli.doctor import doctor
from u2net.cli.evaluate import evaluate
from u2net.cli.export import export
from u2net.cli.fetch import fetch
from u2net.cli.import_weights import import_weights
from u2net.cli.info import info
from u2net.cli.inspect import inspect
from u2net.cli.run import run
from u2net.cli.suite import suite
from u2net.cli.train import train
from u2net.cli.verify import verify
from u2net.runtime.errors import InputError

app = typer.Typer(
    name="u2net",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"u2net-deploy {version('u2net-deploy')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take a trained U²-Net checkpoint to a verified, benchmarked, runnable artifact."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for command in (build, export, compile, verify, bench, run, train, fetch, info, inspect, doctor):
    app.command()(command)
app.command("import")(import_weights)
app.command("eval")(evaluate)
app.command("bench --suite", hidden=True)(suite)
app.command("bench --compare", hidden=True)(compare_suites)


def run_app() -> int:
    """Run the command line and return its exit status. Raise InputError if the arguments cannot be parsed."""
    words = sys.argv[1:]
    if "" in words:
        raise InputError("an argument is empty; a shell variable in the command may have no value")
    for flag in ("--suite", "--compare"):  # commands of their own
        if words[:1] == ["bench"] and flag in words:
            words = [f"bench {flag}", *(word for word in words[1:] if word != flag)]
    try:
        status = app(words, standalone_mode=False)
    except typer.TyperException as error:
        raise InputError(error.format_message()) from error
    return status if isinstance(status, int) else 0
