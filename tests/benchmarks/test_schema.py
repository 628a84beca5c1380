import json

import jsonschema
import pytest

from u2net.benchmarks.schema import SCHEMAS, report_schema, schema_file


@pytest.mark.parametrize("report", SCHEMAS)
def test_the_published_schema_is_that_of_the_dataclasses(report: str) -> None:
    published = json.loads(schema_file(report).read_text(encoding="utf-8"))

    jsonschema.Draft202012Validator.check_schema(published)
    assert published == report_schema(report), "run python -m u2net.benchmarks.schema"
