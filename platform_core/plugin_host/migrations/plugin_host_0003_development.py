"""Developing against a platform: drafts at one merchant, and calls that somebody watches."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "plugin_host_0003"
down_revision = "plugin_host_0002"
branch_labels = None
depends_on = None

# `before` is what comes back when the session ends: columns of the installation, and the grant.
TABLES = """
CREATE TABLE plugin_dev_session (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  plugin_id text NOT NULL,
  installation_id text NOT NULL,
  before jsonb NOT NULL CHECK (jsonb_typeof(before) = 'object'),
  began_by text NOT NULL,
  began_at timestamptz NOT NULL,
  alive_until timestamptz NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  UNIQUE (merchant_id, plugin_id)
);

CREATE TABLE plugin_trace (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  plugin_id text,
  hook text,
  began_by text NOT NULL,
  began_at timestamptz NOT NULL,
  until timestamptz NOT NULL,
  version bigint NOT NULL CHECK (version > 0)
);
CREATE INDEX plugin_trace_until ON plugin_trace (until);

CREATE TABLE plugin_traced (
  id text PRIMARY KEY,
  position bigint GENERATED ALWAYS AS IDENTITY,
  merchant_id text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('here', 'ready', 'heard', 'call')),
  process text NOT NULL CHECK (length(process) <= 100),
  is_development boolean NOT NULL,
  seen_at timestamptz NOT NULL,
  plugin_id text NOT NULL,
  plugin_version text NOT NULL,
  tier text NOT NULL,
  hook text NOT NULL,
  call_id text NOT NULL,
  object_id text NOT NULL,
  store_id text,
  idempotency_key text NOT NULL,
  installation_id text NOT NULL,
  config_revision integer NOT NULL CHECK (config_revision >= 0),
  fields text NOT NULL,
  withheld text NOT NULL,
  payload text CHECK (octet_length(payload) <= 65536),
  outcome text NOT NULL,
  detail text NOT NULL CHECK (length(detail) <= 1000),
  answer text CHECK (octet_length(answer) <= 65536),
  result text NOT NULL CHECK (length(result) <= 1000),
  took_us bigint NOT NULL CHECK (took_us >= 0),
  deadline_ms integer NOT NULL CHECK (deadline_ms >= 0),
  is_used boolean NOT NULL
);
CREATE INDEX plugin_traced_order ON plugin_traced (merchant_id, position);
CREATE INDEX plugin_traced_call ON plugin_traced (call_id) WHERE call_id <> '';
CREATE INDEX plugin_traced_age ON plugin_traced (seen_at);
"""

# A draft is seen by the merchant where it runs, and can be taken away; what was ever submitted stays for good.
DRAFTS = """
CREATE POLICY app_reads_own_draft ON plugin_release FOR SELECT TO arsenal_app USING (
  state = 'draft' AND EXISTS (SELECT FROM plugin_installation AS i WHERE i.release_id = plugin_release.id));
GRANT DELETE ON plugin_release TO arsenal_writer;
CREATE POLICY writer_takes_drafts_away ON plugin_release AS RESTRICTIVE FOR DELETE TO arsenal_writer
  USING (state = 'draft');
"""
PURGE = """
GRANT DELETE ON plugin_traced, plugin_trace TO arsenal_job;
CREATE POLICY job_purges ON plugin_traced FOR DELETE TO arsenal_job USING (true);
CREATE POLICY job_purges ON plugin_trace FOR DELETE TO arsenal_job USING (true);
"""


def upgrade() -> None:
    """Create the tables; let drafts be seen and taken away."""
    run_script(TABLES)
    run_script(tenant_table_sql("plugin_dev_session", removable=True))
    run_script(tenant_table_sql("plugin_trace"))
    run_script(tenant_table_sql("plugin_traced"))
    run_script(DRAFTS)
    run_script(PURGE)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP POLICY writer_takes_drafts_away ON plugin_release")
    op.execute("REVOKE DELETE ON plugin_release FROM arsenal_writer")
    op.execute("DROP POLICY app_reads_own_draft ON plugin_release")
    op.execute("DROP TABLE plugin_traced, plugin_trace, plugin_dev_session")
