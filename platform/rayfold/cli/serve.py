"""``rayfold serve``: a bundle behind HTTP on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from rayfold.cli.options import AllowCode


def serve(
    bundle: Annotated[Path, typer.Argument(help="Folder of an exported ensemble.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 8000,
    max_batch_size: Annotated[
        int, typer.Option(min=1, max=4096, help="Requests that are predicted together.")
    ] = 32,
    batch_wait: Annotated[
        float, typer.Option(min=0, max=10, help="Seconds that a request waits for others.")
    ] = 0.005,
    replicas: Annotated[int, typer.Option(min=1, max=1000, help="Processes that predict.")] = 1,
    allow_code: AllowCode = False,
) -> None:
    """Serve a bundle over HTTP on 127.0.0.1; Ctrl-C ends it.

    POST {"inputs": rows}, or rows by the names of the inputs. GET describes the inputs.
    """
    from rayfold.serving.server import HOST, serve_bundle

    def ready() -> None:
        typer.echo(f"serving {bundle} on http://{HOST}:{port}/  (Ctrl-C ends it)")

    serve_bundle(
        bundle,
        port=port,
        max_batch_size=max_batch_size,
        batch_wait_seconds=batch_wait,
        num_replicas=replicas,
        allow_code=allow_code,
        ready=ready,
    )
