"""``rayfold ensemble``: build an ensemble from a study's completed trials, and export it."""

from pathlib import Path
from typing import Annotated

import typer

from rayfold.cli.options import Storage, StudyName


def ensemble(
    study: StudyName,
    num_members: Annotated[
        int, typer.Option(min=1, help="Members to choose, with replacement.")
    ] = 10,
    single_best: Annotated[
        bool, typer.Option("--single-best", help="Take the best trial alone, instead.")
    ] = False,
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
) -> None:
    """Build an ensemble from a study's trials, and export it.

    The trials come from MLflow. Greedy selection takes, round by round, the trial that lowers the
    loss of the averaged out-of-fold predictions most.
    """
    from rayfold.ensemble import PROGRAMS, Ensemble, check_new_bundle, register_bundle
    from rayfold.errors import BundleError
    from rayfold.report.tables import table_text

    if export is not None:
        check_new_bundle(export)
    elif register is not None or licence is not None:
        raise BundleError("--register and --licence are of a bundle; name its folder: --export.")
    if single_best:
        built = Ensemble.single_best(study, storage=storage)
    else:
        built = Ensemble.greedy(study, num_members=num_members, storage=storage)
    typer.echo(table_text(built.table()))
    typer.echo(
        f"out-of-fold loss {built.out_of_fold_loss:.4f}, "
        f"best single trial {built.single_best_loss:.4f}"
    )
    if export is not None:
        built.export(export, licence=licence, programs=PROGRAMS if programs else ())
        typer.echo(f"exported to {export}")
        if register is not None:
            number = register_bundle(export, register, storage=storage)
            typer.echo(f"registered as {register!r}, version {number}, alias champion")
