import json
from pathlib import Path

import jsonschema
import pytest

from u2net.benchmarks.schema import SCHEMAS, report_schema, schema_file

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.mark.parametrize("report", SCHEMAS)
def test_the_published_schema_is_that_of_the_dataclasses(report: str) -> None:
    published = json.loads(schema_file(report).read_text(encoding="utf-8"))

    jsonschema.Draft202012Validator.check_schema(published)
    assert published == report_schema(report), "run python -m u2net.benchmarks.schema"


@pytest.mark.parametrize("name", ["suite", "suite-avx2", "h200-u2netp", "h200-u2net"])
def test_published_results_are_of_the_schema(name: str) -> None:
    jsonschema.validate(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")), report_schema("suite"))
