"""What limits a grant and how it came to be; the turnstile of its meters; what apps say of the scopes they ask for."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "identity_0007"
down_revision = "identity_0006"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE access_grant ADD COLUMN details jsonb CHECK (jsonb_typeof(details) = 'array');

CREATE TABLE grant_version (
  id text PRIMARY KEY,
  grant_id text NOT NULL REFERENCES access_grant (id),
  merchant_id text NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  kind text NOT NULL CHECK (kind IN ('created', 'changed', 'narrowed', 'revoked', 'expired')),
  scopes text NOT NULL,
  stores text,
  details jsonb,
  expires_at timestamptz,
  difference jsonb,
  changed_by text NOT NULL,
  changed_at timestamptz NOT NULL,
  UNIQUE (grant_id, version)
);

CREATE TABLE grant_meter (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  version bigint NOT NULL CHECK (version > 0)
) WITH (fillfactor = 50);

CREATE TABLE app_scope (
  id text PRIMARY KEY,
  app_id text NOT NULL REFERENCES app (id),
  merchant_id text,
  scope text NOT NULL,
  is_optional boolean NOT NULL,
  purpose_en text CHECK (length(purpose_en) BETWEEN 1 AND 200),
  purpose_zh text CHECK (length(purpose_zh) BETWEEN 1 AND 200),
  CHECK ((purpose_en IS NULL) = (purpose_zh IS NULL)),
  UNIQUE (app_id, scope)
);
"""


def upgrade() -> None:
    """Create the tables; grants that exist carry no limits."""
    run_script(TABLES)
    for table in ("grant_version", "grant_meter", "app_scope"):
        run_script(tenant_table_sql(table, auth=True))


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE app_scope, grant_meter, grant_version")
    op.execute("ALTER TABLE access_grant DROP COLUMN details")
