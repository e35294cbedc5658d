"""Recipes: one YAML file, validated, with a JSON schema for editors beside this file."""

from rayfold.recipe.recipe import (
    Acceptance,
    Recipe,
    check_study_name,
    load_recipe,
    schema_text,
)

__all__ = ["Acceptance", "Recipe", "check_study_name", "load_recipe", "schema_text"]
