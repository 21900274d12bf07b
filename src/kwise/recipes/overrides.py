"""Typed changes of a recipe from the command line: `stages.steps=100 acquisition.accelerations=4,8`.

A key is a path of field names; in a tuple of dataclasses it names one by index (`stages.0.steps`), or goes
on with a field of all of them (`stages.steps`). A value is read as the type its field is declared with;
nothing is guessed.
"""

import ast
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from kwise.nearest import one_of

T = TypeVar("T")
_WORDS = {"true": True, "yes": True, "false": False, "no": False}


def apply_overrides(recipe: T, changes: Sequence[str]) -> T:
    """The recipe (any frozen dataclass) with every change "key=value" made, in order.

    ValueError that names the key: no such field (with the nearest ones), a value of another type, no "=".
    """
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not key:
            raise ValueError(
                f"changing the recipe: got {change!r}; wanted KEY=VALUE, such as stages.steps=100"
            )
        recipe = _changed(recipe, key.split("."), value, key)
    return recipe


def check_options(constructor: Callable[..., object], options: Mapping[str, object], doing: str) -> None:
    """ValueError unless every option is a keyword of the constructor and has its declared type."""
    declared = typing.get_type_hints(constructor.__init__ if inspect.isclass(constructor) else constructor)
    known = [name for name in inspect.signature(constructor).parameters]
    for key, value in options.items():
        if key not in known:
            raise ValueError(f"{doing}: got option {key!r}; wanted {one_of(key, known)}")
        if not _fits(value, declared.get(key, Any)):
            raise ValueError(f"{doing}: got {key} = {value!r}; wanted {_name(declared[key])}")


def _changed(here: Any, path: list[str], value: str, key: str) -> Any:
    name, rest = path[0], path[1:]
    if isinstance(here, Mapping):
        return _changed_mapping(here, ".".join(path), value, key)
    known = [field.name for field in fields(here)]
    if name not in known:
        raise ValueError(
            f"changing {key}: got no field {name!r} in {type(here).__name__}; wanted {one_of(name, known)}"
        )
    old = getattr(here, name)
    if not rest:
        declared = typing.get_type_hints(type(here))[name]
        if _is_nested(old):
            inner = sorted(_inner_names(old))
            raise ValueError(
                f"changing {key}: got a value for all of it; wanted {key}.FIELD, {one_of('', inner)}"
            )
        return replace(here, **{name: _read(value, declared, key)})
    if _is_stages(old):
        return replace(here, **{name: _changed_items(old, rest, value, key)})
    if not _is_nested(old):
        raise ValueError(
            f"changing {key}: got the field {rest[0]!r} of {name}; wanted {name}=VALUE, it has no fields"
        )
    return replace(here, **{name: _changed(old, rest, value, key)})


def _changed_items(items: tuple[Any, ...], path: list[str], value: str, key: str) -> tuple[Any, ...]:
    """One item by its index, or all of them."""
    if not path[0].isdecimal():
        return tuple(_changed(item, path, value, key) for item in items)
    index = int(path[0])
    if index >= len(items) or len(path) == 1:
        raise ValueError(
            f"changing {key}: got index {index}; wanted 0 to {len(items) - 1}, and a field of it"
        )
    return tuple(_changed(x, path[1:], value, key) if i == index else x for i, x in enumerate(items))


def _changed_mapping(here: Mapping[str, Any], name: str, value: str, key: str) -> dict[str, Any]:
    """An option that is there keeps its type; a new one is read as Python writes it (checked where it is
    used).
    """
    if name in here and here[name] is not None:
        return {**here, name: _read(value, type(here[name]), key)}
    try:
        return {**here, name: ast.literal_eval(value)}
    except (ValueError, SyntaxError):
        return {**here, name: value}


def _is_nested(value: Any) -> bool:
    return is_dataclass(value) or isinstance(value, Mapping) or _is_stages(value)


def _is_stages(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(is_dataclass(item) for item in value)


def _inner_names(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        return value
    return [field.name for field in fields(value[0] if isinstance(value, tuple) else value)]


def _read(text: str, declared: Any, key: str) -> Any:
    """Text as a value of the declared type."""
    for option in _alternatives(declared):
        try:
            return _as_type(text.strip(), option)
        except (ValueError, SyntaxError):
            continue
    raise ValueError(f"changing {key}: got {text!r}; wanted {_name(declared)}")


def _alternatives(declared: Any) -> tuple[Any, ...]:
    """None first: the word none is not the text "none"."""
    if isinstance(declared, types.UnionType) or typing.get_origin(declared) is typing.Union:
        return tuple(sorted(typing.get_args(declared), key=lambda option: option is not type(None)))
    return (declared,)


def _as_type(text: str, wanted: Any) -> Any:
    if wanted is type(None):
        if text.lower() != "none":
            raise ValueError
        return None
    if wanted is bool:
        if text.lower() not in _WORDS:
            raise ValueError
        return _WORDS[text.lower()]
    if wanted is tuple or typing.get_origin(wanted) is tuple:
        return _as_tuple(text, typing.get_args(wanted))
    if typing.get_origin(wanted) is typing.Literal:
        return {str(choice): choice for choice in typing.get_args(wanted)}[text]
    if wanted in (int, float, str, Path):
        return wanted(text)
    return ast.literal_eval(text)


def _as_tuple(text: str, inner: tuple[Any, ...]) -> tuple[Any, ...]:
    """4,8 or (4, 8); brackets are for the eye."""
    parts = [part.strip() for part in text.strip("()[] ").split(",") if part.strip()]
    if not inner:
        return tuple(ast.literal_eval(part) for part in parts)
    if inner[-1] is ...:
        return tuple(_as_type(part, inner[0]) for part in parts)
    if len(parts) != len(inner):
        raise ValueError
    return tuple(_as_type(part, kind) for part, kind in zip(parts, inner))


def _fits(value: object, declared: Any) -> bool:
    """Whether a value has the declared type; a whole number may stand for a float."""
    if declared is Any or declared is object:
        return True
    for option in _alternatives(declared):
        origin = typing.get_origin(option) or option
        if origin is typing.Literal:
            if value in typing.get_args(option):
                return True
        elif origin in (int, float) and isinstance(value, bool):
            continue
        elif isinstance(value, origin) or (origin is float and isinstance(value, int)):
            return True
    return False


def _name(declared: Any) -> str:
    return declared.__name__ if inspect.isclass(declared) and not typing.get_args(declared) else str(declared)
