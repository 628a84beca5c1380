"""Make dataclasses from JSON, check the fields of any dataclass against their declared types, and check numbers."""

from collections.abc import Callable
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from u2net.runtime.errors import InputError

Record = TypeVar("Record")

MOST = 1024
"""Largest number of threads, of runs at once, and of images in a measured batch."""


def read_fields(kind: Callable[..., Record], values: dict[str, Any]) -> Record:
    """Make a dataclass from its fields as JSON holds them: a list for a tuple, a dictionary for another dataclass.

    Raise TypeError if a field is missing, unknown, or not of the declared type.
    """
    declared = get_type_hints(kind)
    made = kind(**{name: _read(value, declared.get(name)) for name, value in values.items()})
    check_kinds(made)
    return made


def _read(value: Any, kind: Any) -> Any:
    if isinstance(value, list) and get_origin(kind) is tuple:
        return tuple(_read(each, get_args(kind)[0]) for each in value)
    for part in (kind, *get_args(kind)):  # the second kind of Record | None
        if isinstance(value, dict) and isinstance(part, type) and is_dataclass(part):
            return read_fields(part, value)
    return value


def check_kinds(value: object) -> None:
    """Raise TypeError if a field of a dataclass or of one inside it, or an element of a tuple, is of another type."""
    for name, kind in get_type_hints(type(value)).items():
        found = getattr(value, name)
        if not _fits(found, kind):
            raise TypeError(f"{name} is {found!r}, not {_describe(kind)}")
        for each in found if isinstance(found, tuple) else (found,):
            if is_dataclass(each):
                check_kinds(each)


def check_options(options: object, what: str) -> None:
    """Raise InputError, which says what cannot be used, if :func:`check_kinds` raises TypeError."""
    try:
        check_kinds(options)
    except TypeError as error:
        raise InputError(f"{what} cannot be used: {error}") from error


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


def check_counts(name: str, *counts: int | None) -> None:
    """Raise InputError for a count that is neither None nor a whole number from 1 to :data:`MOST`."""
    for count in counts:
        if count is not None and not (is_whole(count) and 1 <= count <= MOST):
            raise InputError(f"{name} is a whole number from 1 to {MOST}; got {count!r}")


def is_whole(number: object) -> bool:
    """True for a whole number of Python's or NumPy's."""
    return isinstance(number, int | np.integer) and not isinstance(number, bool)
