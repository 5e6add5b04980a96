"""Releases, installations, configuration, secrets, suspension and deliveries of plugins."""

from alembic import op

from platform_core.kernel.database.tenancy import TENANT, run_script, tenant_table_sql

revision = "plugin_host_0001"
down_revision = None
branch_labels = ("plugin_host",)
depends_on = None

RELEASES = """
CREATE TABLE plugin (
  id text PRIMARY KEY,
  app_id text NOT NULL UNIQUE,
  isv_id text NOT NULL,
  position integer NOT NULL,
  row_version bigint NOT NULL CHECK (row_version > 0),
  created_at timestamptz NOT NULL
);

CREATE TABLE plugin_release (
  id text PRIMARY KEY,
  plugin_id text NOT NULL REFERENCES plugin (id),
  app_id text NOT NULL,
  isv_id text NOT NULL,
  version text NOT NULL,
  state text NOT NULL CHECK (state IN ('draft', 'checked', 'submitted', 'in_review', 'changes_asked', 'rejected',
    'approved', 'published', 'suspended', 'retired')),
  manifest jsonb NOT NULL,
  config_schema jsonb,
  hooks text NOT NULL,
  tree_hash text NOT NULL CHECK (tree_hash ~ '^([0-9a-f]{64})?$'),
  bundle_hash text NOT NULL CHECK (bundle_hash ~ '^([0-9a-f]{64})?$'),
  is_from_host boolean NOT NULL,
  change_log text NOT NULL CHECK (length(change_log) <= 4000),
  test_account text NOT NULL CHECK (length(test_account) <= 2000),
  checks jsonb NOT NULL,
  difference jsonb NOT NULL,
  round integer NOT NULL CHECK (round > 0),
  reviews_needed integer NOT NULL CHECK (reviews_needed BETWEEN 0 AND 2),
  row_version bigint NOT NULL CHECK (row_version > 0),
  created_at timestamptz NOT NULL,
  published_at timestamptz,
  retires_at timestamptz,
  UNIQUE (plugin_id, version)
);
CREATE INDEX plugin_release_isv ON plugin_release (isv_id, created_at, id);
CREATE INDEX plugin_release_open ON plugin_release (created_at, id) WHERE state IN ('submitted', 'in_review');

CREATE TABLE plugin_review (
  id text PRIMARY KEY,
  release_id text NOT NULL REFERENCES plugin_release (id),
  app_id text NOT NULL,
  round integer NOT NULL,
  reviewer text NOT NULL,
  decision text NOT NULL CHECK (decision IN ('approve', 'ask', 'reject')),
  rules text NOT NULL,
  note text NOT NULL CHECK (length(note) BETWEEN 1 AND 2000),
  created_at timestamptz NOT NULL,
  UNIQUE (release_id, round, reviewer)
);

CREATE TABLE plugin_rollout (
  id text PRIMARY KEY,
  plugin_id text NOT NULL REFERENCES plugin (id),
  app_id text NOT NULL,
  release_id text NOT NULL REFERENCES plugin_release (id),
  version text NOT NULL,
  state text NOT NULL CHECK (state IN ('running', 'done', 'halted', 'rolled_back')),
  percent integer NOT NULL CHECK (percent BETWEEN 0 AND 100),
  stage_since timestamptz NOT NULL,
  reason text,
  row_version bigint NOT NULL CHECK (row_version > 0),
  created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX plugin_rollout_running ON plugin_rollout (plugin_id) WHERE state = 'running';
"""

INSTALLATIONS = """
CREATE TABLE plugin_installation (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  plugin_id text NOT NULL REFERENCES plugin (id),
  app_id text NOT NULL,
  release_id text NOT NULL REFERENCES plugin_release (id),
  version text NOT NULL,
  before_release_id text REFERENCES plugin_release (id),
  skipped_release_id text,
  rollout_id text,
  state text NOT NULL CHECK (state IN ('consented', 'enabled', 'disabled', 'removed')),
  config_revision integer NOT NULL CHECK (config_revision >= 0),
  is_dry_run boolean NOT NULL,
  last_change text NOT NULL,
  from_version text,
  row_version bigint NOT NULL CHECK (row_version > 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  UNIQUE (merchant_id, plugin_id)
);
CREATE INDEX plugin_installation_release ON plugin_installation (release_id, id) WHERE state <> 'removed';
CREATE INDEX plugin_installation_page ON plugin_installation (merchant_id, created_at, id);
CREATE INDEX plugin_installation_removed ON plugin_installation (updated_at) WHERE state = 'removed';

CREATE TABLE plugin_configuration (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  installation_id text NOT NULL REFERENCES plugin_installation (id),
  revision integer NOT NULL CHECK (revision > 0),
  value jsonb NOT NULL CHECK (jsonb_typeof(value) = 'object'),
  changed_by text NOT NULL,
  changed_at timestamptz NOT NULL,
  UNIQUE (installation_id, revision)
);

-- `boxes` are sealed by identity's vault, base64, the newest first; a second one verifies until `retires_at`.
CREATE TABLE plugin_secret (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  plugin_id text NOT NULL REFERENCES plugin (id),
  name text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('token', 'mac_key', 'signing_key', 'aead_key', 'public_key')),
  boxes jsonb NOT NULL CHECK (jsonb_typeof(boxes) = 'array'),
  retires_at timestamptz,
  used_at timestamptz,
  row_version bigint NOT NULL CHECK (row_version > 0),
  created_at timestamptz NOT NULL,
  rotated_at timestamptz NOT NULL,
  UNIQUE (merchant_id, plugin_id, name)
);

CREATE TABLE plugin_policy (
  id text PRIMARY KEY,
  check_deny_above jsonb NOT NULL CHECK (jsonb_typeof(check_deny_above) = 'object'),
  amend_discount_max_bp integer NOT NULL CHECK (amend_discount_max_bp BETWEEN 0 AND 10000),
  row_version bigint NOT NULL CHECK (row_version > 0),
  updated_at timestamptz NOT NULL
);

CREATE TABLE plugin_switch (
  id text PRIMARY KEY,
  plugin_id text NOT NULL REFERENCES plugin (id),
  version text,
  merchant_id text,
  mode text NOT NULL CHECK (mode IN ('stop', 'drain')),
  state text NOT NULL CHECK (state IN ('pulled', 'lifted')),
  rule text NOT NULL CHECK (length(rule) BETWEEN 1 AND 80),
  reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
  pulled_by text NOT NULL,
  pulled_at timestamptz NOT NULL,
  lift_proposed_by text,
  lift_reason text,
  lifted_by text,
  lifted_at timestamptz,
  row_version bigint NOT NULL CHECK (row_version > 0),
  CHECK ((state = 'lifted') = (lifted_at IS NOT NULL)),
  CHECK (lifted_by IS NULL OR lifted_by <> lift_proposed_by)
);
CREATE INDEX plugin_switch_pulled ON plugin_switch (plugin_id) WHERE state = 'pulled';
CREATE INDEX plugin_switch_page ON plugin_switch (pulled_at, id);
"""

DELIVERIES = """
CREATE TABLE plugin_delivery (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  installation_id text NOT NULL REFERENCES plugin_installation (id),
  plugin_id text NOT NULL,
  event_id text NOT NULL,
  event_type text NOT NULL,
  hook text NOT NULL,
  object_id text NOT NULL,
  sequence bigint NOT NULL,
  state text NOT NULL CHECK (state IN ('pending', 'done', 'dead', 'dropped')),
  tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
  due_at timestamptz NOT NULL,
  wake_at timestamptz NOT NULL,
  leased_until timestamptz,
  version bigint NOT NULL DEFAULT 1,
  told_version text,
  last_fault text,
  traceparent text,
  created_at timestamptz NOT NULL,
  finished_at timestamptz,
  UNIQUE (event_id, installation_id),
  CHECK ((state = 'pending') = (finished_at IS NULL))
);
CREATE INDEX plugin_delivery_wake ON plugin_delivery (wake_at) WHERE state = 'pending';
CREATE INDEX plugin_delivery_order ON plugin_delivery (installation_id, object_id, sequence) WHERE state = 'pending';
CREATE INDEX plugin_delivery_leased ON plugin_delivery (plugin_id) WHERE state = 'pending' AND leased_until IS NOT NULL;
CREATE INDEX plugin_delivery_page ON plugin_delivery (merchant_id, created_at, id);
CREATE INDEX plugin_delivery_dead ON plugin_delivery (finished_at) WHERE state = 'dead';
CREATE INDEX plugin_delivery_finished ON plugin_delivery (finished_at) WHERE finished_at IS NOT NULL;
"""

# What merchants may see of releases; drafts are their publisher's alone, who reads with the role of parties.
IS_PUBLIC = "state IN ('published', 'suspended', 'retired')"
CONCERNS_TENANT = f"merchant_id IS NULL OR merchant_id = {TENANT}"

# The work queue's own statements, as for webhooks: fan-out, waking, claiming, purging. Outcomes are plans.
JOB_RIGHTS = """
GRANT INSERT, DELETE ON plugin_delivery TO arsenal_job;
GRANT UPDATE (wake_at, leased_until, version) ON plugin_delivery TO arsenal_job;
CREATE POLICY job_fans_out ON plugin_delivery FOR INSERT TO arsenal_job WITH CHECK (state = 'pending' AND tries = 0);
CREATE POLICY job_leases ON plugin_delivery FOR UPDATE TO arsenal_job USING (true);
CREATE POLICY job_purges ON plugin_delivery FOR DELETE TO arsenal_job USING (finished_at IS NOT NULL);
"""


def upgrade() -> None:
    """Create the tables, and give the relay its narrow rights."""
    run_script(RELEASES)
    run_script(INSTALLATIONS)
    run_script(DELIVERIES)
    run_script(tenant_table_sql("plugin", tenant=None, app="true", auth=True))
    run_script(tenant_table_sql("plugin_release", tenant=None, app=IS_PUBLIC, auth=True))
    run_script(tenant_table_sql("plugin_review", tenant=None, auth=True))
    run_script(tenant_table_sql("plugin_rollout", tenant=None, auth=True))
    for table in ("plugin_installation", "plugin_configuration", "plugin_delivery"):
        run_script(tenant_table_sql(table))
    run_script(tenant_table_sql("plugin_secret", removable=True))
    run_script(tenant_table_sql("plugin_policy", tenant="id"))
    run_script(tenant_table_sql("plugin_switch", tenant=None, app=CONCERNS_TENANT, auth=True))
    run_script(JOB_RIGHTS)


def downgrade() -> None:
    """Drop the tables."""
    op.execute(
        "DROP TABLE plugin_delivery, plugin_switch, plugin_policy, plugin_secret, plugin_configuration, "
        "plugin_installation, plugin_rollout, plugin_review, plugin_release, plugin"
    )
