"""Client libraries of other people against a real server; nothing of them is changed but their endpoints."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import requests
from azure.identity import ClientSecretCredential

from shieldwall.times import now
from tests.api.conftest import DEVICE
from tests.client.apart import python_of, run
from tests.client.conftest import Live

ALERT = f"da{1:018d}_1"
MSTICPY_MISTAKES = {
    # Its lines are joined to one, so that what follows their first comment is no more part of the query.
    "accessibility_persistence",
    "av_sites",
    "doc_with_link",
    "email_link",
    "email_smartscreen",
    "network_scans",
    "smartscreen_ignored",
    "uncommon_powershell",
    # They name columns that the tables do not have: DeviceID, TenantId1, and SHA1 after taking it away.
    "list_file_events_for_host",
    "host_alerts",
    "sha1_alerts",
}
"""Queries of msticpy 3.0.2 that no server can answer."""

QUERY = "print Answer=42, Name='x', When=datetime(2026-01-02T03:04:05.1234567Z)"


def graph(live: Live) -> Any:
    """Microsoft's Graph client, as its documentation makes one for another cloud."""
    import httpx
    from kiota_authentication_azure.azure_identity_authentication_provider import (
        AzureIdentityAuthenticationProvider,
    )
    from msgraph import GraphRequestAdapter, GraphServiceClient
    from msgraph_core import GraphClientFactory

    credential = ClientSecretCredential(
        live.tenant,
        live.client_id,
        live.secret,
        authority=live.url,
        disable_instance_discovery=True,
        connection_verify=live.ca,
    )
    provider = AzureIdentityAuthenticationProvider(
        credential,
        scopes=["https://graph.microsoft.com/.default"],
        allowed_hosts=["127.0.0.1"],
    )
    http = GraphClientFactory.create_with_default_middleware(client=httpx.AsyncClient(verify=live.trust))
    adapter = GraphRequestAdapter(provider, client=http)
    adapter.base_url = f"{live.url}/v1.0"
    return GraphServiceClient(request_adapter=adapter)


@pytest.mark.slow
def test_msgraph_runs_hunting_queries(live: Live) -> None:
    from msgraph.generated.security.microsoft_graph_security_run_hunting_query import (
        run_hunting_query_post_request_body as body,
    )

    async def work() -> Any:
        request = body.RunHuntingQueryPostRequestBody(query=QUERY, timespan="P7D")
        return await graph(live).security.microsoft_graph_security_run_hunting_query.post(request)

    answer = asyncio.run(work())
    assert [(column.name, column.type) for column in answer.schema] == [
        ("Answer", "Int64"),
        ("Name", "String"),
        ("When", "DateTime"),
    ]
    assert answer.results[0].additional_data["Answer"] == 42
    assert answer.results[0].additional_data["Name"] == "x"


@pytest.mark.slow
def test_msgraph_lists_reads_and_changes_incidents_and_alerts(live: Live) -> None:
    from msgraph.generated.models.security.alert import Alert
    from msgraph.generated.models.security.alert_status import AlertStatus
    from msgraph.generated.models.security.incident_status import IncidentStatus

    async def work() -> None:
        security = graph(live).security
        incidents = await security.incidents.get()
        assert [each.id for each in incidents.value] == ["1"]
        incident = await security.incidents.by_incident_id("1").get()
        assert incident.status is IncidentStatus.Active
        alerts = await security.alerts_v2.get()
        assert ALERT in [each.id for each in alerts.value]
        one = await security.alerts_v2.by_alert_id(ALERT).get()
        assert one.title == "Alert 1"
        assert one.created_date_time.year == 2026
        changed = await security.alerts_v2.by_alert_id(ALERT).patch(Alert(status=AlertStatus.InProgress))
        assert changed.status is AlertStatus.InProgress

    asyncio.run(work())


@pytest.mark.slow
def test_msgraph_reads_the_errors(live: Live) -> None:
    from msgraph.generated.models.o_data_errors.o_data_error import ODataError

    async def work() -> None:
        with pytest.raises(ODataError) as caught:
            await graph(live).security.alerts_v2.by_alert_id("nothing").get()
        assert caught.value.response_status_code == 404
        assert caught.value.error.code == "NotFound"

    asyncio.run(work())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_msticpy_hunts_through_its_defender_provider(live: Live) -> None:
    moment = now()
    request = {
        "url": live.url,
        "connect": {
            "tenant_id": live.tenant,
            "client_id": live.client_id,
            "client_secret": live.secret,
            "apiRoot": live.url,
        },
        "query": QUERY,
        "parameters": {
            "start": (moment - timedelta(days=1)).isoformat(),
            "end": moment.isoformat(),
            "host_name": "web01.contoso.com",
            "hostname": "web01.contoso.com",
            "account_name": "root",
            "ip_address": "203.0.113.9",
            "file_hash": "1" * 40,
            "file_name": "evil",
            "path": "/tmp",
            "process_name": "evil",
            "url": "bad.example.com",
            "domain": "bad.example.com",
            "cmd_line": '"evil"',
            "ip_address_list": ["203.0.113.9"],
            "file_path": "/tmp/evil",
            "location": "nowhere",
            "app_name": "app",
            "message_id": "1",
            "mailbox": "ann@contoso.com",
            "process_identifier": "7",
            "protocol": '"Tcp"',
            "key_name": "Run",
            "timestamp": moment.isoformat(),
        },
    }
    found = run(python_of("msticpy"), "msticpy_hunt.py", request, SSL_CERT_FILE=live.ca)
    assert found["rows"][0]["Answer"] == 42
    assert found["types"]["When"].startswith("datetime64")
    assert len(found["queries"]) > 40
    assert {name.partition(".")[2] for name in found["refused"]} == MSTICPY_MISTAKES, found["refused"]


def test_an_odata_client_loads_the_metadata_and_reads_by_it(live: Live) -> None:
    from odata import ODataService

    session = requests.Session()
    session.verify = live.ca
    token = requests.post(
        f"{live.url}/{live.tenant}/oauth2/v2.0/token",
        data={
            "grant_type": "client_credentials",
            "client_id": live.client_id,
            "client_secret": live.secret,
            "scope": "https://api.securitycenter.microsoft.com/.default",
        },
        verify=live.ca,
        timeout=20,
    ).json()["access_token"]
    session.headers["Authorization"] = f"Bearer {token}"
    service = ODataService(f"{live.url}/api/", reflect_entities=True, session=session, quiet_progress=True)
    machines = service.entities["Machines"]
    found = service.query(machines).filter(machines.healthStatus == "Active").all()
    assert [each.id for each in found] == [DEVICE]
