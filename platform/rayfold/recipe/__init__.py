"""Recipes: one YAML file, validated, with a JSON schema for editors beside this file."""

from rayfold.recipe.acceptance import Acceptance, Verdict
from rayfold.recipe.recipe import (
    DEFAULT_EPOCHS,
    DEFAULT_NUM_TRIALS,
    Recipe,
    check_study_name,
    load_recipe,
    schema_text,
)

__all__ = [
    "DEFAULT_EPOCHS",
    "DEFAULT_NUM_TRIALS",
    "Acceptance",
    "Recipe",
    "Verdict",
    "check_study_name",
    "load_recipe",
    "schema_text",
]
