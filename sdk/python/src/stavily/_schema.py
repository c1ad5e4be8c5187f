"""Dataclasses as the schema of what a plugin takes: how values become one, and what plugin.yaml says of it.

    @dataclass
    class Config:
        path: str                                                     # required
        limit: float = stavily.field(85.0, minimum=0, maximum=100)
        mounts: List[str] = stavily.field([], description="…")
        mode: Literal["fast", "slow"] = "fast"
        token: Optional[str] = stavily.field(None, secret=True)

A field is str, int, float, bool, Any, a list or a dict of these, a Literal, a
dataclass, or Optional of one. Imported only by plugins that have one: dataclasses
cost a start 4 ms.
"""

import dataclasses
import json
import re
import sys
import typing
from typing import Any, Callable, Dict, List, Mapping, Tuple, Type

from ._errors import Refused

_BOUNDS = ("minimum", "maximum", "min_length", "max_length", "pattern", "enum")
_METADATA = "stavily"

# Types of plugin.yaml, and what people call a value of one.
_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}
_PEOPLE = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}

_ALLOWED = "it can be str, int, float, bool, Any, a list or dict of these, a Literal, a dataclass, or Optional of one"

Property = Dict[str, Any]


def field(
    default: Any = dataclasses.MISSING, *, description: str = "", secret: bool = False, **bounds: Any
) -> Any:
    """A field of a plugin's dataclass with more than a type and a default.

    `bounds` are minimum, maximum, min_length, max_length, pattern and enum, as
    in plugin.yaml. A value that is `secret` is never shown, not even in errors.
    A default that is a list or a dict is copied for each instance.
    """
    unknown = sorted(set(bounds) - set(_BOUNDS))
    if unknown:
        raise TypeError("field() takes no {!r}: it has description, secret, {}".format(unknown[0], ", ".join(_BOUNDS)))
    said: Property = dict(bounds)
    if description:
        said["description"] = description
    if secret:
        said["secret"] = True
    if isinstance(default, (list, dict)):
        text = json.dumps(default)
        factory: Callable[[], Any] = lambda: json.loads(text)
        return dataclasses.field(default_factory=factory, metadata={_METADATA: said})
    return dataclasses.field(default=default, metadata={_METADATA: said})


def schema(cls: Type[Any]) -> Dict[str, Property]:
    """The section of plugin.yaml that belongs to a dataclass; TypeError for a type that JSON has not."""
    hints = typing.get_type_hints(cls)
    out: Dict[str, Property] = {}
    for each in dataclasses.fields(cls):
        if not each.init:
            continue
        said, optional = _property(hints[each.name], "{}.{}".format(cls.__name__, each.name))
        said.update(each.metadata.get(_METADATA, {}))
        default = _default(each)
        if default is dataclasses.MISSING:
            said["required"] = not optional
        elif default is not None:
            said["default"] = default
        out[each.name] = said
    return out


def _default(each: "dataclasses.Field[Any]") -> Any:
    """A field's default as JSON has it; MISSING where there is none."""
    default = each.default
    if each.default_factory is not dataclasses.MISSING:
        default = each.default_factory()
    return dataclasses.asdict(default) if dataclasses.is_dataclass(default) else default


def _property(hint: Any, where: str) -> Tuple[Property, bool]:
    """What plugin.yaml says of a type, and whether it may be absent."""
    hint, optional = _without_none(hint)
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint is Any:
        return {"type": "any"}, optional
    if origin is typing.Literal:
        names = {_NAMES.get(type(value), "any") for value in inner}
        return {"type": names.pop() if len(names) == 1 else "any", "enum": list(inner)}, optional
    if dataclasses.is_dataclass(hint):
        return {"type": "object"}, optional
    if origin not in _NAMES:
        raise TypeError("{} is {!r}: {}".format(where, hint, _ALLOWED))
    said: Property = {"type": _NAMES[origin]}
    if origin is list and inner and inner[0] is not Any:
        said["items"] = _property(inner[0], where)[0]
    return said, optional


def _without_none(hint: Any) -> Tuple[Any, bool]:
    """A type without its None, and whether it had one."""
    unions: List[Any] = [typing.Union]
    if sys.version_info >= (3, 10):
        import types

        unions.append(types.UnionType)
    if typing.get_origin(hint) not in unions:
        return hint, False
    rest = [each for each in typing.get_args(hint) if each is not type(None)]
    return (rest[0] if len(rest) == 1 else hint), len(rest) < len(typing.get_args(hint))


def build(cls: Type[Any], values: Mapping[str, Any], name: str) -> Any:
    """An instance with these values; Refused, with every mistake at once, when they do not fit.

    A whole number is taken for a float; nothing else is converted, since the
    agent has done that.
    """
    mistakes: List[str] = []
    built = _instance(cls, values, name, mistakes)
    if mistakes:
        raise Refused("; ".join(mistakes))
    return built


def _instance(cls: Type[Any], values: Mapping[str, Any], name: str, mistakes: List[str], secret: bool = False) -> Any:
    hints = typing.get_type_hints(cls)
    known = {each.name: each for each in dataclasses.fields(cls) if each.init}
    for key in sorted(set(values) - set(known)):
        mistakes.append("{}.{} is not a field of {}, which has {}".format(name, key, cls.__name__, ", ".join(known)))
    taken: Dict[str, Any] = {}
    for key, each in known.items():
        hint, optional = _without_none(hints[key])
        if values.get(key) is not None:
            said = {**each.metadata.get(_METADATA, {}), **_hidden(secret)}
            taken[key] = _value(hint, values[key], "{}.{}".format(name, key), said, mistakes)
        elif _default(each) is dataclasses.MISSING:
            taken[key] = None
            if not optional:
                mistakes.append("{}.{} is missing, and {} has no default for it".format(name, key, cls.__name__))
    return None if mistakes else cls(**taken)


def _value(hint: Any, value: Any, name: str, said: Property, mistakes: List[str]) -> Any:
    """A value as its type wants it; what is wrong is added to mistakes."""
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return _instance(typing.cast(Type[Any], hint), value, name, mistakes, said.get("secret", False))
    kind = _property(hint, name)[0]
    value = _plain(value)
    if not _fits(kind["type"], value):
        mistakes.append("{}: must be {}, is {}".format(name, _PEOPLE[kind["type"]], _shown(value, said)))
        return value
    items = typing.get_args(hint)
    if kind["type"] == "array" and items:
        inside = _hidden(said.get("secret", False))
        value = [_value(items[0], item, "{}[{}]".format(name, at), inside, mistakes) for at, item in enumerate(value)]
    mistakes.extend("{}: {}, is {}".format(name, wrong, _shown(value, said)) for wrong in _beyond(value, {**kind, **said}))
    return float(value) if kind["type"] == "number" else value


def _hidden(secret: bool) -> Property:
    """What is said of all that is inside a value: of a secret, that it is one too."""
    return {"secret": True} if secret else {}


def _plain(value: Any) -> Any:
    return value.as_dict() if hasattr(value, "as_dict") else value


def _fits(name: str, value: Any) -> bool:
    if name == "any":
        return True
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return any(name == said and isinstance(value, kind) for kind, said in _NAMES.items())


def _beyond(value: Any, said: Property) -> List[str]:
    """What a value of the right type is beyond the bounds of."""
    size = len(value) if isinstance(value, (str, list)) else 0
    checks: Dict[str, Callable[[Any], Any]] = {
        "enum": lambda bound: value in bound,
        "minimum": lambda bound: value >= bound,
        "maximum": lambda bound: value <= bound,
        "min_length": lambda bound: size >= bound,
        "max_length": lambda bound: size <= bound,
        "pattern": lambda bound: re.search(bound, value) is not None,
    }
    tell = {
        "enum": "must be one of {}",
        "minimum": "must be at least {}",
        "maximum": "must be at most {}",
        "min_length": "must have a length of at least {}",
        "max_length": "must have a length of at most {}",
        "pattern": "must match {}",
    }
    return [tell[key].format(said[key]) for key in checks if key in said and not checks[key](said[key])]


def _shown(value: Any, said: Property) -> str:
    return "something else" if said.get("secret") else "{:.60}".format(repr(value))
