"""The recipe: one YAML file with what is fixed, searched and accepted, and the resources.

::

    study: digits
    fixed:
      model: cnn
      data: {hdf5: digits.h5}
      holdout: 0.2
      folds: {count: 5, random_seed: 7}
      epochs: 10
    search:
      space: cnn
      searcher: {genetic: {population: 16, generations: 8, random_seed: 7}}
      num_trials: 128
    accept:
      - {metric: val_accuracy, at_least: 0.97}
    resources:
      groups: {minimum: 1, maximum: 4, workers: 1}

Its fields are those of a ``Specification``, in sections. Editors use ``recipe.schema.json`` beside
this file, which is the output of ``schema_text()``.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from rayfold.documents import read_file, read_yaml, write_yaml
from rayfold.errors import RecipeError
from rayfold.options import ARGUMENTS
from rayfold.options.explain import explain, fields_of, show
from rayfold.recipe.overrides import override
from rayfold.specification import Specification

SECTIONS = {
    "fixed": (
        "What is the same in every trial.",
        "model data task holdout learner strategy folds epochs loss metrics parameters "
        "random_seed initial_weights",
    ),
    "search": (
        "What is searched, and how.",
        "space searcher scheduler num_trials max_time max_time_per_trial start_from rename "
        "prune_space sub_problems metric mode",
    ),
    "resources": (
        "What the study runs on, and where it keeps its files.",
        "groups storage",
    ),
}
"""Sections of a recipe: what each says, and the fields of a specification that it holds."""


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True, frozen=True
    )


def _section(name: str, text: str, names: str) -> type[_Section]:
    known = fields_of(Specification)
    chosen: Any = {field: (known[field].annotation, known[field]) for field in names.split()}
    return create_model(name.capitalize(), __base__=_Section, __doc__=text, **chosen)


def _described(field: FieldInfo, text: str) -> FieldInfo:
    field.description = text
    return field


def _layout() -> type[_Section]:
    known = fields_of(Specification)
    fields: dict[str, Any] = {"study": (known["name"].annotation, known["name"])}
    for name, (text, names) in SECTIONS.items():
        kind = _section(name, text, names)
        optional = not any(field.is_required() for field in kind.model_fields.values())
        whole: Any = Field(default_factory=kind) if optional else Field()
        fields[name] = (kind, _described(whole, text))
    fields["accept"] = (known["accept"].annotation, known["accept"])
    order = ("study", "fixed", "search", "accept", "resources")
    return create_model(
        "Recipe",
        __base__=_Section,
        __doc__="A recipe: what a study is, and what it runs on.",
        **{name: fields[name] for name in order},
    )


LAYOUT = _layout()
"""A recipe's sections and fields, for pydantic."""


@dataclass(frozen=True)
class Recipe:
    """A checked recipe.

    Attributes:
        document: The given fields, including overrides, without defaults.
        specification: The options of the study. Relative paths start at the recipe's folder.
    """

    document: Mapping[str, Any]
    specification: Specification = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: object, *, base: Path | None = None) -> Self:
        """Return the recipe that a mapping describes.

        Args:
            document: The contents of a recipe.
            base: Folder that its paths are relative to; None is the current folder.

        Raises:
            RecipeError: If a field is missing, unknown or wrong; one line for each field.
        """
        if not isinstance(document, Mapping) or not all(isinstance(key, str) for key in document):
            raise RecipeError(
                f"a recipe is a mapping with the keys {', '.join(LAYOUT.model_fields)}, "
                f"got {show(document)}."
            )
        base = (base or Path()).resolve()
        try:
            layout: Any = LAYOUT.model_validate(dict(document), context={"base": base})
        except ValidationError as error:
            raise RecipeError(explain(error, LAYOUT)) from None
        options = {"name": layout.study, "accept": layout.accept}
        for name in SECTIONS:
            options |= dict(getattr(layout, name))
        return cls(copy.deepcopy(dict(document)), Specification(**options, base=base))

    @classmethod
    def from_yaml(
        cls,
        text: str,
        *,
        source: str = "recipe",
        base: Path | None = None,
        overrides: Sequence[str] = (),
    ) -> Self:
        """Read a recipe from a YAML document.

        Args:
            text: The document.
            source: Name for errors, such as the name of the file.
            base: Folder that its paths are relative to; None is the current folder.
            overrides: Changes such as ``"search.num_trials=20"``, in order; values are YAML.

        Raises:
            RecipeError: If the document or an override is wrong.
        """
        document = read_yaml(text, source=source)
        if document is None:
            raise RecipeError(f"{source}: the recipe is empty; it needs study and fixed.")
        if isinstance(document, dict):
            for change in overrides:
                override(document, change, LAYOUT)
        try:
            return cls.of(document, base=base)
        except RecipeError as error:
            lines = str(error).splitlines()
            raise RecipeError("\n".join(f"{source}: {line}" for line in lines)) from None

    def to_yaml(self) -> str:
        """Return the recipe as YAML: the given fields, without defaults."""
        return write_yaml(self.document)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a YAML file.

    Args:
        path: The file; relative paths in it start at its folder.
        overrides: Changes such as ``"search.num_trials=20"``, in order; values are YAML.

    Raises:
        RecipeError: If the file cannot be read, or it or an override is wrong.
    """
    path = Path(path)
    text = read_file(path, "recipe")
    return Recipe.from_yaml(text, source=str(path), base=path.parent, overrides=overrides)


def schema_text() -> str:
    """Return the JSON schema of a recipe, the contents of ``recipe.schema.json``."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **LAYOUT.model_json_schema(),
    }
    for kind in schema["$defs"].values():  # its fields are described one by one
        kind["description"] = kind.get("description", "").partition(ARGUMENTS.rstrip())[0]
    return json.dumps(schema, indent=2) + "\n"
