"""Parties, apps, grants, signing keys and the feed of revocations."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "identity_0001"
down_revision = None
branch_labels = ("identity",)
depends_on = None

TABLES = """
CREATE TABLE merchant (
  id text PRIMARY KEY,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  mode text NOT NULL CHECK (mode IN ('test', 'live')),
  industry text NOT NULL CHECK (industry ~ '^[a-z_]+([.][a-z_]+)*$'),
  time_zone text NOT NULL,
  verification text NOT NULL CHECK (verification IN ('unverified', 'pending', 'verified', 'rejected')),
  standing text NOT NULL CHECK (standing IN ('active', 'warned', 'suspended', 'evicted')),
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL
);

CREATE TABLE store (
  id text PRIMARY KEY,
  merchant_id text NOT NULL REFERENCES merchant (id),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  state text NOT NULL CHECK (state IN ('open', 'closed')),
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL
);
CREATE INDEX store_list ON store (merchant_id, created_at, id);

CREATE TABLE isv (
  id text PRIMARY KEY,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  verification text NOT NULL CHECK (verification IN ('unverified', 'pending', 'verified', 'rejected')),
  tier text NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL
);

CREATE TABLE app (
  id text PRIMARY KEY,
  isv_id text REFERENCES isv (id),
  merchant_id text REFERENCES merchant (id),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  state text NOT NULL CHECK (state IN ('active', 'disabled')),
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  CHECK (num_nonnulls(isv_id, merchant_id) = 1)
);

CREATE TABLE app_client (
  id text PRIMARY KEY,
  app_id text NOT NULL REFERENCES app (id),
  merchant_id text REFERENCES merchant (id),
  mode text NOT NULL CHECK (mode IN ('test', 'live')),
  state text NOT NULL CHECK (state IN ('active', 'disabled')),
  api_version text NOT NULL CHECK (api_version ~ '^\\d{4}-\\d{2}-\\d{2}$'),
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  UNIQUE (app_id, mode)
);

CREATE TABLE app_secret (
  id text PRIMARY KEY,
  client_id text NOT NULL REFERENCES app_client (id),
  merchant_id text REFERENCES merchant (id),
  digest bytea NOT NULL CHECK (length(digest) = 32),
  hint text NOT NULL CHECK (length(hint) = 4),
  created_at timestamptz NOT NULL,
  expires_at timestamptz,
  last_used_at timestamptz
);
CREATE INDEX app_secret_client ON app_secret (client_id, created_at);

CREATE TABLE access_grant (
  id text PRIMARY KEY,
  app_id text NOT NULL REFERENCES app (id),
  merchant_id text NOT NULL REFERENCES merchant (id),
  kind text NOT NULL CHECK (kind IN ('merchant', 'owner', 'plugin', 'gateway')),
  state text NOT NULL CHECK (state IN ('active', 'revoked')),
  scopes text NOT NULL CHECK (scopes ~ '^[a-z_.:]+( [a-z_.:]+)*$'),
  stores text CHECK (stores ~ '^sto_[0-9a-z]{26}( sto_[0-9a-z]{26})*$'),
  version integer NOT NULL CHECK (version > 0),
  given_by text NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz,
  revoked_at timestamptz,
  revoked_by text,
  revoked_why text,
  CHECK ((state = 'revoked') = (revoked_at IS NOT NULL))
);
CREATE UNIQUE INDEX access_grant_active ON access_grant (app_id, merchant_id) WHERE state = 'active';
CREATE INDEX access_grant_merchant ON access_grant (merchant_id, created_at, id);

CREATE TABLE signing_key (
  id text PRIMARY KEY,
  generation integer NOT NULL UNIQUE CHECK (generation > 0),
  state text NOT NULL CHECK (state IN ('next', 'current', 'retired', 'revoked')),
  sealed bytea NOT NULL,
  public_jwk text NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  retired_at timestamptz,
  CHECK ((state IN ('retired', 'revoked')) = (retired_at IS NOT NULL))
);

CREATE TABLE revocation (
  position bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id text PRIMARY KEY,
  merchant_id text,
  kind text NOT NULL,
  subject_id text NOT NULL,
  created_at timestamptz NOT NULL,
  until timestamptz NOT NULL
);
CREATE INDEX revocation_subject ON revocation (subject_id, kind);
"""


def upgrade() -> None:
    """Create the tables; secrets and keys are for the authorization server's role alone."""
    run_script(TABLES)
    run_script(tenant_table_sql("merchant", tenant="id", auth=True))
    for table in ("store", "app", "app_client", "app_secret", "access_grant"):
        run_script(tenant_table_sql(table, auth=True))
    for table in ("isv", "signing_key", "revocation"):
        run_script(tenant_table_sql(table, tenant=None, auth=True))
    op.execute("REVOKE SELECT ON app_secret, signing_key FROM arsenal_app, arsenal_job")


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE revocation, signing_key, access_grant, app_secret, app_client, app, isv, store, merchant")
