"""Checks that the fields of a dataclass hold what it declares, for values that were read from a file or a user."""

from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check_kinds(value: object) -> None:
    """Raise TypeError if a field of a dataclass, or an element of a tuple in it, is not of the declared type."""
    for name, kind in get_type_hints(type(value)).items():
        found = getattr(value, name)
        if not _fits(found, kind):
            raise TypeError(f"{name} is {found!r}, not {_describe(kind)}")


def _fits(value: object, kind: Any) -> bool:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in parts
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple:
        long_enough = parts[-1] is ... or (isinstance(value, tuple) and len(value) == len(parts))
        return isinstance(value, tuple) and long_enough and all(_fits(each, parts[0]) for each in value)
    return isinstance(value, int | float if kind is float else origin or kind)


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {get_args(kind)}"
    return str(kind) if get_origin(kind) else kind.__name__
