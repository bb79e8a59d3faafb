from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nodulenet.errors import UsageError
from nodulenet.models.built_cost import built_cost
from nodulenet.models.registry import build_model, get_model, list_models, models_table

PUBLISHED_PARAMETERS = {
    "squeezenet_1.0": 1_248_424,
    "squeezenet_1.1": 1_235_496,
    "resnet_18": 11_689_512,
    "squeezenodule_v1": 878_504,
    "squeezenodule_v2": 1_160_808,
    "squeezenodule_v1_3d": 1_746_754,
    "squeezenodule_v2_3d": 2_545_154,
}


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_listing_imports_no_keras() -> None:
    out = run_python(
        "import sys, nodulenet.models\n"
        "from nodulenet.models.registry import *\n"
        "from nodulenet.models.registry import list_models, get_model, models_table\n"
        "for name in list_models():\n"
        "    entry = get_model(name)\n"
        "    print(name, entry.description, entry.rank, entry.parameters, entry.minimum_extent)\n"
        "models_table()\n"
        "print({'keras', 'tensorflow', 'torch', 'jax', 'numpy'} & set(sys.modules))\n"
    )
    assert out.rstrip().endswith("set()")
    assert "squeezenet_1.1_3d" in out


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED_PARAMETERS.items())
def test_published_parameter_counts(name: str, parameters: int) -> None:
    entry = get_model(name)
    assert entry.parameters == parameters
    built = entry.build(entry.published_input_shape, entry.published_classes)
    trained = sum(weight.numpy().size for weight in built.trainable_weights)
    assert trained == parameters


@pytest.mark.parametrize("name", list_models())
def test_costs_by_arithmetic_are_those_of_the_built_model(name: str) -> None:
    entry = get_model(name)
    # Every axis different, so that a swapped axis shows.
    shape = (35, 30, 41, 2)[-entry.rank - 1 :]
    cost = built_cost(build_model(name, shape, 5), shape)
    assert cost.parameters == entry.parameter_count(shape, 5)
    assert cost.multiply_accumulates == entry.multiply_accumulates(shape, 5)


@pytest.mark.parametrize(("name", "giga"), [("squeezenet_1.0", 0.819), ("squeezenet_1.1", 0.349)])
def test_multiply_accumulates_as_torchvision_publishes_them(name: str, giga: float) -> None:
    # GFLOPS of SqueezeNet1_0_Weights and SqueezeNet1_1_Weights in torchvision's documentation.
    assert get_model(name).multiply_accumulates((224, 224, 3), 1000) / 1e9 == pytest.approx(
        giga, abs=5e-4
    )


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Unknown model 'squeezenodule_v2_2d'.*Did you mean"):
        get_model("squeezenodule_v2_2d")


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(TypeError, match="droput_rate"):
        build_model("squeezenodule_v2", (32, 32, 1), droput_rate=0.1)


def test_options_reach_the_model() -> None:
    model = get_model("squeezenet_1.1").build(
        (32, 32, 1), 1, head_activation=None, normalization="batch", name="mine"
    )
    assert (model.num_classes, model.normalization, model.name) == (1, "batch", "mine")
    assert build_model("squeezenet_1.1", (32, 32, 1)).name == "squeezenet_1.1"


def test_two_builds_start_from_different_weights() -> None:
    first, second = (build_model("squeezenodule_v2", (32, 32, 1)) for _ in range(2))
    assert (first.weights[0].numpy() != second.weights[0].numpy()).any()


def test_the_readme_shows_the_generated_table(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    begin, end = "<!-- models:begin -->", "<!-- models:end -->"
    block = text.split(begin, 1)[1].split(end, 1)[0]
    assert block.strip() == models_table()


def test_the_table_has_a_row_for_each_model_with_its_figures() -> None:
    rows = models_table().splitlines()[2:]
    assert len(rows) == len(list_models())
    row = next(row for row in rows if "`squeezenodule_v2_3d`" in row)
    assert "64 x 64 x 64 x 1 -> 2" in row
    assert "2,545,154" in row
    assert row.endswith("| 21 x 21 x 21 |")
