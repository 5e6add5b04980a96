"""Server processes that share the rates, long-running operations, and the request log of each app."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "identity_0002"
down_revision = "identity_0001"
branch_labels = None
depends_on = None

TABLES = """
-- A row for each process that answers requests: how many parts a rate is divided into. Nothing is lost with it.
CREATE UNLOGGED TABLE server_process (
  id text PRIMARY KEY,
  seen_at timestamptz NOT NULL
);

CREATE TABLE operation (
  id text PRIMARY KEY,
  app_id text NOT NULL,
  client_id text NOT NULL,
  merchant_id text,
  kind text NOT NULL CHECK (length(kind) <= 64),
  state text NOT NULL CHECK (state IN ('pending', 'running', 'done', 'failed', 'canceled')),
  task jsonb NOT NULL,
  done integer NOT NULL CHECK (done >= 0),
  total integer CHECK (total >= 0),
  result jsonb,
  error jsonb,
  traceparent text,
  version bigint NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CHECK ((state = 'done') = (result IS NOT NULL)),
  CHECK ((state = 'failed') = (error IS NOT NULL))
);
CREATE INDEX operation_list ON operation (client_id, created_at, id);

CREATE TABLE request_log (
  id text PRIMARY KEY,
  app_id text NOT NULL,
  client_id text NOT NULL,
  merchant_id text,
  method text NOT NULL,
  operation text,
  path text NOT NULL,
  status integer NOT NULL,
  code text,
  api_version text NOT NULL,
  idempotency_key text,
  client_request_id text,
  elapsed_us bigint NOT NULL,
  request_body text,
  answer_body text,
  created_at timestamptz NOT NULL
);
CREATE INDEX request_log_list ON request_log (client_id, created_at, id);
CREATE INDEX request_log_age ON request_log (created_at);
"""

OWN_APP = "app_id = nullif(current_setting('arsenal.app', true), '')"

# The log is telemetry: it may lose rows, and no commit waits for it. So the workers' role copies it in.
JOB_RIGHTS = """
GRANT INSERT, DELETE ON request_log TO arsenal_job;
CREATE POLICY job_logs ON request_log FOR INSERT TO arsenal_job WITH CHECK (true);
CREATE POLICY job_purges ON request_log FOR DELETE TO arsenal_job USING (true);
"""


def upgrade() -> None:
    """Create the tables."""
    run_script(TABLES)
    run_script(tenant_table_sql("server_process", tenant=None, removable=True))
    run_script(tenant_table_sql("operation", app=OWN_APP))
    run_script(tenant_table_sql("request_log", app=OWN_APP))
    run_script(JOB_RIGHTS)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE request_log, operation, server_process")
