import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rayfold import recipe as recipe_module
from rayfold.data import HDF5
from rayfold.documents import read_yaml
from rayfold.errors import RecipeError
from rayfold.recipe import Recipe, load_recipe, schema_text
from rayfold.space import Int, SearchSpace
from rayfold.specification import DEFAULT_EPOCHS, DEFAULT_NUM_TRIALS, Specification

DIGITS = """
study: digits
fixed:
  model: cnn
  data: {hdf5: digits.h5, features: features, labels: labels}
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
"""

SMALLEST = """
study: a
fixed: {model: mlp, data: {hdf5: a.h5}, epochs: 1}
search: {space: mlp, num_trials: 1}
"""


def change(*overrides: str) -> Recipe:
    return Recipe.from_yaml(DIGITS, source="digits.yaml", overrides=overrides)


class TestContents:
    def test_every_field_is_read(self) -> None:
        options = change().specification
        assert (options.name, options.holdout.fraction, options.folds.count) == (
            "digits",
            0.2,
            5,
        )
        assert options.searcher.settings()["genetic"]["population"] == 16
        assert (options.accept[0].at_least, options.groups.maximum) == (0.97, 4)

    def test_what_is_left_out_has_the_default_of_the_specification(self) -> None:
        options = Recipe.from_yaml(SMALLEST).specification
        given = {"name", "model", "data", "epochs", "space", "num_trials", "base"}
        fresh = Specification("a", model="mlp", data=HDF5("a.h5"))
        for field in fields(Specification):
            if field.name not in (*given, "searcher"):
                assert getattr(options, field.name) == getattr(fresh, field.name)
        assert options.searcher.settings() == fresh.searcher.settings()

    @pytest.mark.parametrize("text", [DIGITS, SMALLEST])
    def test_a_recipe_written_and_read_is_the_same(self, text: str) -> None:
        recipe = Recipe.from_yaml(text)
        assert Recipe.from_yaml(recipe.to_yaml()) == recipe == Recipe.of(recipe.document)
        assert read_yaml(recipe.to_yaml(), source="recipe") == read_yaml(text, source="recipe")

    def test_parameters_keep_their_types(self) -> None:
        recipe = change("fixed.parameters={a: true, b: 1, c: 1.0, d: adamw}")
        values = recipe.specification.parameters
        assert values == {"a": True, "b": 1, "c": 1.0, "d": "adamw"}
        assert [type(value) for value in values.values()] == [bool, int, float, str]

    @pytest.mark.parametrize("searcher", ["random", "{random: null}", "{random: {}}"])
    def test_a_searcher_without_arguments_may_be_a_name_or_a_mapping(self, searcher: str) -> None:
        made = change(f"search.searcher={searcher}").specification.searcher
        assert made.settings() == {"random": {"random_seed": 0}}

    def test_the_space_may_stand_in_the_recipe(self) -> None:
        recipe = change("search.space={model.depth: {int: [1, 3]}}")
        assert recipe.specification.space == SearchSpace({"model.depth": Int(1, 3)})

    def test_options_cannot_be_changed(self) -> None:
        with pytest.raises(FrozenInstanceError):
            change().specification.epochs = 3  # type: ignore[misc]


class TestErrors:
    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("study=2024", "study must be text, got 2024; put it in quotes."),
            ("study=''", "study must be text that is not empty, got ''."),
            (
                "fixed.task=regresion",
                "fixed.task must be 'classification' or 'regression', got 'regresion' "
                "(did you mean 'regression'?).",
            ),
            (
                "fixed.task=counts",
                "fixed.task must be 'classification' or 'regression', got 'counts'; register your "
                "own task in Python before the study: rayfold.tasks.TASKS['name'] = YourTask().",
            ),
            (
                "fixed.data.hdf5=3",
                "fixed.data.hdf5 must be text, or a list of one or more texts, got 3.",
            ),
            (
                "fixed.data.hdf5=[]",
                "fixed.data.hdf5 must be text, or a list of one or more texts, got [].",
            ),
            (
                "fixed.data.features=[a, a]",
                "fixed.data.features must name 'a' once only.",
            ),
            ("fixed.holdout=1", "fixed.holdout.fraction must be below 1, got 1."),
            (
                "fixed.holdout=-0.1",
                "fixed.holdout.fraction must be at least 0, got -0.1.",
            ),
            (
                "fixed.holdout={fraction: .nan}",
                "fixed.holdout.fraction must be a finite number, got nan.",
            ),
            ("fixed.folds=1", "fixed.folds.count must be at least 2, got 1."),
            ("fixed.folds=many", "fixed.folds.count must be a whole number, got 'many'."),
            ("fixed.folds.count=1", "fixed.folds.count must be at least 2, got 1."),
            (
                "fixed.folds.random_seed=-1",
                "fixed.folds.random_seed must be at least 0, got -1.",
            ),
            ("fixed.epochs=0", "fixed.epochs must be at least 1, got 0."),
            ("fixed.epochs=true", "fixed.epochs must be a whole number, got true."),
            ("fixed.epochs=10.0", "fixed.epochs must be a whole number, got 10.0."),
            ("fixed.epochs=ten", "fixed.epochs must be a whole number, got 'ten'."),
            ("fixed.epochs=null", "fixed.epochs must be a whole number, got null."),
            ("fixed.metrics=accuracy", "fixed.metrics must be a list, got 'accuracy'."),
            ("fixed.metrics=[]", "fixed.metrics must not be empty; leave it out instead."),
            (
                "fixed.parameters={optimizer: {name: sgd}}",
                "fixed.parameters.optimizer must be a bool, int, float or text, got "
                "{'name': 'sgd'}; write its name with dots: optimizer.name, not a mapping in a "
                "mapping.",
            ),
            (
                "fixed.parameters={momentum: .inf}",
                "fixed.parameters.momentum must be finite, got inf.",
            ),
            (
                "fixed.parameters={Momentum: 1}",
                "fixed.parameters must have names that are lower-case identifiers joined by "
                "dots, such as model.dropout, got 'Momentum'.",
            ),
            (
                "search.space={model.depth: {int: [3, 1]}}",
                "search.space is wrong: model.depth: Int: low must be below high, got 3 and 1; "
                "a hyperparameter with one value is fixed, not searched.",
            ),
            (
                "search.scheduler=[racing]",
                "search.scheduler must be the name of one scheduler, or that name with its "
                "arguments such as {racing: {rule: paired}}, got ['racing'].",
            ),
            ("search.max_time=0", "search.max_time must be above 0, got 0."),
            (
                "search.max_time=1.0e+300",
                "search.max_time must be at most 1000000000, got 1e+300.",
            ),
            (
                "search.max_time_per_trial=1h",
                "search.max_time_per_trial must be a number, got '1h'.",
            ),
            ("fixed.folds.repeats=0", "fixed.folds.repeats must be at least 1, got 0."),
            (
                "search.searcher={a: {}, b: {}}",
                "search.searcher must be the name of one searcher, or that name with its "
                "arguments such as {genetic: {population: 16}}, got {'a': {}, 'b': {}}.",
            ),
            (
                "search.searcher={genetic: 3}",
                "search.searcher must map genetic to its arguments, got 3.",
            ),
            (
                "search.searcher={genetic: {elite_fraction: .nan}}",
                "search.searcher must have finite numbers, got genetic elite_fraction nan.",
            ),
            ("accept=[]", "accept must not be empty; leave it out instead."),
            (
                "accept=[{metric: a}]",
                "accept.0 must have either at_least or at_most, got neither.",
            ),
            (
                "accept=[{metric: a, at_least: 1, at_most: 2}]",
                "accept.0 must have either at_least or at_most, got both.",
            ),
            (
                "resources.groups.minimum=5",
                "resources.groups must not have a minimum above its maximum, got minimum 5 and "
                "maximum 4; raise the maximum.",
            ),
            (
                "resources.groups.per_trial=5",
                "resources.groups must not have a per_trial above its maximum, got per_trial 5 "
                "and maximum 4; raise the maximum.",
            ),
            ("resources=null", "resources must be a mapping, got null."),
        ],
    )
    def test_a_wrong_value_is_told_with_its_field(self, override: str, message: str) -> None:
        with pytest.raises(RecipeError) as told:
            change(override)
        assert str(told.value) == f"digits.yaml: {message}"

    @pytest.mark.parametrize(
        "name", ["a b", ".hidden", "-a", "a/b", "../a", "ä", "a\n", "a" * 101, "mnist|1"]
    )
    def test_a_name_that_is_no_folder_name_is_refused(self, name: str) -> None:
        with pytest.raises(RecipeError, match="study must be 1 to 100 letters, digits"):
            change(f"study={json.dumps(name)}")

    @pytest.mark.parametrize("name", ["a", "mnist-8k_v1.2", "0", "a" * 100])
    def test_a_name_that_is_a_folder_name_is_taken(self, name: str) -> None:
        assert change(f"study={json.dumps(name)}").specification.name == name

    def test_a_missing_field_says_what_belongs_there(self) -> None:
        text = SMALLEST.replace("model: mlp, ", "")
        with pytest.raises(
            RecipeError, match=r"^a\.yaml: fixed\.model is missing; the model: a name of the"
        ):
            Recipe.from_yaml(text, source="a.yaml")

    def test_a_misspelt_field_comes_first_and_is_not_told_as_missing_again(self) -> None:
        with pytest.raises(RecipeError) as told:
            Recipe.from_yaml(SMALLEST.replace("model", "modle"))
        assert str(told.value) == (
            "recipe: fixed.modle is unknown (did you mean 'model'?); allowed here: model, data, "
            "task, holdout, learner, strategy, folds, epochs, loss, metrics, parameters, "
            "random_seed, initial_weights."
        )

    def test_each_error_is_a_line_that_names_its_field(self) -> None:
        with pytest.raises(RecipeError) as told:
            change(
                "fixed.epochs=0",
                "search.num_trials=0",
                "search.mode=up",
                "search.space={model.depth: {int: [8, 2]}}",
            )
        assert str(told.value).splitlines() == [
            "digits.yaml: fixed.epochs must be at least 1, got 0.",
            "digits.yaml: search.space is wrong: model.depth: Int: low must be below high, got 8 "
            "and 2; a hyperparameter with one value is fixed, not searched.",
            "digits.yaml: search.num_trials must be at least 1, got 0.",
            "digits.yaml: search.mode must be 'min' or 'max', got 'up'.",
        ]

    def test_a_number_alone_is_that_of_the_folds(self) -> None:
        short, long = change("fixed.folds=3"), change("fixed.folds={count: 3}")
        assert short.specification.folds == long.specification.folds

    def test_study_model_and_data_suffice(self) -> None:
        recipe = Recipe.from_yaml("{study: a, fixed: {model: mlp, data: {hdf5: a.h5}}}")
        options = recipe.specification
        assert (options.epochs, options.folds.count) == (DEFAULT_EPOCHS, 5)
        assert options.limit() == DEFAULT_NUM_TRIALS
        assert "model.hidden" in options.space

    def test_a_constant_in_a_space_is_a_choice_of_one(self) -> None:
        recipe = change("search.space={model.depth: 3, batch_size: {choice: [8, 16]}}")
        assert recipe.specification.space.to_dict() == {
            "model.depth": {"choice": [3]},
            "batch_size": {"choice": [8, 16]},
        }

    def test_an_unknown_key_in_a_list_is_told_with_its_place(self) -> None:
        with pytest.raises(RecipeError, match=r"accept\.0\.at_leest is unknown.*'at_least'"):
            change("accept=[{metric: a, at_leest: 1}]")

    def test_a_key_of_two_lines_is_told_in_one(self) -> None:
        with pytest.raises(RecipeError, match=r"'a\\nb' is unknown") as told:
            Recipe.from_yaml('"a\\nb": 1\n' + SMALLEST)
        assert "\n" not in str(told.value)

    def test_a_repeated_key_is_refused(self) -> None:
        with pytest.raises(RecipeError, match=r"^a\.yaml line 5: the key 'study' stands here"):
            Recipe.from_yaml(SMALLEST + "study: b\n", source="a.yaml")

    @pytest.mark.parametrize("value", [None, 3, [1], "text", {1: 2}])
    def test_what_is_no_mapping_is_refused(self, value: Any) -> None:
        with pytest.raises(RecipeError, match="a recipe is a mapping with the keys study, fixed"):
            Recipe.of(value)

    def test_a_mapping_raises_the_same_errors(self) -> None:
        with pytest.raises(RecipeError, match="fixed is missing"):
            Recipe.of({"study": "a", "search": {"space": "cnn", "num_trials": 1}})

    def test_what_is_wrong_in_several_fields_at_once_is_told_field_by_field(self) -> None:
        with pytest.raises(RecipeError, match=r"groups\.per_trial must not be above the number"):
            change("resources.groups={maximum: 6, per_trial: 6}")


class TestOverrides:
    @pytest.mark.parametrize(
        ("override", "value"),
        [
            ("search.num_trials=20", 20),
            ("fixed.data.hdf5=[a.h5, b.h5]", ["a.h5", "b.h5"]),
            ("fixed.holdout=1e-1", 0.1),
            ("fixed.loss=null", None),
            ("resources.storage=a=b", "a=b"),
            ("accept.0.at_least=0.5", 0.5),
            ("search.searcher.genetic.population=8", 8),
        ],
    )
    def test_the_named_field_is_changed(self, override: str, value: object) -> None:
        found: Any = change(override).document
        for key in override.partition("=")[0].split("."):
            found = found[int(key) if key.isdecimal() else key]
        assert found == value

    def test_a_parameter_is_one_dotted_name(self) -> None:
        recipe = change("fixed.parameters.optimizer.name=sgd", "fixed.parameters.batch_size=32")
        assert recipe.specification.parameters == {"optimizer.name": "sgd", "batch_size": 32}

    def test_nothing_else_is_changed(self) -> None:
        assert change("search.searcher.genetic.population=8").document["search"]["searcher"] == {
            "genetic": {"population": 8, "generations": 8, "random_seed": 7}
        }
        assert change("search.num_trials=128") == change()

    def test_later_ones_win(self) -> None:
        assert change("search.num_trials=20", "search.num_trials=30").specification.limit() == 30

    def test_a_searcher_that_is_a_name_is_given_arguments(self) -> None:
        recipe = change("search.searcher=random", "search.searcher.random.random_seed=3")
        assert recipe.specification.searcher.settings() == {"random": {"random_seed": 3}}

    def test_a_section_that_is_not_there_is_made(self) -> None:
        recipe = Recipe.from_yaml(SMALLEST, overrides=["resources.groups.maximum=4"])
        assert recipe.specification.groups.maximum == 4

    def test_a_parameter_of_a_space_in_the_recipe_is_changed(self) -> None:
        recipe = change(
            "search.space={model.depth: {int: [1, 3]}}", "search.space.model.depth={int: [2, 4]}"
        )
        assert recipe.specification.space.to_dict() == {"model.depth": {"int": [2, 4]}}

    @pytest.mark.parametrize(
        ("override", "match"),
        [
            ("search.num_trial=20", r"search\.num_trial is unknown \(did you mean 'num_trials'"),
            ("serch.num_trials=20", r"serch is unknown \(did you mean 'search'\?\)"),
            ("accept.0.atleast=1", r"accept\.0\.atleast is unknown \(did you mean 'at_least'"),
            ("accept.1.at_least=1", "accept has 1 entries, counted from 0, got 1"),
            ("accept.at_least=1", r"accept is a list; name an entry .*accept\.0\.field"),
            ("fixed.epochs.x=3", r"fixed\.epochs is a single value; it has no 'x'"),
            ("search.space.model.depth={int: [1, 2]}", r"search\.space is 'cnn', which has no"),
            ("search.num_trials=", "write a field and its value"),
            ("search.num_trials", "write a field and its value"),
            ("=20", "write a field and its value"),
            ("search..num_trials=20", "write a field and its value"),
            ("search.num_trials={", "this is not YAML"),
        ],
    )
    def test_a_place_or_value_that_cannot_be_is_refused(self, override: str, match: str) -> None:
        with pytest.raises(RecipeError, match=match) as told:
            change(override)
        assert str(told.value).startswith(f"override {override!r}")
        assert "\n" not in str(told.value)

    def test_a_section_that_is_a_value_is_not_written_into(self) -> None:
        with pytest.raises(RecipeError, match="fixed is 3, which has no fields"):
            Recipe.from_yaml("fixed: 3", overrides=["fixed.epochs=3"])


class TestFiles:
    def test_paths_are_relative_to_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "digits.yaml").write_text(DIGITS)
        recipe = load_recipe(tmp_path / "digits.yaml", ["search.num_trials=20"])
        assert recipe.specification.base == tmp_path
        assert recipe.specification.num_trials == 20

    def test_a_recipe_from_no_file_is_relative_to_the_current_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert Recipe.from_yaml(SMALLEST).specification.base == tmp_path

    def test_errors_name_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "digits.yaml"
        path.write_text(DIGITS.replace("epochs: 10", "epochs: 0"))
        with pytest.raises(RecipeError) as told:
            load_recipe(path)
        assert str(told.value) == f"{path}: fixed.epochs must be at least 1, got 0."

    def test_a_byte_order_mark_is_read_over(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(SMALLEST.lstrip(), encoding="utf-8-sig")
        assert load_recipe(tmp_path / "a.yaml").specification.name == "a"

    def test_a_missing_file_is_told_with_the_nearest_one(self, tmp_path: Path) -> None:
        (tmp_path / "digits.yaml").write_text(DIGITS)
        with pytest.raises(RecipeError, match=r"there is no such .*did you mean 'digits\.yaml'"):
            load_recipe(tmp_path / "digit.yaml")

    def test_of_names_that_share_their_ending_alone_none_is_near(self, tmp_path: Path) -> None:
        (tmp_path / "py.yaml").write_text(DIGITS)
        with pytest.raises(RecipeError, match=r"nope\.yaml: there is no such recipe\.$"):
            load_recipe(tmp_path / "nope.yaml")

    def test_a_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match=r"is a folder; give the recipe's YAML file\.$"):
            load_recipe(tmp_path)

    @pytest.mark.parametrize(
        ("contents", "match"),
        [
            (b"", "the recipe is empty; it needs study and fixed"),
            (b"# nothing\n", "the recipe is empty"),
            (b"\xff\xfe\x00", "a recipe is UTF-8 text, and this file is not"),
            (b"- study: a\n", r"a recipe is a mapping .*got \[\{'study': 'a'\}\]"),
            (b"a: [", "line 1: this is not YAML"),
        ],
    )
    def test_a_file_that_holds_no_recipe_is_told_in_one_line(
        self, tmp_path: Path, contents: bytes, match: str
    ) -> None:
        (tmp_path / "a.yaml").write_bytes(contents)
        with pytest.raises(RecipeError, match=match) as told:
            load_recipe(tmp_path / "a.yaml", ["search.num_trials=20"])
        assert "\n" not in str(told.value)


def test_data_may_lie_in_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    change_ = ["fixed.data.hdf5=[~/a.h5, b.h5]"]
    recipe = Recipe.from_yaml(DIGITS, overrides=change_, base=Path("/data"))
    assert isinstance(recipe.specification.data, HDF5)
    assert recipe.specification.data.paths == ("/home/ada/a.h5", "/data/b.h5")


class TestSchema:
    def test_the_shipped_schema_is_current(self) -> None:
        shipped = Path(recipe_module.__file__).with_name("recipe.schema.json").read_text()
        assert shipped == schema_text(), (
            "write it anew: python -c 'from rayfold.recipe import schema_text; "
            'print(schema_text(), end="")\' > platform/rayfold/recipe/recipe.schema.json'
        )

    @pytest.mark.parametrize("text", [DIGITS, SMALLEST])
    def test_editors_accept_good_recipes(self, text: str) -> None:
        jsonschema.validate(read_yaml(text, source="recipe"), json.loads(schema_text()))

    @pytest.mark.parametrize(
        ("before", "after"),
        [("epochs", "epoch"), ("epochs: 1", "epochs: 0"), ("study: a", "study: a b")],
    )
    def test_editors_refuse_wrong_recipes(self, before: str, after: str) -> None:
        document = read_yaml(SMALLEST.replace(before, after), source="recipe")
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document, json.loads(schema_text()))


def test_reading_a_recipe_imports_no_heavy_package() -> None:
    program = (
        "import sys, rayfold.recipe; print(*sorted({'torch', 'ray', 'mlflow'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "\n"


class TestReferences:
    """Searchers and schedulers of one's own, in files beside the recipe."""

    EXAMPLES = Path(__file__).parents[1] / "examples"

    def read(self, *overrides: str) -> Recipe:
        text = """
            study: a
            fixed: {model: mlp, data: {hdf5: a.h5}}
            search:
              searcher: {"./hill_climber.py:HillClimber": {num_initial: 3}}
              scheduler: ./median_stopping.py:MedianStopping
            """
        return Recipe.from_yaml(text, base=self.EXAMPLES, overrides=overrides)

    def test_they_are_made_from_files_beside_the_recipe(self) -> None:
        options = self.read().specification
        assert options.searcher.settings()["hill_climber"]["num_initial"] == 3
        assert (options.scheduler.settings(), options.fold_order) == (
            {"median_stopping": {"least": 3}},
            "together",
        )

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("search.searcher=./nope.py:X", r"searcher is wrong: searcher \./nope\.py:X: cannot"),
            ("search.searcher=./hill_climber.py:X", r"\./hill_climber\.py has no 'X'"),
            (
                'search.searcher={"./hill_climber.py:HillClimber": {foo: 1}}',
                r"takes num_initial, random_seed, got 'foo'",
            ),
            (
                "search.scheduler=./hill_climber.py:HillClimber",
                r"must be a subclass of rayfold\.schedulers\.Scheduler",
            ),
        ],
    )
    def test_what_is_wrong_is_told_with_the_field(self, override: str, message: str) -> None:
        with pytest.raises(RecipeError, match=message):
            self.read(override)
