"""What the server does, asked at random along its own OpenAPI document: never a 5xx, never a status it does not
name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.capabilities.payments.shop import Shop
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database, pytest.mark.property]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 20


@schemathesis.serializer("application/zip")
def bundle(context: schemathesis.SerializationContext, value: object) -> bytes:
    """What is no bundle, whatever it is."""
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture(scope="module")
async def server_url(shop: Shop) -> AsyncIterator[str]:
    """The application behind uvicorn, on this loop and a free port of the loopback."""
    config = uvicorn.Config(shop.app, host="127.0.0.1", port=0, log_level="error", lifespan="off", http="httptools")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has a flag and no event
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await serving


def explore(url: str, headers: dict[str, str], values: dict[str, str]) -> list[str]:
    """Ask every operation at random; returns which were asked. Half of the ids are real ones."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    asked = []
    for result in schema.get_all_operations():
        operation = result.ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case: Any) -> None:
            for name in case.path_parameters or {}:
                if name in values and hash(case.id) % 2:
                    case.path_parameters[name] = values[name]
            case.call_and_validate(headers=headers, checks=CHECKS)

        check()
        asked.append(f"{operation.method.upper()} {operation.path}")
    return asked


async def test_no_5xx_and_no_undocumented_status(shop: Shop, seller: Till, server_url: str) -> None:
    payment = (await seller.pay(form="merchant_scan", auth_code=f"sim:success:{seller.merchant_id}")).json()
    refund = (
        await seller.post(f"/payments/{payment['id']}/refunds", {"out_request_no": "r", "amount_minor": 1})
    ).json()
    values = {"payment_id": payment["id"], "refund_id": refund["id"], "store_id": seller.store_id}
    headers = {"Authorization": f"Bearer {seller.token}"}
    asked = await asyncio.to_thread(explore, server_url, headers, values)
    assert "POST /v1/payments" in asked
    assert len(asked) >= 15


async def test_what_people_are_refused_is_in_the_document(shop: Shop) -> None:
    paths = (await shop.client.get("/openapi.json")).json()["paths"]
    client = "/v1/apps/{app_id}/clients/{client_id}"
    for method, path, is_written, needs_step_up in (
        ("get", client, False, False),
        ("patch", client, True, True),
        ("post", f"{client}/keys", True, True),
        ("patch", "/v1/apps/{app_id}", True, False),
        ("post", "/v1/payments", False, False),
    ):
        operation = paths[path][method]
        refused = {status: operation["responses"][status]["x-codes"] for status in ("401", "403")}
        assert ("identity.csrf_refused" in refused["403"]) == is_written, path
        assert ("identity.step_up_required" in refused["401"]) == needs_step_up, path
        assert ("identity.sign_in_required" in refused["401"]) == ("payments" not in path), path


async def test_every_refusal_of_the_document_is_a_problem(shop: Shop) -> None:
    document = (await shop.client.get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        if not path.startswith("/v1/"):
            continue
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                if status.startswith(("4", "5")):
                    assert list(answer["content"]) == ["application/problem+json"], (method, path, status)
            is_write = method == "post"
            references = {parameter.get("$ref") for parameter in operation["parameters"]}
            assert ("#/components/parameters/IdempotencyKey" in references) == is_write, (method, path)
