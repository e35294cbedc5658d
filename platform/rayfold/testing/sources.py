"""Tests to inherit for a source: what every source of rows must do."""

import json
from abc import ABC, abstractmethod

import numpy as np
import pytest

from rayfold.data import Holdout, Source, load
from rayfold.errors import DataError


class SourceContract(ABC):
    """Tests that a source does what ``rayfold.data.Source`` demands.

    Inherit them in a test module, in a class whose name begins with ``Test``::

        class TestMine(SourceContract):
            def make_source(self) -> Source:
                return Mine(num_rows=100)
    """

    task: str | None = None
    """Name of the task; None: the type of the labels decides."""

    @abstractmethod
    def make_source(self) -> Source:
        """Return a new source. It must have at least 20 rows, the same in each call."""

    def test_columns_tell_what_they_hold_before_they_are_read(self) -> None:
        """Columns come in the requested order. Shape and type are those of the values."""
        source = self.make_source()
        for names in (source.roles().names, source.roles().names[::-1]):
            columns = source.columns(names)
            assert [column.name for column in columns] == names
            for column in columns:
                values = column.read()
                assert (values.shape, values.dtype) == (column.shape, column.dtype)
                assert values.dtype.kind in "biufO"

    def test_all_columns_have_as_many_rows(self) -> None:
        """If the source has files, their rows add up to this number."""
        source = self.make_source()
        numbers = {column.num_rows for column in source.columns(source.roles().names)}
        assert len(numbers) == 1
        assert source.files() == {} or {sum(source.files().values())} == numbers

    def test_the_rows_are_the_same_each_time(self) -> None:
        """The same source and a new one give the same rows, so a study can resume."""
        first, other = self.make_source(), self.make_source()
        digests = {load(source, task=self.task).digest for source in (first, first, other)}
        assert len(digests) == 1

    def test_models_get_numbers(self) -> None:
        """The numbers are float32 and have the shape that the data set says."""
        data = load(self.make_source(), task=self.task)
        rows = np.array([3, 1, 1])
        features, labels = data.batch(rows)
        for array, shape in zip(features, data.input_shapes, strict=True):
            assert array.dtype == np.float32
            assert array.shape == (3, *shape)
            assert np.isfinite(array).all()
        assert np.array_equal(labels, data.labels[rows])

    def test_test_rows_can_be_kept(self) -> None:
        """Each row is a test row or a development row; the seed decides which."""
        splits = [
            load(self.make_source(), task=self.task, holdout=Holdout(0.25, random_seed=seed))
            for seed in (1, 1, 2)
        ]
        for data in splits:
            both = [*data.development_rows, *data.test_rows]
            assert sorted(both) == list(range(data.num_rows))
        first, again, _ = (data.test_rows.tolist() for data in splits)
        assert first == again != []
        assert len({data.digest for data in splits}) == 1

    def test_a_column_that_is_not_there_is_refused_by_its_name(self) -> None:
        """The error is one line."""
        with pytest.raises(DataError, match="'no such column'") as caught:
            self.make_source().columns(["no such column"])
        assert "\n" not in str(caught.value)

    def test_what_it_records_is_plain_and_the_same_each_time(self) -> None:
        """The journal stores it as JSON."""
        source = self.make_source()
        recorded = dict(source.describe())
        assert json.loads(json.dumps(recorded)) == recorded == dict(self.make_source().describe())
        assert dict(source.describe()) == recorded
