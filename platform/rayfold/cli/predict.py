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
    allow: Annotated[
        bool,
        typer.Option("--allow-references", help="Import the user's model class that it names."),
    ] = False,
) -> None:
    """Predict rows, print how good that is where labels are there, and write them on request."""
    from rayfold.ensemble import load_bundle
    from rayfold.ensemble.application import apply_bundle, write_predictions

    applied = apply_bundle(load_bundle(bundle, allow_references=allow), data, held_out=held_out)
    for line in applied.lines():
        typer.echo(line)
    if output is not None:
        write_predictions(applied, output)
        typer.echo(f"written to {output}")
