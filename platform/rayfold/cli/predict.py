"""``rayfold predict``: predictions of a bundle for an HDF5 file."""

from pathlib import Path
from typing import Annotated

import typer


def predict(
    bundle: Annotated[Path, typer.Argument(help="Folder of an exported ensemble.")],
    data: Annotated[str, typer.Argument(help="HDF5 file, or glob, with the features.")],
    output: Annotated[
        Path | None, typer.Option(help="Write predictions to this new HDF5 file.")
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option("--held-out", help="Only the rows that the study kept for the test."),
    ] = False,
    allow_references: Annotated[
        bool,
        typer.Option("--allow-references", help="Import the user's model class that it names."),
    ] = False,
) -> None:
    """Predict the rows of HDF5 files with an exported ensemble.

    Prints how good the predictions are where the files hold labels.
    """
    from rayfold.ensemble import check_new_file, load_bundle, predict_files

    if output is not None:
        check_new_file(output)
    ensemble = load_bundle(bundle, allow_references=allow_references)
    predictions = predict_files(ensemble, data, held_out=held_out)
    typer.echo(predictions.summary())
    if output is not None:
        predictions.write(output)
        typer.echo(f"written to {output}")
