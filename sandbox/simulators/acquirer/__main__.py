"""`python -m sandbox.simulators.acquirer --port 0`: prints one JSON line with its URL and merchants, then serves."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from sandbox.simulators.acquirer.app import AcquirerConfig, create_app
from sandbox.simulators.acquirer.book import Book
from sandbox.simulators.acquirer.server import listen, server_of, system_time, url_of

_DEFAULT_MERCHANT = "2088000000000001"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.simulators.acquirer", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback alone)")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one")
    parser.add_argument("--book", type=Path, help="file of the book; without it nothing survives a restart")
    parser.add_argument(
        "--merchant",
        action="append",
        default=[],
        metavar="NUMBER=HEXKEY",
        help="a merchant and its signing key; without any, one is made up and printed",
    )
    options = parser.parse_args(arguments)
    try:
        merchants = _merchants(options.merchant, options.book)
    except ValueError as error:
        parser.error(str(error))
    listener = listen(options.host, options.port)
    line = {"url": url_of(listener), "merchants": {number: key.hex() for number, key in merchants.items()}}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    server_of(create_app(AcquirerConfig(merchants=merchants, book_path=options.book), system_time)).run([listener])
    return 0


def _merchants(given: Sequence[str], path: Path | None) -> dict[str, bytes]:
    """Those of the book, those given, and one made up when there is none. ValueError for one that cannot be read."""
    known: dict[str, bytes] = {}
    if path is not None:
        book = Book(path)
        known.update(book.merchants())
        book.close()
    for text in given:
        number, _, key = text.partition("=")
        try:
            known[number] = bytes.fromhex(key)
        except ValueError:
            raise ValueError("a merchant is given as NUMBER=HEXKEY, the key in hexadecimal") from None
        if len(known[number]) < 16:
            raise ValueError("a merchant's key has at least 16 bytes, 32 hexadecimal digits")
    return known or {_DEFAULT_MERCHANT: secrets.token_bytes(32)}


if __name__ == "__main__":
    sys.exit(main())
