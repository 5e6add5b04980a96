"""Public keys of clients, and what may be shown once was shown."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "identity_0006"
down_revision = "identity_0004"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE client_key (
  id text PRIMARY KEY,
  client_id text NOT NULL REFERENCES app_client (id),
  merchant_id text REFERENCES merchant (id),
  thumbprint text NOT NULL CHECK (length(thumbprint) = 43),
  kid text CHECK (length(kid) BETWEEN 1 AND 128),
  kind text NOT NULL CHECK (kind IN ('P-256', 'Ed25519', 'RSA')),
  public_jwk text NOT NULL,
  added_by text NOT NULL,
  created_at timestamptz NOT NULL,
  UNIQUE (client_id, thumbprint)
);

CREATE TABLE client_key_set (
  id text PRIMARY KEY REFERENCES app_client (id),
  merchant_id text REFERENCES merchant (id),
  uri text NOT NULL CHECK (length(uri) BETWEEN 1 AND 2048),
  set_by text NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL
);

-- Written for every proof and needed for minutes, so no log is written for it. A crash empties it; the row 'birth'
-- then says since when it remembers. 0: since ever, nothing was lost.
CREATE UNLOGGED TABLE seen_jti (
  id text PRIMARY KEY,
  until timestamptz NOT NULL,
  born bigint,
  CHECK ((id = 'birth') = (born IS NOT NULL))
);
CREATE INDEX seen_jti_age ON seen_jti (until);
INSERT INTO seen_jti (id, until, born) VALUES ('birth', 'infinity', 0);
"""


def upgrade() -> None:
    """Create the tables; a key that was removed is no history, its removal is an event and an audit row."""
    run_script(TABLES)
    for table in ("client_key", "client_key_set"):
        run_script(tenant_table_sql(table, auth=True, removable=True))
    run_script(tenant_table_sql("seen_jti", tenant=None))
    op.execute("GRANT DELETE ON seen_jti TO arsenal_job")
    op.execute("CREATE POLICY job_sweeps ON seen_jti FOR DELETE TO arsenal_job USING (true)")


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE seen_jti, client_key_set, client_key")
