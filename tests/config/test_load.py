from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nodulenet.config.load import dump_config, load_config, shipped_configs
from nodulenet.config.schema import Config
from nodulenet.errors import ConfigError

TREE: dict[str, Any] = {
    "name": "x",
    "run": "runs/x",
    "label_meaning": "candidate",
    "source": {"kind": "luna16", "root": "data"},
    "models": ["squeezenodule_v2_3d"],
}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(tree: Any) -> Path:
        file = tmp_path / "c.yaml"
        file.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
        return file

    return write


def test_a_name_stands_for_a_model_and_defaults_are_filled_in(write: Any) -> None:
    config = load_config(write(TREE))
    assert config.models[0].name == "squeezenodule_v2_3d"
    assert config.models[0].kernel_initializer == "he_normal"
    assert config.store_path == Path("runs/x/store")


def test_the_dump_loads_as_the_same_configuration(write: Any) -> None:
    config = load_config(write(TREE))
    assert load_config(write(dump_config(config))) == config


def test_overrides_reach_nested_fields_and_list_items(write: Any) -> None:
    tree = TREE | {"models": [{"name": "a"}, {"name": "b"}]}
    config = load_config(
        write(tree), ["train.epochs=3", "models.1.name=c", "patch.windows=[[-160, 240]]"]
    )
    assert config.train.epochs == 3
    assert [m.name for m in config.models] == ["a", "c"]
    assert config.patch.windows == ((-160.0, 240.0),)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epohcs=3", "train.epohcs: unknown field; did you mean 'epochs'?"),
        ("train.epochs=0", "train.epochs: Input should be greater than 0, got 0"),
        ("source.rot=x", "source.rot: unknown field; did you mean 'root'?"),
        ("source.kind=luna", "source: Input tag 'luna'"),
        ("patch.size=[32, 32]", "must have 3 numbers (z, y, x) for 3d"),
        ("patch.windows=[[400, -1000]]", "must have low < high"),
        ("train.augment.shift_voxels=9", "needs patch.margin_voxels=9, got 4"),
        ("patch.spacing_mm=[1, 0.5, 1]", "quarter_turns needs equal y and x size and spacing"),
        ("folds.kind=file", "`path` is needed for kind: file"),
        ("folds={kind: holdout, repeats: 2}", "repeats=2 needs kind: grouped, not holdout"),
        ("models=[a, a]", "the name 'a' is there twice"),
        ("models.4.name=x", "is not an index of a list of 1 items"),
        ("models.0.dropout_rate=0.1", "is 'squeezenodule_v2_3d' and has no fields"),
        ("epochs", "expected key=value"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(write: Any, override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(TREE), [override])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_fields_are_named(write: Any) -> None:
    with pytest.raises(ConfigError, match="label_meaning: is needed and missing"):
        load_config(write({k: v for k, v in TREE.items() if k != "label_meaning"}))


@pytest.mark.parametrize("text", ["", "- a\n", "a: [1\n"])
def test_a_file_that_is_no_mapping_is_refused(write: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load_config(write(text))


def test_an_absent_file_lists_the_shipped_names() -> None:
    with pytest.raises(ConfigError, match=r"shipped: demo, demo_quick, lidc_2d"):
        load_config("no/such.yaml")


def test_variables_are_filled_in_from_the_environment(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = TREE | {"source": {"kind": "luna16", "root": "${LUNA_TEST}/x"}}
    with pytest.raises(ConfigError, match=r"source\.root: the environment variable LUNA_TEST"):
        load_config(write(tree))
    monkeypatch.setenv("LUNA_TEST", "/data")
    config = load_config(write(tree))
    assert config.source.kind == "luna16"
    assert config.source.root == Path("/data/x")
    fallback = TREE | {"source": {"kind": "luna16", "root": "${NOT_SET_ANYWHERE:-here}/x"}}
    assert load_config(write(fallback)).source.root == Path("here/x")  # type: ignore[union-attr]


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_every_shipped_configuration_is_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNA16_ROOT", "luna16")
    config = load_config(name)
    assert config.name == name
    assert all(m.kernel_initializer == "he_normal" for m in config.models)


def test_the_schema_describes_every_field() -> None:
    schema = Config.model_json_schema()
    assert schema["additionalProperties"] is False
    described = schema["$defs"]["FoldsConfig"]["properties"]
    assert "stratified by label, grouped by patient" in described["kind"]["description"]


def test_the_page_of_fields_is_what_the_schema_says(repository: Path) -> None:
    from nodulenet.config.describe import fields_table

    page = (repository / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page.endswith(fields_table())
    for name in Config.model_fields:
        assert f"| `{name}` |" in page
