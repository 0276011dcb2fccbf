"""YAML and ``a.b=c`` overrides to frozen dataclasses; unknown keys are refused with the nearest valid name.

A configuration class is a frozen, keyword-only dataclass with a default for every field, made by :func:`configclass`.
pydantic checks and converts the values, so ``1e-3`` (which YAML reads as text) becomes a number where one is wanted.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, dataclass_transform

from dcase_asd.errors import ConfigError, nearest

__all__ = ["apply_overrides", "build", "configclass", "load_yaml", "merge", "parse_override", "to_dict"]

T = TypeVar("T")
#: What PyYAML raises, beside its own, on text such as ``!!timestamp x`` (AttributeError) or ``[`` many times (RecursionError).
_YAML_ERRORS = (ValueError, AttributeError, TypeError, LookupError, ArithmeticError, RecursionError)

#: YAML 1.1 knows numbers to base 60 (``1:30:00``); PyYAML takes time quadratic in their length, minutes for a megabyte.
_YAML_INT, _LONGEST_INT = "tag:yaml.org,2002:int", 100


@dataclass_transform(frozen_default=True, kw_only_default=True)
def configclass(cls: type[T]) -> type[T]:
    """Make a frozen, keyword-only dataclass that :func:`build` can validate."""
    made = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    made.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]
    return made


def build(cls: type[T], values: Mapping[str, Any] | None = None, *, where: str = "config") -> T:
    """Build a configuration class from plain values.

    Parameters
    ----------
    cls : type
        A class made by :func:`configclass`.
    values : mapping, optional
        Keys and values; what is missing takes the default.
    where : str
        The dotted place in the whole configuration, for messages.

    Raises
    ------
    ConfigError
        For an unknown key (nearest name given), a value of the wrong type, or one the class refuses.
    """
    import pydantic

    try:
        adapter = pydantic.TypeAdapter(cls)
        return adapter.validate_python(dict(values or {}))
    except pydantic.ValidationError as error:
        raise ConfigError("; ".join(_explain(cls, item, where) for item in error.errors())) from None


def to_dict(config: object) -> dict[str, Any]:
    """Turn a configuration object into plain JSON values (tuples become lists, paths become text)."""
    return cast("dict[str, Any]", _plain(dataclasses.asdict(cast("Any", config))))


def load_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML mapping with ``yaml.safe_load``.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, repeats a key, or is not a mapping.
    """
    import yaml

    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: cannot read the configuration ({error})") from error
    try:
        value = _parse(text, str(source))
    except (yaml.YAMLError, *_YAML_ERRORS) as error:
        raise ConfigError(f"{source}: not valid YAML: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{source}: expected a mapping of names to values, found {type(value).__name__}")
    return value


def parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """Split ``a.b=value`` into its key path and YAML value.

    Raises
    ------
    ConfigError
        If there is no ``=``, a key part is empty, or the value is not YAML, has aliases or repeats a key.
    """
    import yaml

    key, sign, value = text.partition("=")
    parts = tuple(key.split("."))
    if not sign or not all(parts):
        raise ConfigError(f"override {text!r} is not of the form a.b=value")
    try:
        return parts, _parse(value, f"override {key}")
    except (yaml.YAMLError, *_YAML_ERRORS) as error:
        raise ConfigError(f"override {text!r}: the value is not valid YAML ({error})") from error


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of ``values`` with each ``a.b=c`` set; the last one wins."""
    result = merge({}, values)
    for text in overrides:
        parts, value = parse_override(text)
        node = result
        for part in parts[:-1]:
            child = node.setdefault(part, {})
            if not isinstance(child, dict):
                raise ConfigError(f"override {text!r}: {part!r} is a value, not a group of keys")
            node = child
        node[parts[-1]] = value
    return result


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two nested mappings; values of ``over`` win, mappings are merged key by key."""
    result = {key: merge({}, value) if isinstance(value, Mapping) else value for key, value in base.items()}
    for key, value in over.items():
        old = result.get(key)
        result[key] = merge(old if isinstance(old, Mapping) else {}, value) if isinstance(value, Mapping) else value
    return result


def _explain(cls: type, item: Any, where: str) -> str:
    path = [str(part) for part in item["loc"]]
    place = ".".join([where, *path])
    if item["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        known = [f.name for f in dataclasses.fields(_owner(cls, path[:-1]))]
        return f"{place}: unknown key{nearest(path[-1], known)}; known: {', '.join(known)}"
    return f"{place}: {item['msg'][0].lower()}{item['msg'][1:]}; got {item['input']!r}"


def _owner(cls: type, path: Sequence[str]) -> Any:
    import typing

    owner: Any = cls
    for part in path:
        hint = typing.get_type_hints(owner).get(part) if dataclasses.is_dataclass(owner) else None
        options = [hint, *typing.get_args(hint)]
        owner = next((o for o in options if dataclasses.is_dataclass(o)), cls)
    return owner


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _parse(text: str, where: str) -> Any:
    import yaml

    _refuse_aliases_and_duplicates(yaml.compose(text, Loader=yaml.SafeLoader), where)
    return yaml.safe_load(text)


def _refuse_aliases_and_duplicates(node: Any, source: str) -> None:
    import yaml

    seen: set[int] = set()
    stack = [node] if node is not None else []
    while stack:
        current = stack.pop()
        if id(current) in seen:
            raise ConfigError(f"{source}: line {current.start_mark.line + 1}: YAML aliases are not accepted; write the value out")
        seen.add(id(current))
        if isinstance(current, yaml.MappingNode):
            _refuse_duplicates(current, source)
            stack += [part for pair in current.value for part in pair]
        elif isinstance(current, yaml.SequenceNode):
            stack += current.value
        elif current.tag == _YAML_INT and len(current.value) > _LONGEST_INT:
            raise ConfigError(f"{source}: line {current.start_mark.line + 1}: a whole number of {len(current.value)} characters")


def _refuse_duplicates(mapping: Any, source: str) -> None:
    known: set[str] = set()
    for key in (key.value for key, _ in mapping.value if isinstance(key.value, str)):  # others cannot be keys of a Python mapping
        if key in known:
            raise ConfigError(f"{source}: line {mapping.start_mark.line + 1}: key {key!r} stands twice")
        known.add(key)
