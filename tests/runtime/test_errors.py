import re

import pytest

import u2net.runtime
from u2net.runtime import errors
from u2net.runtime.errors import U2NetError

DEFINED = {
    name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, U2NetError)
}


def test_the_docstring_draws_every_error() -> None:
    drawn = re.findall(r"^    .*?(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)

    assert sorted(drawn) == sorted(DEFINED)


@pytest.mark.parametrize("name", sorted(DEFINED))
def test_each_error_is_public(name: str) -> None:
    assert getattr(u2net.runtime, name) is DEFINED[name]
    assert name in u2net.runtime.__all__


@pytest.mark.parametrize(("name", "builtin"), [("InputError", ValueError), ("DependencyError", ImportError)])
def test_errors_are_also_pythons_own_kind(name: str, builtin: type[Exception]) -> None:
    assert issubclass(DEFINED[name], builtin)
