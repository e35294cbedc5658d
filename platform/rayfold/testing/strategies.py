"""What every strategy promises, as tests to inherit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file

from rayfold.testing.fold_data import EPOCHS, Normalised, make_data, same_state
from rayfold.testing.workers import CASES, run_workers, train
from rayfold.training import SingleProcess
from rayfold.training.references import STRATEGIES

_FOLD = Path("trials/0000/fold_0")


@dataclass(frozen=True)
class Left:
    """What two workers have left: their folder, and what each of them knows."""

    folder: Path
    known: list[dict[str, Any]]


class StrategyContract:
    """Tests that a strategy keeps the promises of ``rayfold.training.Strategy``.

    Two processes are started once for all of them. Inherit them in a test module, in a class whose
    name begins with ``Test``::

        class TestMine(StrategyContract):
            strategy = "./mine.py:Mine"

    Attributes:
        strategy: Its name, a reference or the class.
        exact: Whether several workers train what one process trains, to rounding. If not, their
            loss must fall.
    """

    strategy: ClassVar[str | type]
    exact: ClassVar[bool] = True

    @pytest.fixture(scope="class")
    @classmethod
    def left(cls, tmp_path_factory: pytest.TempPathFactory) -> Left:
        """Two workers' folds."""
        folder = tmp_path_factory.mktemp("workers")
        return Left(folder, run_workers(STRATEGIES.source(cls.strategy), folder))

    @pytest.mark.parametrize("case", CASES)
    def test_one_worker_trains_as_in_one_process(self, case: str, tmp_path: Path) -> None:
        """To rounding, whatever the strategy does with several."""
        histories = [
            train(STRATEGIES.source(strategy), SingleProcess(), CASES[case], tmp_path / name)
            for name, strategy in (("own", self.strategy), ("plain", "all_reduce"))
        ]
        for own, plain in zip(*histories, strict=True):
            assert own == pytest.approx(plain, abs=1e-5)

    def test_two_workers_train_what_one_process_trains(self, left: Left, tmp_path: Path) -> None:
        """Losses, weights and predictions; or else the loss falls."""
        together = left.known[0]["plain"]
        if not self.exact:
            assert together[-1]["train_loss"] < together[0]["train_loss"]
            return
        alone = train(STRATEGIES.source("all_reduce"), SingleProcess(), CASES["plain"], tmp_path)
        for one, other in zip(alone, together, strict=True):
            assert other == pytest.approx(one, abs=1e-5)
        for name in ("weights.safetensors", "predictions.safetensors"):
            torch.testing.assert_close(
                load_file(left.folder / "plain" / _FOLD / name),
                load_file(tmp_path / _FOLD / name),
                rtol=1e-4,
                atol=1e-5,
            )

    @pytest.mark.parametrize("case", CASES)
    def test_all_workers_know_the_same_history(self, case: str, left: Left) -> None:
        """To the last bit."""
        first, second = (worker[case] for worker in left.known)
        assert len(first) == EPOCHS
        assert first == second

    @pytest.mark.parametrize("case", CASES)
    def test_a_fold_goes_on_from_its_checkpoint_to_the_last_bit(
        self, case: str, left: Left
    ) -> None:
        """With weights, moments, dropout and the strategy's own state."""
        paused = f"{case}_paused"
        assert left.known[0][paused] == left.known[0][case]
        for name in ("weights.safetensors", "predictions.safetensors"):
            one, other = (load_file(left.folder / each / _FOLD / name) for each in (case, paused))
            assert same_state(one, other)

    def test_what_is_predicted_is_what_the_saved_model_predicts(self, left: Left) -> None:
        """The weights file is whole, and all workers predict with the same buffers."""
        place = left.folder / "normalised" / _FOLD
        model = Normalised(input_shape=(4, 4), num_outputs=3)
        model.load_state_dict(load_file(place / "weights.safetensors"))
        saved = load_file(place / "predictions.safetensors")
        features, _ = make_data().batch(saved["rows"].numpy())
        with torch.no_grad():
            expected = model.eval()(torch.from_numpy(features[0])).softmax(1)
        torch.testing.assert_close(saved["predictions"], expected, rtol=1e-4, atol=1e-5)
