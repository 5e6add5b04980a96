"""Kept honest by the reverse: what plugins really use works in a worker, at every level that confines."""

from __future__ import annotations

import sysconfig
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from sandbox.runtime.levels import Level
from sandbox.runtime.release import WorkerRelease
from sandbox.runtime.spawner import Spawner
from tests.support.confined import CONFINED, PLAIN, VERSION, install, name_of, plugins_folder, spawning, working

LIBRARIES: Final[dict[str, tuple[str, object]]] = {
    "pydantic": (
        """
from pydantic import BaseModel, TypeAdapter, ValidationError
class Order(BaseModel):
    amount_minor: int
    lines: list[str] = []
result = [Order.model_validate_json('{"amount_minor": 5}').model_dump(), TypeAdapter(dict[str, int]).json_schema()]
""",
        [{"amount_minor": 5, "lines": []}, {"additionalProperties": {"type": "integer"}, "type": "object"}],
    ),
    "jinja2": (
        """
import jinja2
environment = jinja2.Environment(autoescape=True)
result = environment.from_string('{% for n in names %}<b>{{ n }}</b>{% endfor %}').render(names=['a', '<'])
""",
        "<b>a</b><b>&lt;</b>",
    ),
    "numpy": (
        """
import numpy
matrix = numpy.arange(90_000, dtype=float).reshape(300, 300)
product = matrix @ numpy.eye(300)
solved = numpy.linalg.solve(numpy.diag([2.0, 4.0]), [2.0, 8.0])
result = [bool((product == matrix).all()), solved.tolist(), numpy.random.default_rng(1).integers(1, 2)]
result[2] = int(result[2])
""",
        [True, [1.0, 2.0], 1],
    ),
    "pandas": (
        """
import pandas
frame = pandas.DataFrame({'store': ['a', 'b', 'a'], 'paid': [1, 2, 3]})
frame['at'] = pandas.to_datetime('2026-11-22 12:00').tz_localize('Asia/Shanghai')
result = [frame.groupby('store')['paid'].sum().to_dict(), frame['at'].iloc[0].isoformat(), frame['paid'].to_csv()]
""",
        [{"a": 4, "b": 2}, "2026-11-22T12:00:00+08:00", ",paid\n0,1\n1,2\n2,3\n"],
    ),
    "cryptography": (
        """
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
signature = key.sign(b'order', padding.PKCS1v15(), hashes.SHA256())
key.public_key().verify(signature, b'order', padding.PKCS1v15(), hashes.SHA256())
box = Fernet(Fernet.generate_key())
result = [len(signature), box.decrypt(box.encrypt(b'x')).decode(), len(ed25519.Ed25519PrivateKey.generate().sign(b'x'))]
""",
        [256, "x", 64],
    ),
    "lxml": (
        """
from lxml import etree
tree = etree.fromstring(b'<invoice><line n="1">10</line><line n="2">20</line></invoice>')
result = [tree.xpath('sum(line)'), etree.tostring(tree[0]).decode()]
""",
        [30.0, '<line n="1">10</line>'],
    ),
    "reportlab": (
        """
import io
from reportlab.pdfgen import canvas
target = io.BytesIO()
page = canvas.Canvas(target)
page.drawString(72, 72, 'Receipt 12.00')
page.save()
result = [target.getvalue()[:5].decode(), target.getvalue().rstrip()[-5:].decode()]
""",
        ["%PDF-", "%%EOF"],
    ),
    "qrcode": (
        """
import io, qrcode, qrcode.image.svg
code = qrcode.QRCode()
code.add_data('https://pay.example/1')
code.make(fit=True)
target = io.BytesIO()
code.make_image(image_factory=qrcode.image.svg.SvgPathImage).save(target)
result = [len(code.get_matrix()) > 20, b'<svg' in target.getvalue()]
""",
        [True, True],
    ),
    "sqlite3": (
        """
import sqlite3
with sqlite3.connect(':memory:') as connection:
    connection.execute('CREATE TABLE paid (store TEXT, minor INTEGER)')
    connection.executemany('INSERT INTO paid VALUES (?, ?)', [('a', 1), ('b', 2), ('a', 3)])
    result = connection.execute('SELECT store, sum(minor) FROM paid GROUP BY store ORDER BY store').fetchall()
""",
        [["a", 4], ["b", 2]],
    ),
    "asyncio": (
        """
import asyncio
async def main():
    reader, writer = await asyncio.gather(asyncio.sleep(0.01, 'slept'), asyncio.to_thread(lambda: 'thread'))
    async with asyncio.timeout(5):
        queue = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            group.create_task(queue.put(3))
            got = await queue.get()
    return [reader, writer, got]
result = asyncio.run(main())
""",
        ["slept", "thread", 3],
    ),
    "zoneinfo": (
        """
import datetime, importlib.resources, zoneinfo
zone = zoneinfo.ZoneInfo('Asia/Shanghai')
result = [datetime.datetime(2026, 11, 22, 12, tzinfo=zone).isoformat(), len(zoneinfo.available_timezones()) > 400]
""",
        ["2026-11-22T12:00:00+08:00", True],
    ),
    "threads": (
        """
import concurrent.futures, threading
with concurrent.futures.ThreadPoolExecutor(10) as pool:
    barrier = threading.Barrier(10)
    result = sorted(pool.map(lambda n: (barrier.wait(10), n)[1], range(10)))
""",
        list(range(10)),
    ),
    "stdlib": (
        """
import csv, decimal, email.message, gzip, hashlib, hmac, http.client, io, json, locale, logging, platform, re
import secrets, shutil, statistics, string, tempfile, urllib.parse, uuid, xml.etree.ElementTree, zipfile
result = [
    gzip.decompress(gzip.compress(b'x')).decode(),
    hashlib.scrypt(b'a', salt=b'b', n=16, r=1, p=1).hex()[:8],
    str(decimal.Decimal('0.1') + decimal.Decimal('0.2')),
    len(secrets.token_hex()),
    uuid.uuid4().version,
    platform.python_implementation(),
    shutil.get_terminal_size((80, 24)).columns,
]
logging.getLogger('plugin').warning('said')
""",
        ["x", "9ab824ca", "0.3", 64, 4, "CPython", 80],
    ),
}


@pytest.fixture(scope="module")
def bundle() -> Iterator[Path]:
    """A release with the libraries in its folder: this environment's own, which is locked by hashes."""
    with plugins_folder() as plugins:
        release: WorkerRelease = install(plugins, memory_mb=1024)
        (release.folder / "plain.py").unlink()
        release.folder.rmdir()
        release.folder.symlink_to(sysconfig.get_path("purelib"))
        assert release.folder.parent == plugins / PLAIN / VERSION
        yield plugins


@pytest.fixture(scope="module")
async def spawners(bundle: Path) -> AsyncIterator[Mapping[Level, Spawner]]:
    """A spawner for each level."""
    async with AsyncExitStack() as stack:
        yield {level: await stack.enter_async_context(spawning(bundle, level=level)) for level in CONFINED}


@pytest.mark.parametrize("level", CONFINED, ids=name_of)
@pytest.mark.parametrize("library", LIBRARIES)
async def test_honest_libraries_work_in_a_worker(spawners: Mapping[Level, Spawner], level: Level, library: str) -> None:
    code, expected = LIBRARIES[library]
    async with working(spawners[level]) as worker:
        assert worker.spawned.facts.level == level
        assert await worker.run(code) == expected


@pytest.mark.parametrize("level", CONFINED, ids=name_of)
async def test_time_zones_need_no_package_in_the_bundle(level: Level) -> None:
    code, expected = LIBRARIES["zoneinfo"]
    with plugins_folder() as plugins:
        install(plugins)
        async with spawning(plugins, level=level) as spawner, working(spawner) as worker:
            assert await worker.run(code) == expected
