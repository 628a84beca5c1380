"""Whether values that were read from a file are of the kinds that a dataclass declares."""

from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check_kinds(value: object) -> None:
    """Raise TypeError where a field of a dataclass holds another kind than it declares, or a tuple such an element."""
    for name, kind in get_type_hints(type(value)).items():
        if not _fits(getattr(value, name), kind):
            raise TypeError(f"{name} is no {getattr(kind, '__name__', kind)}")


def _fits(value: object, kind: Any) -> bool:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in parts
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(each, parts[0]) for each in value)
    return isinstance(value, int | float if kind is float else origin or kind)
