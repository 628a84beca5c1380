"""JSON Schemas of the reports, made from their dataclasses: ``python -m u2net.benchmarks.schema`` writes the files."""

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from u2net.benchmarks.measure import BenchReport
from u2net.benchmarks.suite.suite import SuiteReport
from u2net.benchmarks.writing import json_fields, write_json
from u2net.export.build import BuildResult
from u2net.runtime.device import Device
from u2net.runtime.pictures import PictureFiles

SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "build": {"passed": bool, "build": BuildResult, "bench": BenchReport, "pictures": tuple[PictureFiles, ...]},
    "suite": {each.name: get_type_hints(SuiteReport)[each.name] for each in json_fields(SuiteReport)},
}
"""Types of the values in ``report.json`` of ``u2net build`` and of ``u2net bench --suite``."""

SIMPLE: Mapping[Any, dict[str, Any]] = {
    **{kind: {"type": "string"} for kind in (str, Path, Device)},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"anyOf": [{"type": "number"}, {"enum": ["inf", "-inf", "nan"]}]},
    NoneType: {"type": "null"},
    Any: {},
}


def schema_file(report: str) -> Path:
    """Path of the schema of a report, a key of :data:`SCHEMAS`."""
    return Path(__file__).with_name(f"{report}.schema.json")


def report_schema(report: str) -> dict[str, Any]:
    """Return the schema of a report."""
    found: dict[str, Any] = {}
    body = _describe_object(SCHEMAS[report], found)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body, "$defs": found}


def _describe_object(kinds: Mapping[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    properties = {name: _describe(kind, found) for name, kind in kinds.items()}
    return {"type": "object", "properties": properties, "required": list(kinds), "additionalProperties": False}


def _describe(kind: Any, found: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type; those of dataclasses are added to ``found``."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in SIMPLE:
        return SIMPLE[kind]
    if origin in (Union, UnionType):
        return {"anyOf": [_describe(each, found) for each in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (list, tuple, Sequence):
        items = [_describe(each, found) for each in arguments if each is not ...]
        fixed = {"prefixItems": items, "items": False, "minItems": len(items)}
        return {"type": "array", **({"items": items[0]} if ... in arguments or origin is not tuple else fixed)}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _describe(arguments[1], found)}
    return _refer_to(kind, found)


def _refer_to(kind: Any, found: dict[str, Any]) -> dict[str, Any]:
    if not is_dataclass(kind) or not isinstance(kind, type):
        raise TypeError(f"a report holds {kind}, for which there is no JSON Schema; describe it in {__file__}")
    if kind.__name__ not in found:
        found[kind.__name__] = {}
        hints = get_type_hints(kind)
        body = _describe_object({each.name: hints[each.name] for each in json_fields(kind)}, found)
        found[kind.__name__] = {"description": (kind.__doc__ or "").partition("\n")[0], **body}
    return {"$ref": f"#/$defs/{kind.__name__}"}


if __name__ == "__main__":
    for name in SCHEMAS:
        write_json(schema_file(name), report_schema(name))
