"""The device grant, and the stores that a family of tokens is bound to."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "identity_0008"
down_revision = "identity_0007"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE oauth_token_family ADD COLUMN stores text CHECK (stores ~ '^sto_[0-9a-z]{26}( sto_[0-9a-z]{26})*$');

CREATE TABLE oauth_device_code (
  id text PRIMARY KEY,
  merchant_id text REFERENCES merchant (id),
  client_id text NOT NULL REFERENCES app_client (id),
  app_id text NOT NULL REFERENCES app (id),
  mode text NOT NULL CHECK (mode IN ('test', 'live')),
  digest bytea NOT NULL CHECK (length(digest) = 32),
  user_code_digest bytea NOT NULL UNIQUE CHECK (length(user_code_digest) = 32),
  scopes text NOT NULL,
  details text NOT NULL,
  resource text NOT NULL,
  interval_s integer NOT NULL CHECK (interval_s > 0),
  polled_at timestamptz,
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX oauth_device_code_age ON oauth_device_code (expires_at);

CREATE TABLE oauth_device_decision (
  id text PRIMARY KEY REFERENCES oauth_device_code (id) ON DELETE CASCADE,
  merchant_id text NOT NULL REFERENCES merchant (id),
  client_id text NOT NULL REFERENCES app_client (id),
  person_id text NOT NULL,
  outcome text NOT NULL CHECK (outcome IN ('approved', 'declined')),
  grant_id text REFERENCES access_grant (id),
  family_id text,
  stores text,
  scopes text NOT NULL,
  details text NOT NULL,
  acr text NOT NULL,
  auth_time bigint NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  used_at timestamptz,
  CHECK ((outcome = 'approved') = (grant_id IS NOT NULL AND family_id IS NOT NULL))
);
"""


def upgrade() -> None:
    """Create the tables; codes are for the authorization server's role alone."""
    run_script(TABLES)
    for table in ("oauth_device_code", "oauth_device_decision"):
        run_script(tenant_table_sql(table, auth=True))
    op.execute("REVOKE SELECT ON oauth_device_code, oauth_device_decision FROM arsenal_app, arsenal_job")


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE oauth_device_decision, oauth_device_code")
    op.execute("ALTER TABLE oauth_token_family DROP COLUMN stores")
