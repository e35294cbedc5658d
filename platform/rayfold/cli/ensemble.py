"""``rayfold ensemble``: build an ensemble from studies' trials, say how good it is, export it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rayfold.cli.options import Storage
from rayfold.cli.output import AllColumns, print_table

if TYPE_CHECKING:
    from rayfold.ensemble import Budget, Builder

BuilderName = Literal["best", "greedy", "uniform", "by-score", "convex", "stacked", "single-best"]

_OF_SEVERAL = ("best", "single-best")
"""Builders that take no number of members."""


def ensemble(
    studies: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY...", help="Name of a study, or of several on the same data and folds."
        ),
    ],
    builder: Annotated[
        BuilderName,
        typer.Option(
            metavar="NAME",
            help="greedy, uniform, by-score, convex, stacked or single-best; or best: "
            "whichever of these does best.",
        ),
    ] = "greedy",
    num_members: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000, help="Trials, or rounds of greedy selection, with replacement."
        ),
    ] = None,
    max_members: Annotated[
        int | None, typer.Option(min=1, help="Trials in the ensemble, at most.")
    ] = None,
    max_parameters: Annotated[
        int | None, typer.Option(min=1, help="Numbers in all its models together, at most.")
    ] = None,
    max_latency: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROWS=SECONDS",
            help="Time of a prediction of 1 or 256 rows on this machine, at most: 256=0.1.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="The study's HDF5 file, or glob: judge by its test rows, too."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a report with plots, and what matters, to this new folder."),
    ] = None,
    shuffles: Annotated[
        int,
        typer.Option(
            min=0, max=1000, help="Shuffle each feature so often for its importance in the report."
        ),
    ] = 0,
    export: Annotated[Path | None, typer.Option(help="Write the bundle to this folder.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="What the bundle may be used for, an SPDX name say.")
    ] = None,
    programs: Annotated[
        bool,
        typer.Option("--programs/--no-programs", help="Export it for torch.export and ONNX, too."),
    ] = True,
    register: Annotated[
        str | None,
        typer.Option(help="Register the bundle under this name in MLflow, as its champion."),
    ] = None,
    storage: Storage = None,
    all_columns: AllColumns = False,
) -> None:
    """Build an ensemble from the trials of studies, say how good it is, and export it.

    The trials come from MLflow, and out-of-fold predictions alone choose. Prints the members, why
    they were chosen, and scores on rows that they were not chosen on. What was asked for is
    written in any case; the exit status is 1 if the recipe's accept is not met.
    """
    from rayfold.ensemble import (
        PROGRAMS,
        Ensemble,
        check_new_bundle,
        check_new_folder,
        find_out,
        register_bundle,
    )
    from rayfold.errors import BundleError, EnsembleError
    from rayfold.tracking import check_model_name

    if export is not None:
        check_new_bundle(export)
    elif register is not None or licence is not None:
        raise BundleError("--register and --licence are of a bundle; name its folder: --export.")
    if register is not None:
        check_model_name(register)
    if report is not None:
        check_new_folder(report)
    if shuffles and (report is None or data is None):
        raise EnsembleError(
            "--shuffles is of the report and shuffles test rows; name both: --report, --data."
        )
    budget = _budget(max_members, max_parameters, max_latency or ())
    builders = _builders(builder, num_members)
    built = Ensemble.best(studies, builders=builders, budget=budget, storage=storage)
    print_table(built.table(), all_columns=all_columns)
    typer.echo(f"\n{built.reason}\n")
    findings = None
    if report is not None:
        findings = find_out(built, data, num_repeats=shuffles, storage=storage)
    judged = built.report(data) if findings is None else findings.report
    print_table(judged.table(), all_columns=all_columns)
    typer.echo(f"\n{judged.comparison}")
    for verdict in judged.accept:
        typer.echo(f"accept     {verdict}")
    if findings is not None and report is not None:
        findings.write(report)
        typer.echo(f"report written to {report}")
    if export is not None:
        built.export(
            export,
            licence=licence,
            programs=PROGRAMS if programs else (),
            report=judged if findings is None else findings,
        )
        typer.echo(f"exported to {export}")
        if register is not None:
            number = register_bundle(export, register, storage=storage)
            typer.echo(f"registered as {register!r}, version {number}, alias champion")
    if not all(verdict.met for verdict in judged.accept):
        raise typer.Exit(1)


def _builders(name: BuilderName, num_members: int | None) -> "Sequence[Builder] | None":
    """Return the builders to try; None: those that ``Ensemble.best`` tries by itself."""
    from rayfold.ensemble import Best, Convex, Greedy, Stacked
    from rayfold.errors import EnsembleError

    if num_members is not None and name in _OF_SEVERAL:
        raise EnsembleError(
            f"--num-members does not go with --builder {name}; leave it out, or name a builder "
            "such as greedy."
        )
    given = () if num_members is None else (num_members,)
    match name:
        case "best":
            return None
        case "greedy":
            return [Greedy(*given)]
        case "uniform":
            return [Best(*given)]
        case "by-score":
            return [Best(*given, weighting="score")]
        case "convex":
            return [Convex(*given)]
        case "stacked":
            return [Stacked(*given)]
        case "single-best":
            return [Best(1, calibrate=False)]


def _budget(
    max_members: int | None, max_parameters: int | None, max_latency: Sequence[str]
) -> "Budget | None":
    from rayfold.ensemble import Budget
    from rayfold.errors import EnsembleError

    latency = {}
    for text in max_latency:
        rows, _, seconds = text.partition("=")
        try:
            latency[int(rows)] = float(seconds)
        except ValueError:
            raise EnsembleError(
                f"--max-latency must be ROWS=SECONDS such as 256=0.1, got {text!r}."
            ) from None
    if max_members is None and max_parameters is None and not latency:
        return None
    return Budget(max_members=max_members, max_parameters=max_parameters, max_latency=latency)
