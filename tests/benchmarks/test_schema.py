import json
from pathlib import Path

import jsonschema
import pytest

from u2net.benchmarks.schema import SCHEMAS, _describe, report_schema, schema_file


@pytest.mark.parametrize("report", SCHEMAS)
def test_the_published_schema_is_that_of_the_dataclasses(report: str) -> None:
    published = json.loads(schema_file(report).read_text(encoding="utf-8"))

    jsonschema.Draft202012Validator.check_schema(published)
    assert published == report_schema(report), "run python -m u2net.benchmarks.schema"


def test_a_type_without_a_schema_is_told() -> None:
    with pytest.raises(TypeError, match="for which there is no JSON Schema"):
        _describe(set[Path], {})
