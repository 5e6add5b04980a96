"""`arsenal audit`: the chain of what was done, verified, signed and exported."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from platform_core.bootstrap.environment import load_settings, migrated_database, quiet_logs, reached
from platform_core.bootstrap.platform import secrets_key
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from platform_core.governance.audit.checkpoints import Checkpoint, CheckpointUnreadable, NothingSealed, Signer
from platform_core.governance.audit.export import SEAL_MAX, export
from platform_core.governance.audit.verify import AuditReport, verify
from platform_core.identity.vault import Vault
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.pools import Database, DatabaseUrls

app = typer.Typer(no_args_is_help=True, help="Prove what was done.")
FromSeal = Annotated[int, typer.Option("--from", min=1, help="The first seal, by number.")]
ToSeal = Annotated[int | None, typer.Option("--to", min=1, help="The last seal; by default the newest.")]


@app.callback()
def audit() -> None:
    """Prove what was done."""


@app.command("verify")
@reporting
def verify_chain(
    *,
    from_seal: FromSeal = 1,
    to_seal: ToSeal = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A file of `arsenal audit checkpoint`.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Recompute the chain of the audit log; exit 1 names the first number that does not hold, and what is wrong."""
    terminal = Terminal(is_json=is_json)
    settings = load_settings()
    quiet_logs()
    kept = _read(checkpoint) if checkpoint is not None else None
    public_key = Signer(Vault(secrets_key(settings))).public_key
    report = reached(_verify(migrated_database(settings), kept, public_key, (from_seal, to_seal)))
    told = {**asdict(report), "is_clean": report.is_clean}
    if report.broken is not None:
        raise CliFailure(
            f"The audit log does not hold: {report.broken}.",
            "Keep a copy of the database as it is, and read docs/how-to/cli.md, section audit verify.",
            code="cli.audit_broken",
            facts={"report": told},
        )
    terminal.say(
        f"{report.rows} rows in {report.seals} seals hold; {report.unsealed} wait to be sealed"
        + ("." if kept is None else "; the checkpoint agrees.")
    )
    terminal.document(told)


@app.command("checkpoint")
@reporting
def sign_checkpoint(*, is_json: JsonOption = False) -> None:
    """Print the end of the chain, signed, as one JSON document: keep it where the database's administrators cannot.

    The output is JSON with and without --json.
    """
    settings = load_settings()
    quiet_logs()
    signer = Signer(Vault(secrets_key(settings)))
    try:
        signed = reached(_sign(migrated_database(settings), signer))
    except NothingSealed as error:
        raise CliFailure(
            "Nothing is sealed yet.",
            "Start a worker, which seals once a second: arsenal worker",
            code="cli.nothing_sealed",
        ) from error
    sys.stdout.write(json.dumps({**signed.document(), "public_key": signer.public_key.hex()}) + "\n")


@app.command("export")
@reporting
def export_rows(
    *,
    merchant: Annotated[str | None, typer.Option(help="Only rows that concern this merchant.")] = None,
    from_seal: FromSeal = 1,
    to_seal: ToSeal = None,
    is_json: JsonOption = False,
) -> None:
    """Print the chained rows as JSON lines, each with the Merkle proof that leads to its seal.

    The output is JSON with and without --json.
    """
    quiet_logs()
    urls = migrated_database(load_settings())
    reached(_export(urls, merchant, (from_seal, to_seal or SEAL_MAX)))


def _read(path: Path) -> Checkpoint:
    try:
        return Checkpoint.read(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, CheckpointUnreadable) as error:
        raise CliFailure(
            f"The checkpoint {path} cannot be read: {error}.",
            "Make one: arsenal audit checkpoint > checkpoint.json",
            status=WRONG_USE,
            code="cli.checkpoint_unreadable",
        ) from error


async def _verify(
    urls: DatabaseUrls, checkpoint: Checkpoint | None, public_key: bytes, seals: tuple[int, int | None]
) -> AuditReport:
    database = Database(urls, application_name="arsenal-audit")
    try:
        return await verify(
            database,
            now=SystemClock().now(),
            checkpoint=checkpoint,
            public_key=public_key,
            from_seal=seals[0],
            to_seal=seals[1],
        )
    finally:
        await database.close()


async def _sign(urls: DatabaseUrls, signer: Signer) -> Checkpoint:
    database = Database(urls, application_name="arsenal-audit")
    try:
        return await signer.sign(database, now=SystemClock().now())
    finally:
        await database.close()


async def _export(urls: DatabaseUrls, merchant_id: str | None, seals: tuple[int, int]) -> None:
    database = Database(urls, application_name="arsenal-audit")
    try:
        async for document in export(database, merchant_id=merchant_id, from_seal=seals[0], to_seal=seals[1]):
            sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    finally:
        await database.close()
