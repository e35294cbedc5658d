from typing import Any

import numpy as np
import pytest

from rayfold.bundle import export_bundle, load_bundle
from rayfold.ensemble import Budget, Ensemble, Greedy
from rayfold.errors import BundleError, EnsembleError, ModelError, RecipeError

FEATURES = np.zeros((3, 2), np.uint8)


@pytest.mark.parametrize(
    ("studies", "options", "message"),
    [
        (None, {}, "studies must be one or more names of studies, not None"),
        ([], {}, "studies must be one or more names"),
        (["a", "a"], {}, "studies names 'a' twice; name each study once"),
        (["a", 3], {}, "studies must be one or more names"),
        ("a", {"builders": []}, "builders must name at least one builder, got \\[\\]"),
        ("a", {"builders": "greedy"}, "builders must name at least one builder, got 'greedy'"),
        ("a", {"budget": {"max_members": 3}}, r"budget must be a Budget, such as Budget\("),
        ("a", {"min_share": 0.0}, "min_share must be a number above 0, at most 1, got 0.0"),
        ("a", {"min_share": "half"}, "min_share must be a number above 0, at most 1, got 'half'"),
        ("a", {"min_share": True}, "min_share must be"),
        ("a", {"sub_problems": "no"}, "sub_problems must be true or false, got 'no'"),
    ],
)
def test_wrong_requests_are_refused_before_mlflow_is_asked(
    studies: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((EnsembleError, RecipeError), match=message):
        Ensemble.best(studies, **options)


def test_what_is_no_builder_is_told_in_a_line() -> None:
    with pytest.raises(ModelError, match=r"^builder 'gredy' is unknown \(did you mean 'greedy'"):
        Ensemble.build("a", "gredy", budget=Budget())
    assert repr(Greedy(5)).startswith("greedy(")


@pytest.mark.parametrize(
    ("given", "shown"), [(3, "3"), ({"./mine.py:Mine": {"depth": 2}}, r"{'\./mine\.py:Mine': ")]
)
def test_a_builder_gets_arguments_as_an_object(given: Any, shown: str) -> None:
    message = (
        f"^a builder is a name, a reference, a class or an object, got {shown}.*; "
        r"to give arguments, pass an object such as Greedy\(20\)\.$"
    )
    with pytest.raises(EnsembleError, match=message):
        Ensemble.build("a", given)


@pytest.mark.parametrize("coverage", ["most", None, True, 0.0, 1.0, float("nan")])
def test_coverage_is_a_share(classification: Ensemble, coverage: Any) -> None:
    with pytest.raises(RecipeError, match="coverage must be a number between 0 and 1, got"):
        classification.predict_set(FEATURES, coverage=coverage)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"licence": 5}, "licence must be a text such as 'CC-BY-4.0', got 5"),
        ({"licence": " "}, "licence must be a text"),
        ({"report": "report"}, "report must be what Ensemble.report or find_out return"),
    ],
)
def test_what_goes_into_a_card_is_checked_before_anything_is_written(
    classification: Ensemble, tmp_path: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        export_bundle(classification, tmp_path / "bundle", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_a_folder() -> None:
    with pytest.raises(BundleError, match="a bundle is a folder, got None; give its path"):
        load_bundle(None)  # type: ignore[arg-type]
