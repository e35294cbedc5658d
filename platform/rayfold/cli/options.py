"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

RecipePath = Annotated[Path, typer.Argument(help="The recipe, a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field: search.num_trials=20."),
]
Storage = Annotated[
    Path | None,
    typer.Option(help="Folder of all studies; else $RAYFOLD_STORAGE or ./rayfold-store."),
]
AllowCode = Annotated[
    bool,
    typer.Option("--allow-code", help="Run the bundle's model code, if it has no ONNX program."),
]
