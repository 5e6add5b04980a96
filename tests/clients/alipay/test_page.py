"""The page docs/how-to/alipay-gateway.md: its Python blocks run in the clients' environments, as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.alipay.conftest import Theatre
from tests.clients.alipay.test_clients import new_code, new_no
from tests.docs.markdown import examples

pytestmark = pytest.mark.clients
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "alipay-gateway.md"


@pytest.mark.parametrize(("number", "client", "form"), [(0, "pas", "pkcs8"), (1, "asp", "pkcs1_line")])
async def test_the_pages_blocks_take_money(theatre: Theatre, number: int, client: str, form: str) -> None:
    blocks = [example for example in examples(PAGE) if example.mark == "by=tests/clients/alipay/test_page.py"]
    assert len(blocks) == 2
    seller = await theatre.tell("stage", "seller")
    order = new_no()
    names = {
        "APP_ID": seller["app_id"],
        "PRIVATE_KEY": seller[form],
        "PLATFORM_KEY": seller["platform_pem" if client == "pas" else "platform_line"],
        "NUMBER": order,
        "CODE": new_code(),
    }
    await theatre.tell(client, "run", source=blocks[number].text, names=names)
    native = await theatre.tell("stage", "native", app_id=seller["app_id"], out_trade_no=order)
    assert (native["state"], native["collected_minor"]) == ("captured", 880)
