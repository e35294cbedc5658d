"""A report on an ensemble with importances, as a folder or as part of a model card."""

import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rayfold.ensemble.ensemble import Ensemble
from rayfold.ensemble.evaluation.held_out import StudyData, read_held_out
from rayfold.ensemble.evaluation.importance import feature_importance, hyperparameter_importance
from rayfold.ensemble.evaluation.plots import plot_importance, plot_members, plot_reliability, png
from rayfold.ensemble.evaluation.report import Report, markdown
from rayfold.errors import EnsembleError

LISTED = 20
"""Largest number of features in the text, the most important ones. The table has all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """Report and importances of an ensemble; ``export_bundle`` takes it as its report.

    Attributes:
        report: The scores.
        members: The table of its members.
        hyperparameters: The table of ``hyperparameter_importance`` for each study, or a line that
            says why there is none.
        features: The table of ``feature_importance``; None if it was not requested.
        reliability: The plot of ``plot_reliability`` as PNG; None without test rows.
    """

    report: Report
    members: pd.DataFrame
    hyperparameters: Mapping[str, pd.DataFrame | str]
    features: pd.DataFrame | None = None
    reliability: bytes | None = None

    @property
    def sections(self) -> dict[str, str]:
        """Markdown by title, for a model card."""
        found = self.report.sections
        for study, table in self.hyperparameters.items():
            text = table if isinstance(table, str) else markdown(table)
            found[f"What matters for the score, in {study}"] = text
        if self.features is not None:
            found["What matters for the predictions"] = markdown(self.features.head(LISTED))
        return found

    @property
    def plots(self) -> dict[str, bytes]:
        """PNG files by name, for a model card."""
        found = {**self.report.plots, "members.png": png(plot_members(self.members))}
        for number, table in enumerate(self.hyperparameters.values()):
            if not isinstance(table, str):
                found[f"hyperparameters-{number}.png"] = png(plot_importance(table))
        if self.features is not None:
            found["features.png"] = png(plot_importance(self.features))
        if self.reliability is not None:
            found["reliability.png"] = self.reliability
        return found

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables by the name of their file."""
        found = {"scores.csv": self.report.table(), "members.csv": self.members}
        for number, table in enumerate(self.hyperparameters.values()):
            if not isinstance(table, str):
                found[f"hyperparameters-{number}.csv"] = table
        if self.features is not None:
            found["features.csv"] = self.features
        return found

    def write(self, folder: Path) -> None:
        """Write a new folder: ``README.md``, the plots as PNG and the tables as CSV.

        Raises:
            EnsembleError: If the folder exists, or cannot be written.
        """
        check_new_folder(folder)
        unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
        try:
            unfinished.mkdir(parents=True)
            blocks = [f"# Ensemble of {', '.join(self.hyperparameters)}", self.report.reason]
            for title, text in self.sections.items():
                blocks += [f"## {title}", text]
            for name, content in self.plots.items():
                (unfinished / name).write_bytes(content)
                blocks.append(f"![{name.removesuffix('.png')}]({name})")
            for name, table in self.tables.items():
                table.to_csv(unfinished / name, index=False)
            (unfinished / "README.md").write_text("\n\n".join(blocks) + "\n")
            unfinished.rename(folder)
        except OSError as error:
            raise EnsembleError(
                f"{folder} cannot be written ({error.strerror}); write the report elsewhere."
            ) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def check_new_folder(folder: Path) -> None:
    """Check that a report can be written to a folder, before it is made.

    Raises:
        EnsembleError: If ``folder`` exists.
    """
    if folder.exists() or folder.is_symlink():
        raise EnsembleError(f"{folder} exists already; write the report to a new folder.")


def find_out(
    ensemble: Ensemble,
    data: StudyData | None = None,
    *,
    num_repeats: int = 0,
    storage: str | Path | None = None,
    tracking_uri: str | None = None,
) -> Findings:
    """Score an ensemble, and measure importances of hyperparameters and features.

    Args:
        ensemble: One that was built from MLflow.
        data: The studies' files, or their source, for the rows that were kept for the test; None:
            without.
        num_repeats: How often each feature is shuffled among the test rows for its importance;
            0: not at all. An image of 28 x 28 costs 784 predictions of all test rows each time.
        storage: As for ``Ensemble.best``.
        tracking_uri: As for ``Ensemble.best``.

    Raises:
        EnsembleError: If the ensemble was loaded from a bundle, or ``num_repeats`` is out of
            range or asked for without ``data``.
        DataError: If the studies kept no rows for the test, or the data are other ones.
        TrackingError: If MLflow cannot be reached.
    """
    if num_repeats < 0 or (num_repeats and data is None):
        raise EnsembleError(
            f"num_repeats must be at least 0, and 0 without data, got {num_repeats}; name the "
            "study's files, whose test rows are shuffled."
        )
    report = ensemble.report(data)
    hyperparameters: dict[str, pd.DataFrame | str] = {}
    for identity, name in ensemble.origin.studies.items():
        title = name if name not in hyperparameters else f"{name} ({identity})"
        try:
            hyperparameters[title] = hyperparameter_importance(
                identity, storage=storage, tracking_uri=tracking_uri
            )
        except EnsembleError as error:  # too few trials
            hyperparameters[title] = str(error)
    features, reliability = None, None
    if data is not None:
        held_out = read_held_out(data, ensemble.signature, ensemble.origin)
        task, classes = ensemble.signature.task, ensemble.signature.classes
        if task.probabilities:
            probabilities = ensemble.predict_proba(held_out.features)
            target = np.asarray(held_out.target, np.int64)
            reliability = png(plot_reliability(probabilities, target))
        if num_repeats:
            features = feature_importance(
                ensemble,
                held_out.features,
                task.decode(held_out.target, classes),
                num_repeats=num_repeats,
            )
    return Findings(
        report=report,
        members=ensemble.table(),
        hyperparameters=hyperparameters,
        features=features,
        reliability=reliability,
    )
