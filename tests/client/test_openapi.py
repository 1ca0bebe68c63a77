"""Whatever the OpenAPI document allows to be sent: no failure inside, and no status that it does not name."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance

from shieldwall.client import calls
from tests.client.conftest import Live

EXAMPLES = 6
"""Requests for each operation."""


@pytest.mark.slow
def test_no_request_that_the_document_allows_fails_or_answers_another_status(live: Live) -> None:
    with live.client() as client:
        client.send(calls.machines(top=1))
        headers = {"Authorization": f"Bearer {client._session._token}"}
    schema = schemathesis.openapi.from_dict(live.api.http.app.openapi())
    failures: list[str] = []
    tried = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if not operation.path.startswith(("/api", "/v1.0")):
            continue
        tried += 1

        @given(case=operation.as_strategy())
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case: schemathesis.Case) -> None:
            answer = case.call(base_url=live.url, headers=headers, verify=live.ca)
            case.validate_response(answer, checks=[not_a_server_error, status_code_conformance])

        try:
            check()
        except Exception as error:
            failures.append(f"{operation.label}: {error}"[:1500])
    assert not failures, "\n\n".join(failures)
    assert tried > 80
