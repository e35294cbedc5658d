"""The commands, put together."""

from importlib.metadata import version
from typing import Annotated

import typer

from rayfold.cli import ensemble, metrics, plan, predict, run, serve, simulate, trials, ui

app = typer.Typer(
    name="rayfold",
    help="Search, cross-validate and ensemble PyTorch models on anything from a laptop up.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(version("rayfold"))
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


for command in (
    run.run,
    plan.plan,
    simulate.simulate,
    trials.trials,
    ensemble.ensemble,
    predict.predict,
    serve.serve,
    metrics.metrics,
    ui.ui,
):
    app.command()(command)
