"""Settings: validation, and the strict reader."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nafnet_deploy.config import ACTIVATIONS, GATES, NORMS, POSITIONS, ModelConfig
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.tables import nearest, read_table, read_toml

counts = st.integers(0, 40)


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    levels = draw(st.integers(1, 5))
    positions = tuple(draw(st.lists(st.sampled_from(POSITIONS), unique=True)))
    return ModelConfig(
        architecture="nafnet-rr" if positions else "nafnet",
        width=draw(st.integers(1, 256)),
        encoder_blocks=tuple(draw(st.lists(counts, min_size=levels, max_size=levels))),
        middle_blocks=draw(counts),
        decoder_blocks=tuple(draw(st.lists(counts, min_size=levels, max_size=levels))),
        channels=draw(st.integers(1, 4)),
        dropout=draw(st.floats(0, 1, exclude_max=True)),
        positions=positions,
        gate=draw(st.sampled_from(GATES + ACTIVATIONS)),
        attention=draw(st.sampled_from(("sca", "eca", "none"))),
        norm=draw(st.sampled_from(NORMS)),
        dw_expand=draw(st.integers(1, 2)) * 2,
        ffn_expand=2,
        reasoning_blocks=draw(st.integers(0, 3)),
        iterations=draw(st.integers(1, 9)) if positions else 1,
    )


@given(configs())
def test_round_trip_through_json(config: ModelConfig) -> None:
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(POSITIONS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
fields = st.sampled_from([f.name for f in dataclasses.fields(ModelConfig)])


@settings(max_examples=300)
@given(st.dictionaries(fields | st.text(max_size=8), json_values, max_size=6) | json_values)
def test_any_json_gives_a_configuration_or_a_clear_error(table: Any) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(ModelConfig.from_dict(table), ModelConfig)


@pytest.mark.parametrize(
    ("field", "table"),
    [
        ("architecture", {"architecture": "resnet"}),
        ("width", {"width": 0}),
        ("channels", {"channels": 0}),
        ("middle_blocks", {"middle_blocks": -1}),
        ("encoder_blocks", {"encoder_blocks": []}),
        ("encoder_blocks", {"encoder_blocks": [1, 1, 1, -1]}),
        ("decoder_blocks", {"decoder_blocks": [1, 1]}),
        ("decoder_blocks", {"decoder_blocks": [1, 1, 1, -1]}),
        ("dropout", {"dropout": 1.0}),
        ("dropout", {"dropout": float("nan")}),
        ("iterations", {"iterations": 0}),
        ("iterations", {"iterations": 2}),
        ("reasoning_blocks", {"reasoning_blocks": -1}),
        ("gate", {"gate": "tanh"}),
        ("attention", {"attention": "self"}),
        ("norm", {"norm": "batch"}),
        ("dw_expand", {"dw_expand": 0}),
        ("ffn_expand", {"ffn_expand": 0}),
        ("width", {"width": 5, "dw_expand": 1}),
        ("width", {"width": 5, "ffn_expand": 3, "gate": "geglu"}),
        ("width", {"width": 1, "attention": "ca"}),
        ("positions", {"positions": ["middle"]}),
        ("positions", {"architecture": "nafnet-rr"}),
        ("positions", {"architecture": "nafnet-rr", "positions": ["roof"]}),
        ("positions", {"architecture": "nafnet-rr", "positions": ["middle", "middle"]}),
    ],
)
def test_impossible_settings_name_the_field(field: str, table: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        ModelConfig.from_dict(table)
    assert error.value.message.startswith(field)
    assert error.value.mend


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("width", "32"),
        ("width", 32.0),
        ("width", True),
        ("encoder_blocks", 4),
        ("encoder_blocks", "1111"),
        ("encoder_blocks", [1, "1", 1, 1]),
        ("dropout", "none"),
        ("dropout", 10**400),
        ("positions", "middle"),
        ("architecture", None),
    ],
)
def test_wrong_types_name_the_place(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^recipe.{key}"):
        ModelConfig.from_dict({key: value}, "recipe")


def test_odd_channels_of_a_gate_name_the_rule_and_pass_without_a_gate() -> None:
    with pytest.raises(ConfigError, match=r"gate simple .* dw_expand \(1\) .* must be even"):
        ModelConfig(width=5, dw_expand=1)
    assert ModelConfig(width=5, dw_expand=1, ffn_expand=1, gate="gelu").width == 5


def test_configuration_of_an_older_version_means_the_published_block() -> None:
    old = {"architecture": "nafnet", "width": 32, "dropout": 0.0}
    assert ModelConfig.from_dict(old) == ModelConfig()


def test_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as error:
        ModelConfig.from_dict({"widht": 32}, "recipe")
    assert error.value.message == "recipe: unknown key 'widht'."
    assert error.value.mend == "Did you mean 'width'?"


def test_nearest_lists_everything_when_nothing_is_close() -> None:
    assert nearest("zzz", ["b", "a"]) == "Known: a, b."


def test_size_multiple_is_two_to_the_levels() -> None:
    assert ModelConfig().size_multiple == 16
    assert ModelConfig(encoder_blocks=(1,), decoder_blocks=(1,)).size_multiple == 2


@dataclasses.dataclass(frozen=True)
class Inner:
    size: tuple[int, int]
    free: int | str = "auto"


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner
    shares: dict[str, float]
    limit: int | None = None


def test_nested_tables() -> None:
    table = {"inner": {"size": [1, 2], "free": 3}, "shares": {"a": 1}, "limit": None}
    assert read_table(Outer, table, "t") == Outer(Inner((1, 2), 3), {"a": 1.0})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"shares": {}}, "t: the key 'inner' is missing."),
        ({"inner": 3, "shares": {}}, "t.inner: a table is needed"),
        ({"inner": {"size": [1]}, "shares": {}}, "t.inner.size: 2 values are needed, not 1."),
        ({"inner": {"size": [1, 2]}, "shares": {"a": "b"}}, "t.shares.a: float is needed"),
        ({"inner": {"size": [1, 2]}, "shares": []}, "t.shares: a table is needed"),
        ({"inner": {"size": [1, 2]}, "shares": {}, "limit": "x"}, "t.limit: int is needed"),
    ],
)
def test_nested_errors_name_the_place(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_table(Outer, table, "t")
    assert error.value.message.startswith(message)


def test_read_toml(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(path)
    path.write_text("width = ")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_toml(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_toml(path)
    path.write_text("[model]\nwidth = 8")
    assert read_toml(path) == {"model": {"width": 8}}
