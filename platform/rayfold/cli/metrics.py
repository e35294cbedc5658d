"""``rayfold metrics``: the metrics and losses that a study can name."""

import typer

from rayfold.cli.output import print_table


def metrics() -> None:
    """List the metrics and losses that a recipe can name.

    Name a metric in `fixed.metrics`, and with `val_` before its name in `search.metric` and
    `accept`: `val_auroc`. `val_loss` is always measured.
    """
    from rayfold.report.names import losses_table, metrics_table

    print_table(metrics_table(), all_columns=True)
    typer.echo()
    print_table(losses_table(), all_columns=True)
