import re

import pytest

import u2net.runtime
from u2net.runtime import errors
from u2net.runtime.errors import DependencyError, U2NetError

DEFINED = {
    name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, U2NetError)
}


def drawn_tree() -> dict[str, str]:
    """Parent of each error as the module's docstring draws it."""
    parents: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        branch = re.match(r" {4}((?:│   |    )*)[├└]── (\w+)", line)
        if branch:
            depth = len(branch[1]) // 4 + 1
            del above[depth:]
            parents[branch[2]] = above[-1]
            above.append(branch[2])
        elif line.strip() == "U2NetError":
            above = ["U2NetError"]
    return parents


def test_the_docstring_draws_every_error() -> None:
    assert {"U2NetError", *drawn_tree()} == set(DEFINED)


@pytest.mark.parametrize("name", sorted(set(DEFINED) - {"U2NetError"}))
def test_each_error_stands_where_the_tree_draws_it(name: str) -> None:
    assert DEFINED[name].__bases__[0].__name__ == drawn_tree()[name]


@pytest.mark.parametrize("name", sorted(DEFINED))
def test_each_error_is_public(name: str) -> None:
    assert getattr(u2net.runtime, name) is DEFINED[name]
    assert name in u2net.runtime.__all__


@pytest.mark.parametrize(("name", "builtin"), [("InputError", ValueError), ("DependencyError", ImportError)])
def test_errors_that_python_has_a_word_for_are_that_too(name: str, builtin: type[Exception]) -> None:
    assert issubclass(DEFINED[name], builtin)


def test_a_missing_package_says_what_brings_it() -> None:
    error = DependencyError("onnxruntime", "cpu")

    assert (error.package, error.extra) == ("onnxruntime", "cpu")
    assert "onnxruntime is not installed" in str(error)
    assert "pip install 'u2net-deploy[cpu]'" in str(error)
