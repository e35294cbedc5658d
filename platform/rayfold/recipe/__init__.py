"""Recipes: checked YAML files, with a JSON schema for editors beside this file."""

from rayfold.recipe.recipe import Recipe, load_recipe, schema_text

__all__ = ["Recipe", "load_recipe", "schema_text"]
