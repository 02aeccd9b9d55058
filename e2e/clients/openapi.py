"""Judges OpenAPI documents: every file that is named must be valid by the schema of the version that it says it is of."""

import json
import sys

from openapi_spec_validator import validate

for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    validate(document)
    print(document["openapi"], len(document["paths"]))
