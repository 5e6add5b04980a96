"""Plugins' own stores, problems, breakers and quarantined versions."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "plugin_host_0002"
down_revision = "plugin_host_0001"
branch_labels = None
depends_on = None

# Keys sort by their bytes, so that a prefix is a range of the primary key whatever the database's collation.
TABLES = """
CREATE TABLE plugin_state (
  merchant_id text NOT NULL,
  plugin_id text NOT NULL,
  key text COLLATE "C" NOT NULL CHECK (length(key) BETWEEN 1 AND 128),
  value text NOT NULL CHECK (octet_length(value) <= 16384),
  size integer NOT NULL CHECK (size > 0),
  version bigint NOT NULL CHECK (version > 0),
  expires_at timestamptz,
  PRIMARY KEY (merchant_id, plugin_id, key)
);
CREATE INDEX plugin_state_expiry ON plugin_state (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE plugin_state_use (
  merchant_id text NOT NULL,
  plugin_id text NOT NULL,
  bytes bigint NOT NULL CHECK (bytes >= 0),
  keys integer NOT NULL CHECK (keys >= 0),
  PRIMARY KEY (merchant_id, plugin_id)
);

CREATE TABLE plugin_problem (
  id text PRIMARY KEY,
  plugin_id text NOT NULL,
  plugin_version text NOT NULL,
  merchant_id text,
  hook text,
  kind text NOT NULL,
  severity text NOT NULL CHECK (severity IN ('notice', 'warning', 'critical')),
  key text NOT NULL CHECK (length(key) BETWEEN 1 AND 128),
  slot text UNIQUE,
  count bigint NOT NULL CHECK (count > 0),
  message jsonb NOT NULL,
  hint jsonb NOT NULL,
  docs text NOT NULL,
  call_id text,
  state text NOT NULL CHECK (state IN ('open', 'acknowledged', 'resolved')),
  version bigint NOT NULL,
  first_at timestamptz NOT NULL,
  last_at timestamptz NOT NULL CHECK (last_at >= first_at),
  CHECK (state <> 'resolved' OR slot IS NULL)
);
CREATE INDEX plugin_problem_plugin ON plugin_problem (plugin_id, last_at, id);
CREATE INDEX plugin_problem_merchant ON plugin_problem (merchant_id, plugin_id, last_at, id);
CREATE INDEX plugin_problem_unresolved ON plugin_problem (plugin_id, merchant_id) WHERE state <> 'resolved';
CREATE INDEX plugin_problem_age ON plugin_problem (last_at);

CREATE TABLE plugin_breaker (
  id text PRIMARY KEY,
  plugin_id text NOT NULL,
  hook text NOT NULL,
  plugin_version text NOT NULL,
  why text NOT NULL,
  opened_at timestamptz NOT NULL,
  open_until timestamptz NOT NULL,
  open_s integer NOT NULL CHECK (open_s BETWEEN 1 AND 900),
  version bigint NOT NULL
);
CREATE INDEX plugin_breaker_plugin ON plugin_breaker (plugin_id, open_until);

CREATE TABLE plugin_quarantine (
  id text PRIMARY KEY,
  plugin_id text NOT NULL,
  plugin_version text NOT NULL,
  slot text UNIQUE,
  fault text NOT NULL,
  detail text NOT NULL CHECK (length(detail) <= 300),
  merchant_id text,
  call_id text,
  began_at timestamptz NOT NULL,
  lift_asked_by text,
  lift_reason text CHECK (length(lift_reason) <= 2000),
  lifted_by text,
  lifted_at timestamptz,
  version bigint NOT NULL,
  CHECK ((lifted_by IS NULL) = (lifted_at IS NULL)),
  CHECK ((slot IS NULL) = (lifted_at IS NOT NULL)),
  CHECK (lifted_by IS NULL OR (lift_asked_by IS NOT NULL AND lifted_by <> lift_asked_by))
);
CREATE INDEX plugin_quarantine_plugin ON plugin_quarantine (plugin_id, began_at);
"""

# One statement for the hottest read: the tenant is set for it alone, and row-level security judges what it sees.
FUNCTIONS = """
CREATE FUNCTION plugin_state_read(merchant text, plugins text[], wanted text[])
RETURNS TABLE (of_plugin text, of_key text, value text, version bigint, expires_at timestamptz, bytes bigint, keys int)
LANGUAGE plpgsql AS $$ BEGIN
  PERFORM set_config('arsenal.merchant', merchant, true);
  RETURN QUERY SELECT v.plugin_id, v.key, s.value, s.version, s.expires_at, u.bytes, u.keys
    FROM unnest(plugins, wanted) AS v(plugin_id, key)
    LEFT JOIN plugin_state AS s ON s.merchant_id = merchant AND s.plugin_id = v.plugin_id AND s.key = v.key
    LEFT JOIN plugin_state_use AS u ON u.merchant_id = merchant AND u.plugin_id = v.plugin_id;
END $$;
REVOKE EXECUTE ON FUNCTION plugin_state_read FROM PUBLIC;
GRANT EXECUTE ON FUNCTION plugin_state_read TO arsenal_app;
"""

# The sweep of expired values and what it frees; problems that nobody has met for long.
JOB_RIGHTS = """
GRANT DELETE ON plugin_state, plugin_problem TO arsenal_job;
GRANT UPDATE ON plugin_state_use TO arsenal_job;
CREATE POLICY job_sweeps ON plugin_state FOR DELETE TO arsenal_job USING (true);
CREATE POLICY job_counts ON plugin_state_use FOR UPDATE TO arsenal_job USING (true);
CREATE POLICY job_purges ON plugin_problem FOR DELETE TO arsenal_job USING (true);
"""


def upgrade() -> None:
    """Create the tables."""
    run_script(TABLES)
    run_script(tenant_table_sql("plugin_state", removable=True))
    run_script(tenant_table_sql("plugin_state_use", removable=True))
    run_script(tenant_table_sql("plugin_problem"))
    run_script(tenant_table_sql("plugin_breaker", tenant=None))
    run_script(tenant_table_sql("plugin_quarantine", tenant=None))
    run_script(FUNCTIONS)
    run_script(JOB_RIGHTS)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP FUNCTION plugin_state_read")
    op.execute("DROP TABLE plugin_quarantine, plugin_breaker, plugin_problem, plugin_state_use, plugin_state")
