"""``rayfold ensemble``: build an ensemble from studies' trials, score it, export it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rayfold.cli.options import Storage
from rayfold.cli.output import AllColumns, print_table

if TYPE_CHECKING:
    from rayfold.ensemble import Budget, Builder


def ensemble(
    studies: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY...", help="Names of one or more studies on the same data and folds."
        ),
    ],
    builder: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="greedy, uniform, by-score, convex, stacked or single-best; best, which takes "
            "the best of these; or your own, ./file.py:ClassName.",
        ),
    ] = "greedy",
    num_rounds: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Rounds of greedy selection, with replacement."),
    ] = None,
    num_members: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Best trials of uniform, by-score and stacked."),
    ] = None,
    num_candidates: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Best trials that convex weighs.")
    ] = None,
    max_members: Annotated[
        int | None, typer.Option(min=1, help="Largest number of trials in the ensemble.")
    ] = None,
    max_parameters: Annotated[
        int | None, typer.Option(min=1, help="Largest number of parameters of all its models.")
    ] = None,
    max_latency: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROWS=SECONDS",
            help="Longest prediction of 1 or 256 rows on this machine, such as 256=0.1.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="The study's HDF5 file or glob: also score the test rows."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a report with plots and importances to this new folder."),
    ] = None,
    shuffles: Annotated[
        int,
        typer.Option(
            min=0, max=1000, help="Shuffles of each feature for its importance in the report."
        ),
    ] = 0,
    export: Annotated[Path | None, typer.Option(help="Write the bundle to this folder.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the bundle, such as an SPDX name.")
    ] = None,
    programs: Annotated[
        bool,
        typer.Option("--programs/--no-programs", help="Also export torch.export and ONNX."),
    ] = True,
    register: Annotated[
        str | None,
        typer.Option(help="Register the bundle in MLflow as the champion of this name."),
    ] = None,
    storage: Storage = None,
    all_columns: AllColumns = False,
) -> None:
    """Build an ensemble from the trials of studies, score it, and export it.

    The trials come from MLflow. Only out-of-fold predictions decide which are chosen. Prints the
    members, why they were chosen, and scores on rows that they were not chosen on. The exit status
    is 1 if the recipe's accept is not met; the report and the bundle are written in any case.
    """
    from rayfold.bundle import PROGRAMS, check_new_bundle, export_bundle, register_bundle
    from rayfold.ensemble import Ensemble, check_new_folder, find_out
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
    given = {
        "num_rounds": num_rounds,
        "num_members": num_members,
        "num_candidates": num_candidates,
    }
    builders = _builders(builder, {name: n for name, n in given.items() if n is not None})
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
        export_bundle(
            built,
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


def _builders(name: str, numbers: dict[str, int]) -> "Sequence[Builder] | None":
    """Return the builders to try; None: the defaults of ``Ensemble.best``."""
    from rayfold.ensemble import BUILDERS, Builder
    from rayfold.errors import EnsembleError
    from rayfold.registry import Registry, arguments_of

    choices = Registry[Builder | None](
        "builder", BUILDERS.base, {"best": lambda: None, **BUILDERS.names}
    )
    taken = arguments_of(choices.find(name))
    for number in numbers:
        if number not in taken:
            taking = [
                other for other in choices.names if number in arguments_of(choices.find(other))
            ]
            raise EnsembleError(
                f"--{number.replace('_', '-')} does not go with --builder {name}; leave it out, "
                f"or name a builder that takes it: {', '.join(taking)}."
            )
    builder = choices.create(name, numbers)
    return None if builder is None else [builder]


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
