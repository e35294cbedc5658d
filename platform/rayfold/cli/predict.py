"""``rayfold predict``: predictions of a bundle for an HDF5 file."""

from pathlib import Path
from typing import Annotated

import typer

from rayfold.cli.options import AllowCode


def predict(
    bundle: Annotated[Path, typer.Argument(help="Folder of an exported ensemble.")],
    data: Annotated[str, typer.Argument(help="HDF5 file, or glob, with the features.")],
    output: Annotated[
        Path | None, typer.Option(help="Write predictions to this new HDF5 file.")
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option("--held-out", help="Only the test rows of the study."),
    ] = False,
    allow_code: AllowCode = False,
) -> None:
    """Predict the rows of HDF5 files with an exported ensemble.

    Prints scores if the files hold labels.
    """
    from rayfold.bundle import load_for_serving
    from rayfold.ensemble import check_new_file, predict_files

    if output is not None:
        check_new_file(output)
    ensemble = load_for_serving(bundle, allow_code=allow_code)
    predictions = predict_files(ensemble, data, held_out=held_out)
    typer.echo(predictions.summary())
    if output is not None:
        predictions.write(output)
        typer.echo(f"written to {output}")
