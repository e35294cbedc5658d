"""Where a study starts from: which past, in which space, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from rayfold.description import DataDescription
from rayfold.errors import RecipeError, TrackingError, did_you_mean
from rayfold.results import Mode, TrialResult
from rayfold.search import Past, PastStudy
from rayfold.space import SearchSpace
from rayfold.tracking import LoggedStudy, list_descriptions, read_study
from rayfold.transfer.configurations import (
    MappedStudy,
    map_study,
    most_telling,
    pruned_space,
)
from rayfold.transfer.requests import SIMILAR, StartFrom
from rayfold.transfer.similarity import MAX_DISTANCE, NUM_NEAREST, distance


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a search starts from.

    Attributes:
        past: What the searcher gets.
        space: What is searched, pruned where that was asked for.
        lines: Where it comes from and why, a line for each study.
    """

    past: Past
    space: SearchSpace
    lines: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values, for the journal."""
        return {
            **self.past.to_dict(),
            "space": self.space.to_dict(),
            "lines": list(self.lines),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a record from ``to_dict()``."""
        return cls(
            past=Past.from_dict(values),
            space=SearchSpace.from_dict(values["space"]),
            lines=tuple(values["lines"]),
        )


def find_start(
    wanted: StartFrom,
    space: SearchSpace,
    data: DataDescription,
    *,
    uri: str | None = None,
    storage: Path | None = None,
) -> Start:
    """Read what a study is to start from, from MLflow alone.

    Args:
        wanted: Which studies, and how they are taken.
        space: Of the new study.
        data: Of the new study, with descriptors.
        uri: MLflow's tracking URI; None: ``$MLFLOW_TRACKING_URI``, or the store in ``storage``.
        storage: Folder of the store; None: ``$RAYFOLD_STORAGE`` or ``./rayfold-store``.

    Raises:
        RecipeError: If a named study is unknown, has no completed trial, or shares no parameter
            with the space; or a renamed parameter is unknown.
        TrackingError: If MLflow cannot be read.
    """
    wanted.check(space)
    if wanted.studies == SIMILAR:
        found, lines = _similar(wanted, space, data, uri=uri, storage=storage)
    else:
        found, lines = _named(wanted, space, uri=uri, storage=storage)
    if wanted.prune_space and found:
        whole, space = space, pruned_space(space, found)
        narrowed = [name for name in space if space[name] != whole[name]]
        lines.append(f"the space is pruned: {', '.join(narrowed) or 'nothing can be'}")
        found = [study for study in (_inside(study, space) for study in found) if study]
    return Start(past=Past(tuple(study.past for study in found)), space=space, lines=tuple(lines))


def start_from_parts(
    parts: Mapping[str, Sequence[TrialResult]], space: SearchSpace, mode: Mode
) -> Start:
    """Return the start of a study from those of its parts, which searched the same space.

    Args:
        parts: Name and finished trials of each part's study.
        space: Of all of them.
        mode: Whether a small or a large score is good.
    """
    past, lines = [], []
    for name, trials in parts.items():
        scored = [
            (trial.config, trial.score)
            for trial in trials
            if trial.status == "completed" and trial.score is not None
        ]
        if not scored:
            lines.append(f"not {name}: it has no completed trial")
            continue
        kept = most_telling(scored, mode)
        past.append(
            PastStudy(
                name=name,
                mode=mode,
                configs=tuple(config for config, _ in kept),
                scores=tuple(score for _, score in kept),
            )
        )
        lines.append(f"{name}: its part; {len(kept)} of {len(scored)} trials")
    return Start(past=Past(tuple(past)), space=space, lines=tuple(lines))


def _named(
    wanted: StartFrom, space: SearchSpace, *, uri: str | None, storage: Path | None
) -> tuple[list[MappedStudy], list[str]]:
    names = [wanted.studies] if isinstance(wanted.studies, str) else list(wanted.studies)
    try:
        studies = [read_study(name, uri=uri, storage=storage) for name in names]
    except TrackingError as error:
        meant = any(name.casefold() == SIMILAR for name in names)
        hint = f" To have them chosen, write {SIMILAR} alone, without a list." if meant else ""
        raise TrackingError(f"start_from: {error}{hint}") from None
    _check_old_names(wanted, studies)
    found = []
    for study in studies:
        try:
            found.append(map_study(study, space, rename=wanted.rename))
        except RecipeError as error:
            raise RecipeError(f"start_from: {error}") from None
    return found, [f"{study.past.name}: as asked for; {study.summary}" for study in found]


def _similar(
    wanted: StartFrom,
    space: SearchSpace,
    data: DataDescription,
    *,
    uri: str | None,
    storage: Path | None,
) -> tuple[list[MappedStudy], list[str]]:
    """Return the nearest studies; none is no error, since the search can start cold."""
    try:
        described = list_descriptions(uri=uri, storage=storage)
    except TrackingError as error:
        return [], [f"no similar study: {error}"]
    ranked = sorted(
        (
            (distance(data, past.data), run)
            for run, past in described
            if past.sub_problem is None  # the whole study stands for its parts
        ),
        key=lambda pair: (pair[0].value, -pair[1].started_at),  # of equals the newest
    )
    found: list[MappedStudy] = []
    lines: list[str] = []
    for far, run in ranked:
        if len(found) == NUM_NEAREST:
            break
        if far.value > MAX_DISTANCE:
            lines.append(f"not {run.name}: {_far(far.value)}{far.reason}")
            continue
        try:
            study = read_study(run.id, uri=uri, storage=storage)
            mapped = map_study(study, space, rename=wanted.rename)
        except (RecipeError, TrackingError) as error:
            lines.append(f"not {run.name}: {error}")
            continue
        found.append(mapped)
        lines.append(f"{run.name}: {_far(far.value)}{far.reason}; {mapped.summary}")
    if not found:
        lines.append("no similar study: the search starts cold")
    return found, lines


def _far(value: float) -> str:
    return f"distance {value:.2f}, " if value < 1e9 else ""


def _check_old_names(wanted: StartFrom, studies: Sequence[LoggedStudy]) -> None:
    """Check that what is renamed is there."""
    known = {name for study in studies for trial in study.trials for name in trial.config}
    known |= {name for study in studies for name in study.description.parameters}
    for old in wanted.rename or {}:
        if known and old not in known:
            raise RecipeError(
                f"rename: {old!r} is no parameter of the past"
                f"{did_you_mean(old, sorted(known))}; it has {', '.join(sorted(known))}."
            )


def _inside(study: MappedStudy, space: SearchSpace) -> MappedStudy | None:
    """Return what of a study lies in a pruned space; None if nothing does."""
    past = study.past
    kept = [
        row
        for row, config in enumerate(past.configs)
        if all(space[name].check(value) is None for name, value in config.items())
    ]
    if not kept:
        return None
    inside = replace(
        past,
        configs=tuple(past.configs[row] for row in kept),
        scores=tuple(past.scores[row] for row in kept),
    )
    return replace(study, past=inside)
