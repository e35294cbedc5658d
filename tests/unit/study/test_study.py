from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import ray
from ray.tune.schedulers import AsyncHyperBandScheduler, PopulationBasedTraining
from ray.tune.search.optuna import OptunaSearch
from torch import nn

from rayfold.acceptance import Acceptance
from rayfold.data import HDF5, Folds
from rayfold.errors import DataError, JournalError, RayfoldError, RecipeError
from rayfold.groups.plan import Groups
from rayfold.journal import Journal, read_journal
from rayfold.recipe import Recipe
from rayfold.results import Config, Status
from rayfold.schedulers import Halving, Population, Racing, Replay
from rayfold.search import Bayesian, Fixed, Genetic, Random, Searcher
from rayfold.space import Choice, Float, Int, SearchSpace
from rayfold.specification import DEFAULT_NUM_TRIALS
from rayfold.study import Study
from rayfold.study.opened import Call
from tests.study_here import describe, open_here

MakeStudy = Callable[..., Study]


class Layers(nn.Module):
    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int, layers: list[int]):
        super().__init__()
        sizes = [int(np.prod(input_shape)), *layers, num_outputs]
        self.layers = nn.Sequential(nn.Flatten(), *map(nn.Linear, sizes[:-1], sizes[1:]))


class Net(nn.Module):
    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int, width: int = 8) -> None:
        super().__init__()


@pytest.fixture(autouse=True)
def _nothing_is_started() -> Any:
    """Whatever is wrong with a study is told before Ray starts."""
    was_started = ray.is_initialized()
    yield
    assert ray.is_initialized() == was_started


def begin(study: Study) -> None:
    """Write what a first run writes, and no trials."""
    with Journal.open(study.folder / "journal.jsonl") as journal:
        open_here(study, journal, study.specification.limit())


POPULATION_SPACE = SearchSpace(
    {
        "model.hidden": Choice(8, 16),
        "model.dropout": Float(0.0, 0.5),
        "optimizer.learning_rate": Float(1e-3, 1e-1, log=True),
    }
)


class TestPopulation:
    def make(self, make_study: MakeStudy, *perturb: str, **changes: Any) -> Study:
        arguments: dict[str, Any] = {
            "space": POPULATION_SPACE,
            "scheduler": Population(interval=2, perturb=perturb),
            "searcher": None,
            "folds": Folds(3, order="together"),
        }
        return make_study(**{**arguments, **changes})

    def test_a_population_of_random_configurations_is_planned(self, make_study: MakeStudy) -> None:
        study = self.make(make_study)
        assert study.plan(6).num_trials == 6
        assert isinstance(study.specification.searcher, Random)

    def test_a_parameter_that_gives_weights_another_shape_is_refused(
        self, make_study: MakeStudy
    ) -> None:
        study = self.make(make_study, "model.dropout", "model.hidden")
        with pytest.raises(
            RecipeError, match=r"model\.hidden changes the model's weights \(layers"
        ):
            study.plan(6)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"folds": Folds(3, order="in_turn")}, "population compares trials epoch by epoch"),
            (
                {"searcher": Genetic()},
                r"searcher genetic gets no results to learn from",
            ),
            ({"searcher": Bayesian()}, r"searcher bayesian gets no results to learn from"),
            ({"max_time_per_trial": 5}, "max_time_per_trial does not work with the scheduler"),
            ({"epochs": 2}, "interval must be below the study's epochs, 2, not 2"),
        ],
    )
    def test_what_does_not_go_with_a_population_is_refused(
        self, changes: dict[str, Any], message: str, make_study: MakeStudy
    ) -> None:
        with pytest.raises(RecipeError, match=message):
            self.make(make_study, **changes).plan(6)

    def test_one_trial_is_no_population(self, make_study: MakeStudy) -> None:
        with pytest.raises(RecipeError, match="size of the population, at least 2, not 1"):
            self.make(make_study).plan(1)

    def test_ray_tunes_own_is_refused_with_what_to_use(self, make_study: MakeStudy) -> None:
        given = PopulationBasedTraining(hyperparam_mutations={"batch_size": [16, 32]})
        with pytest.raises(
            RecipeError, match=r"use rayfold\.schedulers\.Population, which drives"
        ):
            self.make(make_study, scheduler=given, searcher=Random()).plan(6)


FIRST: Config = {
    "model.hidden": 8,
    "model.dropout": 0.1,
    "optimizer.learning_rate": 1e-2,
}


class TestReplay:
    def make(self, make_study: MakeStudy, *schedule: tuple[int, Config], **changes: Any) -> Study:
        arguments: dict[str, Any] = {
            "space": POPULATION_SPACE,
            "scheduler": Replay(schedule),
            "searcher": Fixed([FIRST]),
            "folds": Folds(3, order="together"),
            "epochs": 4,
        }
        return make_study(**{**arguments, **changes})

    def test_a_schedule_of_what_a_population_may_change_is_planned(
        self, make_study: MakeStudy
    ) -> None:
        later = {**FIRST, "optimizer.learning_rate": 1e-3, "model.dropout": 0.4}
        assert self.make(make_study, (0, FIRST), (3, later)).plan().num_trials == 1

    @pytest.mark.parametrize(
        ("schedule", "message"),
        [
            (
                [(0, FIRST), (1, {**FIRST, "foo": 1})],
                r"^schedule, epoch 1: 'foo' is not a parameter of the space; leave it out",
            ),
            (
                [(0, FIRST), (1, {**FIRST, "model.hidden": 16, "model.dropout": 0.2})],
                r"^schedule, epoch 1: model\.hidden from 8 to 16 and model\.dropout .* changes "
                r"the model's weights \(layers.*\), which cannot be gone on with; leave",
            ),
            (
                [(0, FIRST), (50, FIRST)],
                "^schedule changes values after epoch 50, but the study has 4 epochs; leave",
            ),
            (
                [(0, FIRST), (1, {**FIRST, "optimizer.learning_rate": "x"})],
                r"^schedule, epoch 1: optimizer\.learning_rate must be a number .*, got 'x'",
            ),
            ([(0, {})], r"^schedule, epoch 0: model\.hidden is missing; give it one of 8, 16"),
            (
                [(0, {**FIRST, "model.hidden": 16})],
                r"^configs\[0\]: model\.hidden is 8, but the schedule begins with 16; use",
            ),
        ],
    )
    def test_a_schedule_that_cannot_be_trained_is_one_line(
        self, schedule: list[tuple[int, Config]], message: str, make_study: MakeStudy
    ) -> None:
        study = self.make(make_study, *schedule)
        for begin in (study.plan, study.run):
            with pytest.raises(RayfoldError, match=message) as refused:
                begin()
            assert len(str(refused.value).splitlines()) == 1

    def test_a_searcher_of_other_first_values_is_refused(self, make_study: MakeStudy) -> None:
        with pytest.raises(RecipeError, match=r"replay trains the first .*; use searcher=Fixed\("):
            self.make(make_study, (0, FIRST), searcher=Random()).plan(1)


class TestPlan:
    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({**FIRST, "model.hidden": 999}, r"model\.hidden must be one of 8, 16, got 999"),
            (
                {"model.hidden": 8},
                r"model\.dropout is missing; give it a number from 0\.0 to 0\.5",
            ),
        ],
    )
    def test_given_configurations_are_those_of_the_space(
        self, config: Config, message: str, make_study: MakeStudy
    ) -> None:
        study = make_study(space=POPULATION_SPACE, searcher=Fixed([FIRST, config]))
        with pytest.raises(RayfoldError, match=rf"^configs\[1\]: {message}"):
            study.plan()

    def test_the_plan_tells_what_will_run(self, make_study: MakeStudy) -> None:
        """15,360 bytes of features and 480 of labels."""
        plan = make_study(epochs=7, groups=Groups(1, 2)).plan(5)
        assert (plan.num_trials, plan.num_folds, plan.epochs) == (5, 3, 7)
        assert plan.num_fold_trainings == 15
        assert plan.data_bytes == 60 * 8 * 8 * 4 + 60 * 8
        assert plan.num_nodes == 3

    def test_a_searcher_that_ends_limits_the_trials(self, make_study: MakeStudy) -> None:
        """4 at random and two generations of 3 children make 10."""
        study = make_study()
        assert study.plan().num_trials == 10
        assert study.plan(4).num_trials == 4
        assert study.plan(100).num_trials == 10

    @pytest.mark.parametrize("searcher", [None, Random(), Genetic(population=4)])
    def test_a_searcher_that_never_ends_has_fifty_trials(
        self, make_study: MakeStudy, searcher: Searcher | None
    ) -> None:
        study = make_study(searcher=searcher)
        assert study.plan(100).num_trials == 100
        assert study.plan().num_trials == DEFAULT_NUM_TRIALS == 50

    def test_a_recipe_and_python_have_the_same_defaults(
        self, make_study: MakeStudy, digits: Path, tmp_path: Path
    ) -> None:
        text = f"{{study: digits, fixed: {{model: mlp, data: {{hdf5: {digits}}}}}}}"
        by_recipe = Study.from_recipe(Recipe.from_yaml(text, base=tmp_path))
        by_hand = make_study(searcher=None, folds=Folds(), storage=by_recipe.storage)
        assert describe(by_recipe) == describe(by_hand)
        assert by_recipe.plan().lines() == by_hand.plan().lines()

    @pytest.mark.parametrize("value", [0, -1, 1.5, "3", True])
    def test_the_number_of_trials_is_whole_and_positive(
        self, make_study: MakeStudy, value: object
    ) -> None:
        with pytest.raises(RecipeError, match=r"^num_trials must be (a whole|at least 1)"):
            make_study().plan(value)  # type: ignore[arg-type]

    def test_what_is_accepted_must_be_computed(self, make_study: MakeStudy) -> None:
        study = make_study(accept=[Acceptance(metric="val_acuracy", at_least=0.9)])
        with pytest.raises(
            RecipeError, match=r"^accept: metric 'val_acuracy' is not .*'val_accuracy'"
        ):
            study.plan(2)

    def test_a_recipe_makes_the_same_study(self, make_study: MakeStudy, digits: Path) -> None:
        recipe = Recipe.from_yaml(
            f"""
            study: digits
            fixed:
              model: mlp
              data: {{hdf5: {digits}}}
              folds: {{count: 3}}
              epochs: 10
            search:
              space: mlp
              searcher: {{genetic: {{population: 4, generations: 3}}}}
              num_trials: 6
            accept:
              - {{metric: val_accuracy, at_least: 0.5}}
            resources:
              groups: {{maximum: 2}}
            """
        )
        study = Study.from_recipe(recipe)
        accept = [Acceptance(metric="val_accuracy", at_least=0.5)]
        assert describe(study) == describe(make_study(accept=accept))
        assert study.plan().num_trials == 6
        assert study.plan(3).num_trials == 3
        whole = Recipe.from_yaml(recipe.to_yaml(), overrides=["search.num_trials=null"])
        assert Study.from_recipe(whole).plan().num_trials == 10
        assert study.specification.groups == Groups(1, 2)
        assert study.accept[0].at_least == 0.5

    def test_data_are_read_when_they_are_needed(self, make_study: MakeStudy) -> None:
        study = make_study(data=HDF5("absent.h5"))
        with pytest.raises(DataError, match=r"absent.h5: there is no such file"):
            study.plan()

    def test_more_folds_than_rows_of_a_class_are_refused(self, make_study: MakeStudy) -> None:
        with pytest.raises(DataError, match="20"):
            make_study(folds=Folds(21)).plan()


class TestArguments:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"model": Net}, r"^space is missing; say what is to be searched\.$"),
            ({"model": "pkg.net:Net"}, r"^space is missing; say what is to be searched\.$"),
            ({"model": "mlq"}, r"'mlq' is unknown \(did you mean 'mlp'\?\)"),
            ({"space": "cmn"}, r"search space 'cmn' is unknown \(did you mean 'cnn'\?\)"),
            (
                {"epochs": 10**21},
                r"^epochs must be at most 1000000000, got 1000000000000000000000\.$",
            ),
            ({"max_time_per_trial": 1e300}, "^max_time_per_trial must be at most 1000000000, got"),
            ({"max_time_per_trial": 10**400}, "^max_time_per_trial must be a number, got 1000"),
            ({"storage": "a\0b"}, "a path must not hold the character 0"),
            ({"epochs": 0}, r"^epochs must be at least 1, got 0\.$"),
            ({"epochs": 1.5}, r"^epochs must be a whole number, got 1\.5\.$"),
            ({"epochs": True}, r"^epochs must be a whole number, got true\.$"),
            ({"name": "../digits"}, r"^name must be "),
            ({"name": ""}, r"^name must be "),
            ({"name": "mlflow.db"}, r"^name must not be 'mlflow\.db', because the storage has"),
            ({"name": "Artifacts"}, r"^name must not be 'Artifacts'"),
            ({"name": "mlflow.db-journal"}, r"^name must not be 'mlflow"),
            ({"searcher": Net}, r"^searcher must be an object of rayfold.search, such as "),
            ({"searcher": "genetik"}, r"^searcher is wrong: .* \(did you mean 'genetic'\?\)"),
            ({"scheduler": Net}, r"^scheduler must be an object of rayfold.schedulers, such"),
            (
                {"max_time_per_trial": 0},
                r"^max_time_per_trial must be above 0, got 0\.$",
            ),
            ({"fold_order": "x"}, "^fold_order is now order of the folds: folds=Folds"),
            ({"mode": "maximize"}, "^mode must be 'min' or 'max', got 'maximize'"),
            (
                {"checkpoint_seconds": -1},
                "^checkpoint_seconds must be at least 0, got -1",
            ),
            ({"max_time_per_trial": "1h"}, r"^max_time_per_trial must be a number, got '1h'"),
            (
                {"scheduler": Halving(), "folds": Folds(3, order="in_turn")},
                r"^the scheduler halving compares trials epoch by epoch; set folds\.order",
            ),
            (
                {"scheduler": Racing(), "folds": Folds(3, order="together")},
                r"^the scheduler racing compares trials fold by fold; set folds\.order",
            ),
        ],
    )
    def test_a_wrong_argument_is_told_at_once(
        self, make_study: MakeStudy, changes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(RecipeError, match=message):
            make_study(**changes)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"loss": "mse"}, r"^loss 'mse' is unknown for classification"),
            ({"metrics": ["acuracy"]}, r"'acuracy' .*\(did you mean 'accuracy'\?\)"),
            ({"metric": "val_f1"}, r"^metric 'val_f1' is not computed"),
            ({"metric": "val_los"}, r"'val_los' .*\(did you mean 'val_loss'\?\)"),
            ({"parameters": {"model.depth": 2}}, r"^model.depth is both searched and fixed"),
            ({"parameters": {"model.heads": 2}}, r"^model.heads is no argument of MLP"),
            ({"parameters": {"optimiser.eps": 1.0}}, r"'optimiser.eps' .* mean 'optimizer\.'"),
            ({"parameters": {"schedule.gamma": 0.5}}, r"^schedule.gamma does not belong to "),
            ({"space": {"batch_size": {"int": [0, 8]}}}, r"^batch_size must be a whole number"),
            (
                {"scheduler": Halving(grace_epochs=10), "folds": Folds(3, order="together")},
                r"^grace_epochs must be below the study's epochs, 10, not 10; lower it",
            ),
            (
                {"scheduler": AsyncHyperBandScheduler(metric="loss", mode="min")},
                r"^AsyncHyperBandScheduler has metric='loss' and mode='min'; leave both out",
            ),
        ],
    )
    def test_a_wrong_name_is_told_by_the_plan(
        self, make_study: MakeStudy, changes: dict[str, Any], message: str
    ) -> None:
        study = make_study(**changes)
        with pytest.raises(RecipeError, match=message):
            study.plan()

    @pytest.mark.parametrize("field", ["epochs", "groups", "space"])
    def test_every_error_is_one_of_ours_and_one_line(
        self, make_study: MakeStudy, field: str
    ) -> None:
        wrong = {"epochs": -1, "space": {"model.depth": {"int": [2, 1]}}}
        with pytest.raises(RayfoldError) as error:
            Groups(0) if field == "groups" else make_study(**{field: wrong[field]})
        assert "\n" not in str(error.value)

    def test_its_repr_is_a_line(self, make_study: MakeStudy) -> None:
        study = make_study("d" * 100)
        assert len(repr(study)) <= 200
        assert repr(make_study()) == (
            "<Study 'digits': rayfold.models.mlp:MLP by genetic, "
            f"{len(study.specification.space)} hyperparameters, 3 folds x 10 epochs>"
        )

    def test_the_library_knows_the_space_of_its_models(self, make_study: MakeStudy) -> None:
        study = make_study(model="cnn")
        assert "model.channels" in study.specification.space
        assert study.plan().num_folds == 3

    def test_ones_own_class_is_a_model(self, make_study: MakeStudy) -> None:
        study = make_study(model=Net, space=SearchSpace({"model.width": Int(4, 8)}))
        assert study._asked().limit() == 10

    def test_the_metric_knows_its_mode(self, make_study: MakeStudy) -> None:
        assert make_study().preparation.settings.mode == "min"
        assert make_study(metric="val_accuracy").preparation.settings.mode == "max"
        assert make_study(metric="val_accuracy", mode="max").preparation.settings.mode == "max"

    @pytest.mark.parametrize(("metric", "mode"), [("val_accuracy", "min"), ("val_loss", "max")])
    def test_a_mode_against_the_metrics_own_is_refused(
        self, make_study: MakeStudy, metric: str, mode: str
    ) -> None:
        with pytest.raises(RecipeError, match=rf"mode is '{mode}', but a .* {metric} is good"):
            make_study(metric=metric, mode=mode).plan()

    def test_a_study_keeps_its_files_in_the_storage(
        self, make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert make_study("faces").folder == tmp_path / "store" / "faces"
        monkeypatch.setenv("RAYFOLD_STORAGE", str(tmp_path / "elsewhere"))
        assert make_study("faces", storage=None).folder == tmp_path / "elsewhere" / "faces"

    def test_a_storage_that_takes_no_files_is_refused_by_the_plan(
        self, make_study: MakeStudy
    ) -> None:
        """The kernel's own folder: root may write there, but nothing can be made in it."""
        with pytest.raises(
            RecipeError, match=r"/proc/store/digits: the study's folder cannot be made, since /p"
        ):
            make_study(storage="/proc/store").plan()

    @pytest.mark.parametrize("max_time", [0, -1.0, True, "60", float("inf")])
    def test_a_limit_of_time_is_a_number_of_seconds(
        self, make_study: MakeStudy, max_time: object
    ) -> None:
        with pytest.raises(RecipeError, match=r"^max_time must be (a number|above 0|a finite)"):
            make_study().run(1, max_time=max_time)  # type: ignore[arg-type]

    def test_few_rows_are_told_of_unless_they_are_cut_more_than_once(
        self, make_study: MakeStudy
    ) -> None:
        [hint] = make_study().plan().hints
        assert hint == "60 rows are few: folds.repeats=3 would steady the scores"
        plan = make_study(folds=Folds(3, repeats=2)).plan(2)
        assert plan.hints == ()
        assert (plan.num_folds, plan.num_fold_trainings) == (6, 12)

    def test_a_recipe_names_the_scheduler_and_the_limits(self, digits: Path) -> None:
        text = f"""
            study: digits
            fixed: {{model: mlp, data: {{hdf5: {digits}}}, epochs: 4, folds: {{repeats: 2}}}}
            search:
              space: mlp
              scheduler: {{racing: {{rule: paired, level: 0.1}}}}
              num_trials: 2
              max_time: 60
              max_time_per_trial: 7.5
            """
        study = Study.from_recipe(Recipe.from_yaml(text))
        assert describe(study)["scheduler"] == {
            "racing": {"rule": "paired", "top": 0.1, "level": 0.1}
        }
        assert (study.specification.max_time, study.specification.max_time_per_trial) == (
            60.0,
            7.5,
        )
        assert study.plan().num_folds == 10
        with pytest.raises(
            RecipeError,
            match=r"search\.scheduler is wrong: .* mean 'racing'.*choose from racing, ",
        ):
            Recipe.from_yaml(text, overrides=["search.scheduler=rasing"])

    def test_parts_of_ray_tune_are_named_in_the_journal(self, make_study: MakeStudy) -> None:
        study = make_study(searcher=OptunaSearch(), scheduler=AsyncHyperBandScheduler())
        description = describe(study)
        assert description["searcher"] == {"tune": {"searcher": "OptunaSearch"}}
        assert description["scheduler"] == {"tune": {"scheduler": "AsyncHyperBandScheduler"}}
        assert study.plan(3).num_trials == 3


class TestGoingOn:
    def test_the_journal_begins_with_what_the_study_is(self, make_study: MakeStudy) -> None:
        study = make_study()
        begin(study)
        first, second = read_journal(study.folder / "journal.jsonl")
        assert (first.event, first.fields["name"]) == ("study", "digits")
        assert (second.event, second.fields["state"]) == ("run", "started")
        description = first.fields["description"]
        assert description["model"] == "rayfold.models.mlp:MLP"
        assert description["classes"] == [0, 1, 2]
        assert description["inputs"] == [{"name": "features", "shape": [8, 8], "dtype": "float32"}]
        assert (description["num_outputs"], description["num_rows"]) == (3, 60)
        assert (description["metric"], description["mode"]) == ("val_loss", "min")
        assert (description["loss"], description["metrics"]) == ("cross_entropy", ["accuracy"])

    def test_the_same_study_goes_on_under_the_same_id(self, make_study: MakeStudy) -> None:
        study = make_study()
        begin(study)
        begin(
            make_study(
                checkpoint_seconds=1.0, groups=Groups(1, 4), folds=Folds(3, order="together")
            )
        )
        entries = read_journal(study.folder / "journal.jsonl")
        assert [entry.event for entry in entries] == ["study", "run", "run"]

    def test_it_goes_on_with_more_trials_by_the_population_that_it_began_with(
        self, make_study: MakeStudy
    ) -> None:
        """A quarter more would have another population: the journal says what it was fitted to."""
        suggested = []
        for num_trials in (16, 60):
            study = make_study(searcher=None)
            with Journal.open(study.folder / "journal.jsonl") as journal:
                ledger = open_here(study, journal, num_trials).ledger
                for _ in range(10):
                    if num_trials == 16:
                        trial = ledger.next_trial()
                        assert trial is not None
                        ledger.trial_finished(trial.id, "failed", error="no")
                suggested.append([result.config for result in ledger.results])
        assert len(suggested[0]) == 10
        assert suggested[0] == suggested[1]

    def test_a_tuple_among_the_parameters_does_not_keep_it_from_going_on(
        self, make_study: MakeStudy
    ) -> None:
        size: Any = np.int64(8)
        space = SearchSpace({"batch_size": Choice(size, 16)})
        parameters = {"model.layers": (np.int64(8), 16)}
        for _ in range(2):
            study = make_study(
                model=Layers,
                space=space,
                parameters=parameters,
                random_seed=np.int64(7),
                epochs=np.int64(2),
            )
            with Journal.open(study.folder / "journal.jsonl") as journal:
                open_here(study, journal, 6)
        begun = read_journal(study.folder / "journal.jsonl")[0].fields["description"]
        assert begun["parameters"] == {"model.layers": [8, 16]}

    @pytest.mark.parametrize(
        ("change", "changes"),
        [
            (r"model: rayfold\.models\.mlp:MLP -> rayfold\.models\.cnn:CNN", {"model": "cnn"}),
            (r"epochs: 2 -> 9", {"epochs": 9}),
            (r"metrics: \[accuracy\] -> \[accuracy, f1\]", {"metrics": ["accuracy", "f1"]}),
            (r"metric: val_loss -> val_accuracy; mode: min -> max", {"metric": "val_accuracy"}),
            (r"folds\.random_seed: 0 -> 1", {"folds": Folds(3, random_seed=1)}),
            (
                r"folds\.count: 3 -> 4; folds\.kind: auto -> plain",
                {"folds": Folds(4, kind="plain")},
            ),
            (
                r"parameters\.schedule\.warmup_epochs: added, 1",
                {"parameters": {"schedule.warmup_epochs": 1}},
            ),
            (r"random_seed: 0 -> 1", {"random_seed": 1}),
            (
                r"searcher\.genetic\.population: 4 -> 5",
                {"searcher": Genetic(population=5, generations=3, random_seed=1)},
            ),
            (
                r"batch_size: 8, 16 -> 8, 32; model\.dropout: 0\.0\.\.0\.5 \(float\) -> removed; "
                r"model\.hidden: added, 32\.\.512 \(log\)",
                {
                    "space": SearchSpace(
                        {"batch_size": Choice(8, 32), "model.hidden": Int(32, 512, log=True)}
                    )
                },
            ),
            (r"scheduler: none -> \{racing: ", {"scheduler": Racing()}),
        ],
    )
    def test_a_changed_setting_is_refused_and_told_by_its_fields(
        self, make_study: MakeStudy, change: str, changes: dict[str, Any]
    ) -> None:
        space = SearchSpace({"batch_size": Choice(8, 16), "model.dropout": Float(0.0, 0.5)})
        begun = {
            "space": space,
            "searcher": Genetic(population=4, generations=3, random_seed=1),
            "epochs": 2,
        }
        begin(make_study(**begun))
        study = make_study(**{**begun, **changes})
        with pytest.raises(
            RecipeError,
            match=rf"^study 'digits' has changed since it began: {change}.*; put that back, or",
        ):
            begin(study)

    def test_changed_data_are_refused_and_told_by_what_has_changed(
        self, make_study: MakeStudy, digits: Path
    ) -> None:
        begin(make_study())
        with h5py.File(digits, "r+") as file:
            file["features"][0, 0, 0] = 0.5
        match = "since it began: data: the same inputs, rows and classes, but other contents; put"
        with pytest.raises(RecipeError, match=match):
            begin(make_study())
        with h5py.File(digits, "r+") as file:
            features, labels = file["features"][:-30], file["labels"][:-30]
            del file["features"], file["labels"]
            file["features"], file["labels"] = features.astype("f8"), labels
        match = (
            r"data\.inputs\.features: float32 of shape \(8, 8\) -> float64 of shape \(8, 8\); "
            r"data\.rows: \d+ -> \d+; put"
        )
        with pytest.raises(RecipeError, match=match):
            begin(make_study())

    def test_a_run_refuses_a_changed_setting_before_anything_starts(
        self, make_study: MakeStudy
    ) -> None:
        begin(make_study(epochs=2))
        with pytest.raises(RecipeError, match=r"since it began: epochs: 2 -> 3; put that back"):
            make_study(epochs=3).run(1, show_progress=False)

    def test_a_run_that_was_refused_leaves_the_journal_as_it_was(
        self, make_study: MakeStudy
    ) -> None:
        study = make_study(epochs=2)
        begin(study)
        path = study.folder / "journal.jsonl"
        before = path.read_bytes()
        with pytest.raises(RecipeError, match="epochs"):
            make_study(epochs=3).run(1, show_progress=False)
        assert path.read_bytes() == before
        begin(study)  # and lets the next one in

    def test_trials_without_a_journal_are_not_run_over(self, make_study: MakeStudy) -> None:
        study = make_study()
        (study.folder / "trials" / "0000").mkdir(parents=True)
        with pytest.raises(RecipeError, match=r"holds trials but no journal; move it away or "):
            study.run(1, show_progress=False)

    def test_a_study_that_another_process_runs_is_refused(self, make_study: MakeStudy) -> None:
        study = make_study()
        with (
            Journal.open(study.folder / "journal.jsonl"),
            pytest.raises(JournalError, match=r"journal.jsonl is being written by process \d+ "),
        ):
            study.run(1, show_progress=False)

    def test_strings_as_classes_and_conditions_survive_the_journal(
        self, make_study: MakeStudy, tmp_path: Path
    ) -> None:
        path = tmp_path / "animals.h5"
        with h5py.File(path, "w") as file:
            file["features"] = np.zeros((12, 2))
            file["labels"] = [b"ant", b"bee"] * 6
        space = SearchSpace(
            {
                "optimizer.name": Choice("sgd", "adamw"),
                "optimizer.momentum": Float(0.0, 0.9, when={"optimizer.name": ["sgd"]}),
            }
        )
        studies = [make_study(data=HDF5(path), space=space) for _ in range(2)]
        for study in studies:
            begin(study)
        assert describe(studies[0])["classes"] == ["ant", "bee"]


NET = """
from torch import nn

from layers import Block


class Net(nn.Module):
    def __init__(self, *, input_shape, num_outputs, width=8):
        super().__init__()
        self.block = Block()
"""


class TestCode:
    """The code that trials are trained with is recorded, and compared when a study goes on."""

    @pytest.fixture
    def make(self, make_study: MakeStudy, tmp_path: Path) -> MakeStudy:
        (tmp_path / "net.py").write_text(NET)
        (tmp_path / "layers.py").write_text("from torch import nn\nBlock = nn.ReLU\n")
        space = SearchSpace({"model.width": Int(4, 16)})
        return lambda: make_study(model="./net.py:Net", base=tmp_path, space=space)

    def end_trial(self, study: Study, status: Status, call: Call | None = None) -> None:
        with Journal.open(study.folder / "journal.jsonl") as journal:
            ledger = open_here(study, journal, 4, call or Call()).ledger
            trial = ledger.next_trial()
            assert trial is not None
            ledger.trial_finished(trial.id, status)

    def change(self, tmp_path: Path) -> None:
        (tmp_path / "layers.py").write_text("from torch import nn\nBlock = nn.Tanh\n")

    def test_files_digests_and_versions_are_recorded_and_the_text_is_kept(
        self, make: MakeStudy
    ) -> None:
        study = make()
        begin(study)
        code = describe(study)["code"]
        assert (code["reference"], sorted(code["files"])) == (
            "./net.py:Net",
            ["layers.py", "net.py"],
        )
        assert set(code["packages"]) == {"torch"}
        assert (study.folder / "code" / code["digest"][:12] / "net.py").read_text() == NET

    def test_each_trial_carries_the_digest_of_its_code(
        self, make: MakeStudy, tmp_path: Path
    ) -> None:
        study = make()
        self.end_trial(study, "completed")
        self.change(tmp_path)
        self.end_trial(make(), "completed", Call(accept_changed_code=True))
        entries = read_journal(study.folder / "journal.jsonl")
        codes = [entry.fields["code"] for entry in entries if entry.event == "suggestion"]
        assert codes == [study.preparation.code.digest, make().preparation.code.digest]
        assert codes[0] != codes[1]
        self.end_trial(make(), "completed")  # accepted once

    def test_changed_code_is_refused_with_the_files_name_by_run_and_plan_alike(
        self, make: MakeStudy, tmp_path: Path
    ) -> None:
        self.end_trial(make(), "completed")
        self.change(tmp_path)
        match = (
            r"^study 'digits' began with other code: layers\.py has changed; put that back, give "
            r"the study another name, or accept it for the trials to come \(--accept-changed-code"
        )
        with pytest.raises(RecipeError, match=match):
            make().plan(4)
        with pytest.raises(RecipeError, match=match):
            make().run(4, show_progress=False)

    def test_where_all_trials_failed_mended_code_is_taken_and_they_are_tried_again(
        self, make: MakeStudy, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        study = make()
        self.end_trial(study, "failed")
        self.change(tmp_path)
        assert make()._checked_plan(4).done == "1 trials: 1 failed"
        with Journal.open(study.folder / "journal.jsonl") as journal:
            ledger = open_here(make(), journal, 4, Call()).ledger
        assert "resumes with changed code: layers.py has changed" in caplog.text
        assert ledger.results == []
        again = ledger.next_trial()
        assert again is not None
        assert again.id == "0000"

    def test_a_run_without_anything_to_do_says_how_failed_trials_are_tried_again(
        self, make: MakeStudy, caplog: pytest.LogCaptureFixture
    ) -> None:
        study = make()
        self.end_trial(study, "failed")
        with Journal.open(study.folder / "journal.jsonl") as journal:
            assert open_here(study, journal, 1, Call()).ledger.exhausted
            assert "1 of 1 trials failed in earlier runs" in caplog.text
            assert "--retry-failed (retry_failed=True)" in caplog.text
        with Journal.open(study.folder / "journal.jsonl") as journal:
            assert not open_here(study, journal, 1, Call(retry_failed=True)).ledger.exhausted

    def test_a_journal_that_knows_no_code_goes_on_and_knows_it_from_then_on(
        self, make: MakeStudy, tmp_path: Path
    ) -> None:
        study = make()
        description = {k: v for k, v in describe(study).items() if k != "code"}
        with Journal.open(study.folder / "journal.jsonl") as journal:
            journal.append("study", name=study.name, id="0", description=description)
        self.end_trial(make(), "completed")
        self.change(tmp_path)
        with pytest.raises(RecipeError, match=r"layers\.py has changed"):
            make().plan(4)

    def test_other_versions_of_packages_are_told_and_not_refused(
        self, make: MakeStudy, caplog: pytest.LogCaptureFixture
    ) -> None:
        study = make()
        code = {**study.preparation.code.to_dict(), "packages": {"torch": "1.0"}}
        description = {**describe(study), "code": code}
        with Journal.open(study.folder / "journal.jsonl") as journal:
            journal.append("study", name=study.name, id="0", description=description)
        self.end_trial(make(), "completed")
        assert "resumes with other versions: torch 1.0 -> 2" in caplog.text

    def test_a_plan_says_what_is_done(self, make: MakeStudy) -> None:
        assert make()._checked_plan(4).done == ""
        self.end_trial(make(), "completed")
        self.end_trial(make(), "failed")
        plan = make()._checked_plan(4)
        assert plan.done == "2 trials: 1 completed, 1 failed"
        assert plan.lines()[0] == "done       2 trials: 1 completed, 1 failed"


def test_more_trials_than_configurations_are_warned_of(make_study: MakeStudy) -> None:
    """Of whole numbers from 4 to 6 there are three; one in the other space."""
    three: Study = make_study(space={"model.hidden": {"int": [4, 6]}})
    assert not any("the space holds" in line for line in three.plan(3).warnings)
    assert three.plan(4).warnings[0] == (
        "the space holds 3 configurations at most, so that 4 trials train some again; lower "
        "num_trials to 3, or widen the space."
    )
    one: Study = make_study(space={"model.hidden": 4})
    assert one.plan(2).warnings[0].startswith("the space holds one configuration, so that 2 ")
    assert "by genetic, 0 hyperparameters, " in repr(one)
    assert "by genetic, 1 hyperparameter, " in repr(three)
