"""Keys, authorisations, notices and inboxes of the gateway."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "alipay_0002"
down_revision = "alipay_0001"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE sim_alipay_key (
  id text PRIMARY KEY,
  role text NOT NULL CHECK (role IN ('app', 'platform', 'root', 'issuer')),
  app_id text NOT NULL,
  generation integer NOT NULL CHECK (generation >= 1),
  public_key text NOT NULL,
  sealed bytea,
  certificate text,
  certificate_sn text,
  created_at timestamptz NOT NULL,
  UNIQUE (role, app_id, generation),
  CHECK ((role = 'app') = (sealed IS NULL)),
  CHECK ((certificate IS NULL) = (certificate_sn IS NULL))
);

CREATE TABLE sim_alipay_app_setting (
  id text PRIMARY KEY CHECK (id ~ '^[0-9]{16}$'),
  gateway_url text,
  inbox_answer text NOT NULL CHECK (inbox_answer IN ('success', 'fail', 'json', 'error', 'hang')),
  version bigint NOT NULL
);

CREATE TABLE sim_alipay_auth_code (
  id text PRIMARY KEY,
  merchant_id text,
  kind text NOT NULL CHECK (kind IN ('merchant', 'customer')),
  app_id text NOT NULL,
  grant_id text,
  user_id text NOT NULL,
  scopes text NOT NULL,
  digest bytea NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  CHECK ((kind = 'merchant') = (grant_id IS NOT NULL))
);

CREATE TABLE sim_alipay_auth_token (
  id text PRIMARY KEY,
  merchant_id text,
  kind text NOT NULL CHECK (kind IN ('merchant', 'customer')),
  source text NOT NULL UNIQUE,
  app_id text NOT NULL,
  grant_id text,
  user_id text NOT NULL,
  scopes text NOT NULL,
  access_digest bytea NOT NULL,
  refresh_digest bytea NOT NULL,
  state text NOT NULL CHECK (state IN ('active', 'replaced')),
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  refresh_expires_at timestamptz NOT NULL,
  CHECK ((kind = 'merchant') = (grant_id IS NOT NULL))
);
CREATE INDEX sim_alipay_auth_token_grant ON sim_alipay_auth_token (grant_id) WHERE state = 'active';

CREATE TABLE sim_alipay_notice (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  app_id text NOT NULL,
  event_id text NOT NULL,
  sequence bigint NOT NULL,
  address text NOT NULL,
  sign_type text NOT NULL CHECK (sign_type IN ('RSA', 'RSA2')),
  fields jsonb NOT NULL,
  state text NOT NULL CHECK (state IN ('pending', 'accepted', 'dead')),
  tries integer NOT NULL CHECK (tries >= 0),
  attempts jsonb NOT NULL,
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  due_at timestamptz,
  ended_at timestamptz,
  UNIQUE (event_id, address),
  CHECK ((state = 'pending') = (due_at IS NOT NULL)),
  CHECK ((state = 'pending') = (ended_at IS NULL))
);
CREATE INDEX sim_alipay_notice_app ON sim_alipay_notice (app_id, created_at, id);

CREATE TABLE sim_alipay_inbox_message (
  id text PRIMARY KEY,
  app_number text NOT NULL,
  path text NOT NULL,
  headers jsonb NOT NULL,
  body bytea NOT NULL CHECK (octet_length(body) <= 262144),
  is_verified boolean NOT NULL,
  finding jsonb,
  answer text NOT NULL,
  received_at timestamptz NOT NULL
);
CREATE INDEX sim_alipay_inbox_message_app ON sim_alipay_inbox_message (app_number, received_at, id);
"""

TABLE_NAMES = (
    "sim_alipay_key",
    "sim_alipay_app_setting",
    "sim_alipay_auth_code",
    "sim_alipay_auth_token",
    "sim_alipay_notice",
    "sim_alipay_inbox_message",
)
TENANTS = ("sim_alipay_auth_code", "sim_alipay_auth_token", "sim_alipay_notice")


def upgrade() -> None:
    """Create the tables. Whose a key or token is shows only after looking: they are read in the role of `auth`."""
    run_script(TABLES)
    for table in TABLE_NAMES:
        tenant = "merchant_id" if table in TENANTS else None
        removable = table == "sim_alipay_inbox_message"
        run_script(tenant_table_sql(table, tenant=tenant, auth=True, removable=removable))


def downgrade() -> None:
    """Drop them."""
    op.execute(f"DROP TABLE {', '.join(reversed(TABLE_NAMES))}")
