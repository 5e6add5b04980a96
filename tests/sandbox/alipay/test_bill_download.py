"""The bill through the gateway: an address for 30 s, and a file whose sums are the native bill's."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from sandbox.simulators.alipay_gateway.protocol import CHINA
from tests.sandbox.alipay.bazaar import Bazaar, Seller

pytestmark = pytest.mark.database
METHOD = "alipay.data.dataservice.bill.downloadurl.query"


def wait_until(bazaar: Bazaar, moment: datetime) -> None:
    bazaar.shop.clock.advance(max(timedelta(0), moment - bazaar.shop.clock.now()))


async def test_the_downloaded_bill_adds_up_to_the_native_one(bazaar: Bazaar, seller: Seller) -> None:
    now = bazaar.shop.clock.now().astimezone(CHINA)
    noon = (now + timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
    wait_until(bazaar, noon)
    day = noon.date().isoformat()
    first = await seller.pay(total_amount="100.00", subject="面条,\n🍜")
    await seller.pay(total_amount="20.00")
    back = {"trade_no": first["trade_no"], "refund_amount": "40.00", "out_request_no": "r1"}
    assert (await seller.ask("alipay.trade.refund", back))["code"] == "10000"
    asked = {"bill_type": "trade", "bill_date": day}
    assert (await seller.ask(METHOD, asked))["sub_code"] == "BILL_NOT_EXIST"
    assert (await seller.ask(METHOD, asked | {"bill_date": "someday"}))["sub_code"] == "INVAILID_ARGUMENTS"
    wait_until(bazaar, (noon + timedelta(days=1)).replace(hour=9, minute=5))
    await bazaar.shop.platform.payments.bill_maker.find_work()
    await bazaar.shop.work_for(seller.till, rounds=4)
    address = (await seller.ask(METHOD, asked))["bill_download_url"]
    answer = await seller.till.client.get(address)
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
        detail = opened.read(opened.namelist()[0]).decode("gbk")
    header, *rows = list(csv.reader(line for line in detail.split("\r\n") if line and not line.startswith("#")))
    found = [dict(zip(header, row, strict=True)) for row in rows]
    assert sorted(row["订单金额（元）"] for row in found) == ["-40.00", "100.00", "20.00"]
    assert {row["支付宝交易号"] for row in found if row["业务类型"] == "退款\t"} == {f"{first['trade_no']}\t"}
    assert "面条，　?\t" in {row["商品名称"] for row in found}
    native = (await seller.till.get(f"/bills/{day}")).text
    net = sum(
        Decimal(row["net_amount"])
        for row in csv.DictReader(io.StringIO(native))
        if row["entry"] in ("capture", "refund")
    )
    assert sum(Decimal(row[name]) for row in found for name in ("商家实收（元）", "服务费（元）", "分润（元）")) == net
    bazaar.shop.later(seconds=31)
    assert (await seller.till.client.get(address)).status_code == 404
    assert (await seller.till.client.get(f"{address}x")).status_code == 404
