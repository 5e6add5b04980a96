"""Webhook endpoints, messages, deliveries, attempts; the work of in-house consumers; what the relay may write."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "delivery_0001"
down_revision = None
branch_labels = ("delivery",)
depends_on = None

TABLES = """
CREATE TABLE webhook_endpoint (
  id text PRIMARY KEY,
  app_id text NOT NULL,
  mode text NOT NULL CHECK (mode IN ('live', 'test')),
  url text NOT NULL CHECK (length(url) <= 2048),
  description text NOT NULL CHECK (length(description) <= 256),
  event_types jsonb NOT NULL CHECK (jsonb_typeof(event_types) = 'array'),
  api_version text NOT NULL,
  state text NOT NULL CHECK (state IN ('enabled', 'disabled', 'removed')),
  disabled_reason text CHECK (disabled_reason IN ('requested', 'gone', 'failing')),
  secret_sealed bytea NOT NULL,
  secret_before_sealed bytea,
  secret_before_until timestamptz,
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CHECK ((state = 'enabled') = (disabled_reason IS NULL)),
  CHECK ((secret_before_sealed IS NULL) = (secret_before_until IS NULL))
);
CREATE INDEX webhook_endpoint_app ON webhook_endpoint (app_id, created_at, id) WHERE state <> 'removed';

-- Apart from the endpoint's own row, so that attempts do not change what its owner reads and edits under an ETag.
CREATE TABLE webhook_endpoint_health (
  id text PRIMARY KEY REFERENCES webhook_endpoint (id),
  app_id text NOT NULL,
  concurrency integer NOT NULL CHECK (concurrency BETWEEN 1 AND 16),
  paused_until timestamptz,
  failing_since timestamptz,
  warned_at timestamptz,
  last_success_at timestamptz
);

-- What is sent, byte for byte, at every attempt; one row for each event and version of the interface.
CREATE TABLE webhook_message (
  id text PRIMARY KEY,
  event_id text NOT NULL,
  body bytea NOT NULL
);

CREATE TABLE webhook_delivery (
  id text PRIMARY KEY,
  event_id text NOT NULL,
  endpoint_id text NOT NULL REFERENCES webhook_endpoint (id),
  message_id text NOT NULL REFERENCES webhook_message (id),
  app_id text NOT NULL,
  merchant_id text NOT NULL,
  event_type text NOT NULL,
  object_id text NOT NULL,
  sequence bigint NOT NULL,
  state text NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
  tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
  attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  due_at timestamptz NOT NULL,
  wake_at timestamptz NOT NULL,
  leased_until timestamptz,
  version bigint NOT NULL DEFAULT 1,
  last_status integer,
  last_error text,
  traceparent text,
  created_at timestamptz NOT NULL,
  finished_at timestamptz,
  UNIQUE (event_id, endpoint_id),
  CHECK ((state = 'pending') = (finished_at IS NULL))
);
-- The dispatcher's index: the endpoints that have work, and of each the rows to wake.
CREATE INDEX webhook_delivery_wake ON webhook_delivery (endpoint_id, wake_at) WHERE state = 'pending';
CREATE INDEX webhook_delivery_app ON webhook_delivery (app_id, created_at, id);
CREATE INDEX webhook_delivery_due ON webhook_delivery (due_at) WHERE state = 'pending';
CREATE INDEX webhook_delivery_dead ON webhook_delivery (finished_at) WHERE state = 'dead';

CREATE TABLE webhook_attempt (
  id text PRIMARY KEY,
  delivery_id text NOT NULL REFERENCES webhook_delivery (id),
  app_id text NOT NULL,
  number integer NOT NULL,
  started_at timestamptz NOT NULL,
  status integer,
  error text,
  excerpt text NOT NULL,
  elapsed_ms integer NOT NULL,
  UNIQUE (delivery_id, number)
);

-- A merchant's events in the order of their ids, which is that of time: for the list, and for sending a range again.
CREATE INDEX outbox_merchant ON outbox (merchant_id, id);

CREATE TABLE event_handling (
  id text PRIMARY KEY,
  event_id text NOT NULL,
  consumer text NOT NULL,
  merchant_id text,
  state text NOT NULL CHECK (state IN ('pending', 'dead')),
  tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
  due_at timestamptz NOT NULL,
  wake_at timestamptz NOT NULL,
  leased_until timestamptz,
  version bigint NOT NULL DEFAULT 1,
  last_error text,
  created_at timestamptz NOT NULL,
  UNIQUE (event_id, consumer)
);
CREATE INDEX event_handling_wake ON event_handling (consumer, wake_at) WHERE state = 'pending';
CREATE INDEX event_handling_due ON event_handling (due_at) WHERE state = 'pending';
CREATE INDEX event_handling_dead ON event_handling (created_at) WHERE state = 'dead';
"""

OWN_APP = "app_id = nullif(current_setting('arsenal.app', true), '')"

# The work queue's own statements, the counterpart of the lease on `due`: fan-out, waking and claiming. Outcomes are
# plans.
JOB_RIGHTS = """
GRANT INSERT ON webhook_message, webhook_delivery, event_handling TO arsenal_job;
GRANT UPDATE (wake_at, leased_until, version) ON webhook_delivery TO arsenal_job;
GRANT UPDATE (wake_at, leased_until, version) ON event_handling TO arsenal_job;
GRANT UPDATE (concurrency) ON webhook_endpoint_health TO arsenal_job;
CREATE POLICY job_fans_out ON webhook_message FOR INSERT TO arsenal_job WITH CHECK (true);
CREATE POLICY job_fans_out ON webhook_delivery FOR INSERT TO arsenal_job
  WITH CHECK (state = 'pending' AND attempts = 0);
CREATE POLICY job_fans_out ON event_handling FOR INSERT TO arsenal_job WITH CHECK (state = 'pending' AND tries = 0);
CREATE POLICY job_leases ON webhook_delivery FOR UPDATE TO arsenal_job USING (true);
CREATE POLICY job_leases ON event_handling FOR UPDATE TO arsenal_job USING (true);
CREATE POLICY job_locks ON webhook_endpoint_health FOR UPDATE TO arsenal_job USING (true);
"""


def upgrade() -> None:
    """Create the tables, and give the relay its narrow rights."""
    run_script(TABLES)
    for table in ("webhook_endpoint", "webhook_endpoint_health", "webhook_delivery", "webhook_attempt"):
        run_script(tenant_table_sql(table, tenant=None, app=OWN_APP))
    run_script(tenant_table_sql("webhook_message", tenant=None))
    run_script(tenant_table_sql("event_handling", removable=True))
    run_script(JOB_RIGHTS)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP INDEX outbox_merchant")
    op.execute(
        "DROP TABLE event_handling, webhook_attempt, webhook_delivery, webhook_message, webhook_endpoint_health, "
        "webhook_endpoint"
    )
