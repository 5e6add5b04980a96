"""`arsenal audit export`: rows with what proves each of them alone, for somebody who sees no other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from platform_core.governance.audit.chain import (
    COLUMNS,
    Seal,
    merkle_proof,
    plain_row,
    proven_root,
    row_hash,
    split_hashes,
)
from platform_core.kernel.database.pools import Database

_SEALS: Final = (
    "SELECT *, lag(last_written_in, 1, 0::bigint) OVER w AS after_written_in, "
    "lag(last_position, 1, 0::bigint) OVER w AS after_position "
    "FROM audit_seal WHERE number BETWEEN $1 - 1 AND $2 WINDOW w AS (ORDER BY number) ORDER BY number"
)
_ROWS: Final = (
    f"SELECT {', '.join(COLUMNS)} FROM audit_row WHERE (written_in, position) > ($1, $2) "
    "AND (written_in, position) <= ($3, $4) ORDER BY written_in, position"
)
SEAL_MAX: Final = 2**62


async def export(
    database: Database, *, merchant_id: str | None = None, from_seal: int = 1, to_seal: int = SEAL_MAX
) -> AsyncIterator[dict[str, Any]]:  # Any: JSON
    """The chained rows in order, of one merchant or all, as documents; what is not sealed yet is left out.

    Each holds the row as it is hashed, its number, the proof, and the seal that it leads to; see `is_proven`.
    """
    connection = await database.connect("job")
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            async for record in connection.cursor(_SEALS, from_seal, to_seal):
                if record["number"] < from_seal:
                    continue
                bounds = [record[name] for name in ("after_written_in", "after_position")]
                rows = await connection.fetch(_ROWS, *bounds, record["last_written_in"], record["last_position"])
                leaves = split_hashes(record["row_hashes"])
                for place, row in enumerate(rows):
                    if merchant_id is None or row["merchant_id"] == merchant_id:
                        yield _document(Seal.of(record), leaves, place, plain_row(row))
    finally:
        await connection.close()


def is_proven(document: dict[str, Any]) -> bool:  # Any: JSON
    """Whether an exported row is the one that its seal closed. That the seal stands, the chain shows."""
    proof = [(side, bytes.fromhex(neighbour)) for side, neighbour in document["proof"]]
    leaf = row_hash([document["row"][name] for name in COLUMNS])
    return proven_root(leaf, proof) == bytes.fromhex(document["root"])


def _document(seal: Seal, leaves: list[bytes], place: int, plain: list[Any]) -> dict[str, Any]:
    return {
        "number": seal.first_row + place,
        "row": dict(zip(COLUMNS, plain, strict=True)),
        "proof": [[side, neighbour.hex()] for side, neighbour in merkle_proof(leaves, place)],
        "root": seal.root.hex(),
        "seal": seal.number,
        "seal_digest": seal.digest().hex(),
    }
