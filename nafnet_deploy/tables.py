"""A strict reader that turns tables (TOML, JSON) into frozen settings, and the way back."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from nafnet_deploy.errors import ConfigError

T = TypeVar("T")


def plain(value: Any) -> Any:
    """A frozen dataclass (or any nesting of them) as plain JSON types."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def nearest(word: str, choices: Iterable[str]) -> str:
    """`Did you mean 'x'?` when a choice is close to `word`, else the list of choices."""
    known = sorted(choices)
    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known)}."


def read_table(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """Builds the dataclass `cls` from a table.

    Args:
        cls: a dataclass; nested dataclasses, tuples and `X | None` are understood.
        table: what a TOML or JSON reader returned.
        where: name used in messages, e.g. the file and table.

    Raises:
        ConfigError: an unknown key (with the nearest known one), a wrong type or a missing key.
    """
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: a table is needed, not {table!r}.")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values = {}
    for key, raw in table.items():
        if key not in fields:
            raise ConfigError(f"{where}: unknown key {key!r}.", nearest(key, fields))
        values[key] = _convert(hints[key], raw, f"{where}.{key}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if name not in values and required:
            raise ConfigError(f"{where}: the key {name!r} is missing.", "Add it.")
    return cls(**values)


def _convert(hint: Any, raw: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if raw is None and type(None) in args:
            return None
        if any(isinstance(a, type) and type(raw) is a for a in args):
            return raw
        return _convert(next(a for a in args if a is not type(None)), raw, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(raw, Mapping):
            raise ConfigError(f"{where}: a table is needed, not {raw!r}.")
        return read_table(hint, raw, where)
    if origin is tuple:
        if not isinstance(raw, list | tuple):
            raise ConfigError(f"{where}: a list is needed, not {raw!r}.")
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(raw))
        if len(raw) != len(args):
            raise ConfigError(f"{where}: {len(args)} values are needed, not {len(raw)}.")
        return tuple(_convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, raw, strict=True)))
    if origin is dict:
        if not isinstance(raw, Mapping):
            raise ConfigError(f"{where}: a table is needed, not {raw!r}.")
        return {str(k): _convert(args[1], v, f"{where}.{k}") for k, v in raw.items()}
    if hint is Any:
        return raw
    if hint is float and isinstance(raw, int) and not isinstance(raw, bool):
        try:
            return float(raw)
        except OverflowError:
            raise ConfigError(f"{where}: {raw!r} is too large.") from None
    if not isinstance(raw, hint) or (isinstance(raw, bool) and hint is not bool):
        raise ConfigError(f"{where}: {getattr(hint, '__name__', hint)} is needed, not {raw!r}.")
    return raw


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: the file is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.", "Correct that line.") from error
