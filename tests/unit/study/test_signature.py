"""What editors and notebooks show of a study's options."""

import inspect

import rayfold as rf
from rayfold.specification import Specification


def test_a_study_shows_every_option_with_its_default() -> None:
    shown, declared = inspect.signature(rf.Study), inspect.signature(Specification)
    assert list(shown.parameters) == list(declared.parameters)
    assert str(shown.parameters["epochs"]) == "epochs: int = 10"


def test_every_option_is_described_where_help_shows_it() -> None:
    text = rf.Study.__init__.__doc__ or ""
    for name in inspect.signature(rf.Study).parameters:
        assert f"\n    {name}: " in text
    assert "kind: How rows are dealt out." in (rf.Folds.__doc__ or "")
