"""``rayfold ui``: the MLflow UI on the right store."""

import os
import sys
from typing import Annotated

import typer

from rayfold.cli.options import Storage


def ui(
    storage: Storage = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Show all studies in the MLflow UI, on 127.0.0.1; Ctrl-C ends it."""
    from rayfold.storage import storage_folder
    from rayfold.tracking import ui_command

    command, environment = ui_command(storage_folder(storage), port=port)
    typer.echo(f"MLflow UI: http://127.0.0.1:{port}  (Ctrl-C ends it)")
    sys.stdout.flush()
    os.execvpe(command[0], command, {**os.environ, **environment})
