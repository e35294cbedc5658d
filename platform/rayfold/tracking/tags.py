"""Names of a run's tags and metrics, and the exact encoding of configurations as tags."""

import json
import re
from collections.abc import Mapping

from rayfold.results import Config

KIND = "rayfold.kind"
STUDY = "rayfold.study"
STUDY_ID = "rayfold.study_id"
TRIAL = "rayfold.trial"
STATUS = "rayfold.status"
CONFIG = "rayfold.config"
FOLDS = "rayfold.folds"
EXPLOITS = "rayfold.exploits"
DONOR = "rayfold.donor"
ERROR = "rayfold.error"
DATA_DIGEST = "rayfold.data_digest"
FOLD_DIGEST = "rayfold.fold_digest"
CODE = "rayfold.code"
ATTEMPT = "rayfold.attempt"
INITIAL_WEIGHTS = "rayfold.initial_weights"
PARENT = "mlflow.parentRunId"

MAX_TAG_LENGTH = 5000
"""Longest text that every MLflow server accepts (3.x: 8,000 characters); longer text is cut."""

_NOT_IN_NAMES = re.compile(r"[^\w\-. /]")


def metric_name(name: str) -> str:
    """Return ``name`` with an underscore for each character that MLflow refuses."""
    return _NOT_IN_NAMES.sub("_", name)


def config_to_tags(config: Config) -> dict[str, str]:
    """Return the configuration as JSON, cut into as many tags as its length needs.

    ``rayfold.config``, then ``rayfold.config.1``, ``rayfold.config.2`` and so on.
    """
    text = json.dumps(dict(config))
    pieces = [text[i : i + MAX_TAG_LENGTH] for i in range(0, len(text), MAX_TAG_LENGTH)]
    return {_config_tag(index): piece for index, piece in enumerate(pieces)}


def config_from_tags(tags: Mapping[str, str]) -> Config:
    """Rebuild the configuration from ``config_to_tags()``; other tags are ignored.

    Raises:
        ValueError: If the tags hold no configuration.
    """
    pieces: list[str] = []
    while (tag := _config_tag(len(pieces))) in tags:
        pieces.append(tags[tag])
    config: dict[str, bool | int | float | str] = json.loads("".join(pieces))
    return config


def _config_tag(index: int) -> str:
    return f"{CONFIG}.{index}" if index else CONFIG
