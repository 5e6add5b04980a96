"""What the authorization server keeps: profiles of clients, pushed requests, codes, token families, refresh tokens."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "identity_0004"
down_revision = "identity_0003"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE app_client
  ADD COLUMN profile text NOT NULL DEFAULT 'confidential' CHECK (profile IN ('confidential', 'public', 'money')),
  ADD COLUMN redirect_uris text NOT NULL DEFAULT '' CHECK (length(redirect_uris) <= 12000),
  ADD COLUMN grant_types text NOT NULL DEFAULT 'client_credentials',
  ADD COLUMN requires_par boolean NOT NULL DEFAULT false,
  ADD COLUMN may_introspect_any boolean NOT NULL DEFAULT false;

CREATE TABLE oauth_pushed_request (
  id text PRIMARY KEY,
  merchant_id text REFERENCES merchant (id),
  client_id text NOT NULL REFERENCES app_client (id),
  digest bytea NOT NULL CHECK (length(digest) = 32),
  parameters text NOT NULL CHECK (length(parameters) <= 65536),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX oauth_pushed_request_age ON oauth_pushed_request (expires_at);

CREATE TABLE oauth_code (
  id text PRIMARY KEY,
  merchant_id text NOT NULL REFERENCES merchant (id),
  client_id text NOT NULL REFERENCES app_client (id),
  digest bytea NOT NULL CHECK (length(digest) = 32),
  family_id text NOT NULL UNIQUE,
  grant_id text NOT NULL REFERENCES access_grant (id),
  person_id text NOT NULL,
  redirect_uri text NOT NULL,
  code_challenge text NOT NULL CHECK (length(code_challenge) = 43),
  scopes text NOT NULL,
  details text NOT NULL,
  resource text NOT NULL,
  nonce text,
  dpop_jkt text,
  acr text,
  auth_time bigint,
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at timestamptz
);
CREATE INDEX oauth_code_age ON oauth_code (expires_at);

CREATE TABLE oauth_token_family (
  id text PRIMARY KEY,
  merchant_id text NOT NULL REFERENCES merchant (id),
  client_id text NOT NULL REFERENCES app_client (id),
  grant_id text NOT NULL REFERENCES access_grant (id),
  person_id text NOT NULL,
  scopes text NOT NULL,
  details text NOT NULL,
  resource text NOT NULL,
  nonce text,
  dpop_jkt text,
  acr text,
  auth_time bigint,
  state text NOT NULL CHECK (state IN ('active', 'revoked')),
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz,
  revoked_why text,
  CHECK ((state = 'revoked') = (revoked_at IS NOT NULL))
);
CREATE INDEX oauth_token_family_age ON oauth_token_family (expires_at);
CREATE INDEX oauth_token_family_grant ON oauth_token_family (grant_id) WHERE state = 'active';

CREATE TABLE oauth_refresh_token (
  id text PRIMARY KEY,
  merchant_id text NOT NULL REFERENCES merchant (id),
  family_id text NOT NULL REFERENCES oauth_token_family (id) ON DELETE CASCADE,
  digest bytea NOT NULL CHECK (length(digest) = 32),
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at timestamptz,
  successor_id text,
  CHECK ((used_at IS NULL) = (successor_id IS NULL))
);
CREATE INDEX oauth_refresh_token_family ON oauth_refresh_token (family_id);

CREATE TABLE oauth_used_once (
  id text PRIMARY KEY,
  merchant_id text,
  until timestamptz NOT NULL
);
CREATE INDEX oauth_used_once_age ON oauth_used_once (until);
"""
NAMES = ("oauth_pushed_request", "oauth_code", "oauth_token_family", "oauth_refresh_token", "oauth_used_once")


def upgrade() -> None:
    """Create the tables; they are for the authorization server's role alone, and workers may sweep them."""
    run_script(TABLES)
    for table in NAMES:
        run_script(tenant_table_sql(table, auth=True))
        op.execute(f"REVOKE SELECT ON {table} FROM arsenal_app")
        op.execute(f"GRANT DELETE ON {table} TO arsenal_job")
        op.execute(f"CREATE POLICY job_purges ON {table} FOR DELETE TO arsenal_job USING (true)")


def downgrade() -> None:
    """Drop them."""
    op.execute(f"DROP TABLE {', '.join(reversed(NAMES))}")
    op.execute(
        "ALTER TABLE app_client DROP COLUMN profile, DROP COLUMN redirect_uris, DROP COLUMN grant_types, "
        "DROP COLUMN requires_par, DROP COLUMN may_introspect_any"
    )
