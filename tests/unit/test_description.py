"""What a study is, to JSON and back."""

import json
from dataclasses import replace

import pytest

from rayfold.description import StudyDescription
from rayfold.errors import RecipeError
from rayfold.study.description import check_same
from tests.descriptions import study_description

REST = {
    "code": {
        "reference": "net:Net",
        "digest": "c" * 64,
        "files": {"net.py": "d" * 64},
        "packages": {},
    },
    "sub_problems": {"by": "labels", "column": None, "parts": ["low", "high"]},
    "sub_problem": {"of": "digits", "part": "low", "rows": 3, "digest": "e" * 64},
    "accept": [{"metric": "val_loss", "at_most": 0.5}],
    "source": {"made_rows": {"num_rows": 160}},
    "source_code": {
        "reference": "./made_rows.py:MadeRows",
        "digest": "b" * 64,
        "files": {"made_rows.py": "a" * 64},
        "packages": {},
    },
    "descriptors": {"rows": 4, "landmarks": {"shallow_tree": 0.5}},
    "learner": "./gan.py:GANLearner",
    "predicts": False,
    "num_trials": 7,
}


def test_what_is_written_is_read_back_and_written_alike() -> None:
    begun = study_description(**REST)
    text = json.dumps(begun.to_dict())
    assert StudyDescription.from_dict(json.loads(text)) == begun
    assert json.dumps(StudyDescription.from_dict(json.loads(text)).to_dict()) == text


def test_what_version_0_1_0_did_not_know_is_written_only_where_it_differs() -> None:
    values = study_description().to_dict()
    later = {"learner", "strategy", "predicts", "num_trials", "source", "source_code"}
    assert values.keys().isdisjoint(later)
    assert REST.items() <= study_description(**REST).to_dict().items()


def test_fields_of_a_newer_version_are_left_out() -> None:
    assert study_description(colour="red") == study_description()


def test_a_study_does_not_go_on_with_the_learner_left_out() -> None:
    begun = study_description(**REST)
    with pytest.raises(
        RecipeError, match=r"learner: \./gan\.py:GANLearner -> supervised; predicts: False -> True"
    ):
        check_same("faces", begun, replace(begun, learner="supervised", predicts=True))


def test_how_many_trials_it_began_with_does_not_bind_it() -> None:
    check_same("digits", study_description(num_trials=7), study_description())
