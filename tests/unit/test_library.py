import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rayfold import library
from rayfold.errors import ModelError, RecipeError, SpaceError
from rayfold.library import model_reference, resolve_model, resolve_space
from rayfold.model_construction import build_model, check_model, model_arguments
from rayfold.results import Config, Value

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, *, num_outputs, width=3):
        super().__init__()

class Other:
    pass

number = 3
"""


class Linear(nn.Module):
    def __init__(
        self, *, input_shape: tuple[int], num_outputs: int, gain: float, bias: bool = True
    ) -> None:
        super().__init__()
        if gain < 0:
            raise ValueError(f"gain must be at least 0, got {gain}.")
        self.layer = nn.Linear(input_shape[0], num_outputs, bias=bias)


class Anything(nn.Module):
    def __init__(self, num_outputs: int, **hyperparameters: Value) -> None:
        super().__init__()
        self.hyperparameters = hyperparameters


class OptionalShape(nn.Module):
    def __init__(
        self, *, input_shapes: Sequence[Sequence[int]], input_shape: Sequence[int] | None = None
    ) -> None:
        super().__init__()


class ByPosition(nn.Module):
    def __init__(self, width: int, /) -> None:
        super().__init__()


class TestResolveModel:
    def test_a_name_is_a_model_of_the_library(self) -> None:
        model_class = resolve_model("cnn")
        assert model_class.__name__ == "CNN"
        assert issubclass(model_class, nn.Module)

    def test_every_model_of_the_library_is_built_from_its_search_space(self) -> None:
        generator = np.random.default_rng(7)
        for name in ("cnn", "mlp"):
            model_class, space = resolve_model(name), resolve_space(name)
            check_model(model_class, space.names)
            for _ in range(20):
                arguments = model_arguments(
                    model_class, space.sample(generator), input_shapes=[(8, 8)], num_outputs=10
                )
                model = build_model(model_class, arguments)
                assert model(torch.zeros(2, 8, 8)).shape == (2, 10)

    def test_an_unknown_name_is_refused_with_the_nearest_one(self) -> None:
        with pytest.raises(
            ModelError, match=r"'cn' is unknown \(did you mean 'cnn'\?\); .*cnn, mlp"
        ):
            resolve_model("cn")

    @pytest.mark.parametrize("reference", ["", "../cnn", "rayfold.models.cnn", "./net.py", "os"])
    def test_what_names_no_class_is_refused(self, reference: str) -> None:
        with pytest.raises(ModelError, match=r"is unknown.*'package.module:ClassName'"):
            resolve_model(reference)

    @pytest.mark.parametrize("reference", [":Net", "torch.nn:", ":"])
    def test_half_a_reference_is_refused(self, reference: str) -> None:
        with pytest.raises(ModelError, match=r"write 'package\.module:ClassName'"):
            resolve_model(reference)

    def test_a_module_and_class_are_imported(self) -> None:
        assert resolve_model("torch.nn:Linear") is nn.Linear

    def test_a_class_passes_through(self) -> None:
        assert resolve_model(Linear) is Linear

    def test_an_unknown_module_is_told_in_one_line(self) -> None:
        with pytest.raises(ModelError, match=r"cannot import no_such_module.*\./file\.py") as told:
            resolve_model("no_such_module:Net")
        assert "\n" not in str(told.value)

    def test_an_unknown_class_is_refused(self) -> None:
        with pytest.raises(ModelError, match=r"has no 'CN' .*did you mean 'CNN'.*defines CNN"):
            resolve_model("rayfold.models.cnn:CN")

    @pytest.mark.parametrize(
        ("reference", "came"),
        [
            ("torch:Tensor", "another class"),
            ("torch.nn.functional:relu", "a function"),
            ("torch:float32", "a dtype"),
            (dict, "another class"),
        ],
    )
    def test_what_is_no_module_class_is_refused(self, reference: str | type, came: str) -> None:
        with pytest.raises(ModelError, match=f"must be a subclass of torch.nn.Module.*{came}"):
            resolve_model(reference)

    def test_an_instance_is_refused(self) -> None:
        with pytest.raises(ModelError, match="got Linear; give the class itself"):
            resolve_model(nn.Linear(1, 1))  # type: ignore[arg-type]


class TestModelFiles:
    def test_a_file_is_found_beside_the_recipe(self, tmp_path: Path) -> None:
        (tmp_path / "net.py").write_text(NET)
        assert resolve_model("./net.py:Net", base=tmp_path).__name__ == "Net"
        assert resolve_model("net.py:Net", base=tmp_path).__name__ == "Net"
        assert resolve_model(f"{tmp_path}/net.py:Net").__name__ == "Net"

    def test_two_loads_give_the_same_class(self, tmp_path: Path) -> None:
        (tmp_path / "net.py").write_text(NET)
        first = resolve_model("./net.py:Net", base=tmp_path)
        assert resolve_model(f"{tmp_path}/../{tmp_path.name}/net.py:Net") is first

    def test_a_changed_file_is_run_again(self, tmp_path: Path) -> None:
        (tmp_path / "net.py").write_text(NET)
        before = resolve_model("./net.py:Net", base=tmp_path)
        (tmp_path / "net.py").write_text(NET.replace("width=3", "depth=3"))
        after = resolve_model("./net.py:Net", base=tmp_path)
        check_model(before, ["model.width"])
        check_model(after, ["model.depth"])

    def test_files_of_one_name_in_two_folders_are_two_modules(self, tmp_path: Path) -> None:
        for folder, text in ((tmp_path / "a", NET), (tmp_path / "b", NET + "more = 1")):
            folder.mkdir()
            (folder / "net.py").write_text(text)
        first = resolve_model("./net.py:Net", base=tmp_path / "a")
        assert resolve_model("./net.py:Net", base=tmp_path / "b") is not first

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"cannot read .*net\.py: No such file"):
            resolve_model("./net.py:Net", base=tmp_path)

    @pytest.mark.parametrize(
        ("source", "match"),
        [
            ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
            ("class Net(:", "SyntaxError"),
            ("raise RuntimeError('two\\nlines')", "RuntimeError: two"),
        ],
    )
    def test_a_file_that_fails_is_told_in_one_line(
        self, tmp_path: Path, source: str, match: str
    ) -> None:
        (tmp_path / "net.py").write_text(source)
        with pytest.raises(ModelError, match=match) as told:
            resolve_model("./net.py:Net", base=tmp_path)
        assert "\n" not in str(told.value)

    def test_a_file_that_failed_can_be_mended(self, tmp_path: Path) -> None:
        (tmp_path / "net.py").write_text("class Net(:")
        with pytest.raises(ModelError):
            resolve_model("./net.py:Net", base=tmp_path)
        (tmp_path / "net.py").write_text(NET)
        assert resolve_model("./net.py:Net", base=tmp_path).__name__ == "Net"

    @pytest.mark.parametrize(
        ("name", "match"),
        [("net", "did you mean 'Net'.*it defines Net"), ("Other", "subclass"), ("number", "int")],
    )
    def test_only_its_models_can_be_named(self, tmp_path: Path, name: str, match: str) -> None:
        (tmp_path / "net.py").write_text(NET)
        with pytest.raises(ModelError, match=match):
            resolve_model(f"./net.py:{name}", base=tmp_path)


class TestModelReference:
    def test_names_and_classes_of_the_library_have_one_reference(self) -> None:
        assert model_reference("cnn") == "rayfold.models.cnn:CNN"
        assert model_reference(resolve_model("cnn")) == "rayfold.models.cnn:CNN"

    def test_a_reference_stays_as_it_is(self) -> None:
        assert model_reference("./net.py:Net") == "./net.py:Net"
        assert model_reference("package.module:Net") == "package.module:Net"

    def test_a_class_from_a_file_keeps_the_reference_it_came_by(self, tmp_path: Path) -> None:
        (tmp_path / "net.py").write_text(NET)
        model_class = resolve_model("./net.py:Net", base=tmp_path)
        assert model_reference(model_class) == "./net.py:Net"

    def test_an_imported_class_is_found_again_by_its_reference(self) -> None:
        reference = model_reference(nn.Linear)
        assert reference == "torch.nn.modules.linear:Linear"
        assert resolve_model(reference) is nn.Linear

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(ModelError, match="'resnet' is unknown"):
            model_reference("resnet")


class TestResolveSpace:
    def test_a_name_a_path_a_mapping_and_a_space_give_the_same(self, tmp_path: Path) -> None:
        space = resolve_space("cnn")
        (tmp_path / "space.yaml").write_text(space.to_yaml())
        assert resolve_space("./space.yaml", base=tmp_path) == space
        assert resolve_space("space.yaml", base=tmp_path) == space
        assert resolve_space(tmp_path / "space.yaml") == space
        assert resolve_space(space.to_dict()) == space
        assert resolve_space(dict(space)) == space
        assert resolve_space(space) is space

    def test_an_unknown_name_is_refused_with_the_nearest_one(self) -> None:
        with pytest.raises(SpaceError, match=r"'cnm' is unknown \(did you mean 'cnn'\?\).*mlp"):
            resolve_space("cnm")

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match=r"no\.yaml: there is no such search space"):
            resolve_space("./no.yaml", base=tmp_path)


class TestModelArguments:
    def test_hyperparameters_lose_their_prefix_and_the_data_fill_in_the_rest(self) -> None:
        config: Config = {
            "model.gain": 2.0,
            "model.bias": False,
            "batch_size": 32,
            "optimizer.name": "x",
        }
        arguments = model_arguments(Linear, config, input_shapes=[(4,)], num_outputs=3)
        assert arguments == {"gain": 2.0, "bias": False, "input_shape": (4,), "num_outputs": 3}
        assert isinstance(build_model(Linear, arguments), Linear)

    def test_only_what_the_constructor_names_is_filled_in(self) -> None:
        arguments = model_arguments(Anything, {"model.a": 1}, input_shapes=[(4,)], num_outputs=3)
        assert arguments == {"a": 1, "num_outputs": 3}

    def test_several_arrays_do_not_fit_a_model_of_one(self) -> None:
        with pytest.raises(ModelError, match=r"takes one feature array.*but the data has 2"):
            model_arguments(Linear, {}, input_shapes=[(4,), (2,)], num_outputs=3)

    def test_several_arrays_leave_out_an_optional_single_shape(self) -> None:
        shapes = [(4,), (2, 2)]
        assert model_arguments(OptionalShape, {}, input_shapes=shapes, num_outputs=1) == {
            "input_shapes": ((4,), (2, 2))
        }


class TestCheckModel:
    def test_hyperparameters_of_others_are_passed_over(self) -> None:
        check_model(Linear, ["model.gain", "optimizer.name", "batch_size"])

    def test_an_unknown_hyperparameter_is_refused_with_the_nearest_one(self) -> None:
        with pytest.raises(
            ModelError,
            match=r"model\.gian is no argument of Linear \(did you mean 'gain'\?\); "
            r"it takes model\.gain, model\.bias",
        ):
            check_model(Linear, ["model.gian"])

    def test_a_missing_hyperparameter_is_refused(self) -> None:
        with pytest.raises(ModelError, match=r"Linear needs model\.gain; search it, or"):
            check_model(Linear, ["model.bias"])

    def test_what_the_data_fill_in_cannot_be_searched(self) -> None:
        with pytest.raises(ModelError, match=r"model\.num_outputs is filled in from the data"):
            check_model(Linear, ["model.gain", "model.num_outputs"])

    def test_keywords_without_names_take_any_hyperparameter(self) -> None:
        check_model(Anything, ["model.anything"])

    def test_a_hyperparameter_by_position_only_is_refused(self) -> None:
        with pytest.raises(ModelError, match="ByPosition takes 'width' by position only"):
            check_model(ByPosition, [])


class TestBuildModel:
    def test_what_the_constructor_refuses_is_told_with_the_arguments(self) -> None:
        arguments = {"input_shape": (4,), "num_outputs": 3, "gain": -1}
        with pytest.raises(ModelError, match=r"Linear\(.*gain=-1\) cannot be built: .*at least 0"):
            build_model(Linear, arguments)

    def test_a_wrong_argument_is_told(self) -> None:
        with pytest.raises(ModelError, match="unexpected keyword argument 'depth'"):
            build_model(Linear, {"depth": 1})


def test_models_imported_under_another_name_say_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(Path(library.__file__).parent / "models")
    command = [sys.executable, "-c", "import models"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "ImportError: this package is rayfold.models, but it was imported as 'models'" in (
        result.stderr
    )


def test_the_model_of_the_readme_is_one(tmp_path: Path) -> None:
    readme = (Path(library.__file__).parent / "models" / "README.md").read_text(encoding="utf-8")
    (tmp_path / "net.py").write_text(readme.split("```python\n")[1].split("```")[0])
    model_class = resolve_model("./net.py:Net", base=tmp_path)
    check_model(model_class, ["model.hidden"])
    arguments = model_arguments(
        model_class, {"model.hidden": 3}, input_shapes=[(4,)], num_outputs=2
    )
    assert build_model(model_class, arguments)(torch.zeros(5, 4)).shape == (5, 2)


def test_what_a_file_draws_and_sets_at_import_is_the_same_everywhere_and_stays_there(
    tmp_path: Path,
) -> None:
    text = (
        "import random, numpy, torch\n"
        "DRAWN = [random.random(), numpy.random.rand(), float(torch.rand(()))]\n"
        "torch.set_default_dtype(torch.float64)\n"
        "torch.manual_seed(0)\n"
        "class Net(torch.nn.Module): pass\n"
    )
    drawn = []
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(text)
        torch.manual_seed(3)
        expected = torch.rand(2)[1]
        torch.manual_seed(3)
        torch.rand(())
        net = resolve_model(f"./{name}.py:Net", base=tmp_path)
        assert torch.rand(()) == expected
        drawn.append(sys.modules[net.__module__].DRAWN)
    assert drawn[0] == drawn[1]
    assert torch.get_default_dtype() == torch.float32
