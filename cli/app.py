"""The ``u2net`` command: a file a subcommand; each parses, calls one function and prints."""

from importlib.metadata import version
from typing import Annotated

import typer

from u2net.cli.bench import bench
from u2net.cli.build import build
from u2net.cli.doctor import doctor
from u2net.cli.export import export
from u2net.cli.info import info
from u2net.cli.run import run
from u2net.cli.train import train
from u2net.cli.verify import verify

app = typer.Typer(
    name="u2net",
    help="Take a trained U²-Net checkpoint to a verified, benchmarked, runnable artifact.",
    no_args_is_help=True,
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
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take a trained U²-Net checkpoint to a verified, benchmarked, runnable artifact."""


for command in (build, export, verify, bench, run, train, info, doctor):
    app.command()(command)
