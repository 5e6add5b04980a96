"""Numbers as the Alipay protocol writes them, the requests that came, and faults to play."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "alipay_0001"
down_revision = None
branch_labels = ("alipay",)
depends_on = None

TABLES = """
CREATE TABLE sim_alipay_id (
  id text PRIMARY KEY CHECK (id ~ '^[0-9]{16}$' OR id ~ '^[0-9]{28}$'),
  kind text NOT NULL CHECK (kind IN ('app', 'seller', 'buyer', 'trade', 'freeze', 'operation')),
  native_id text,
  merchant_id text,
  out_no text,
  facts jsonb NOT NULL,
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  UNIQUE (kind, native_id),
  UNIQUE (merchant_id, kind, out_no)
);
CREATE INDEX sim_alipay_id_code ON sim_alipay_id (merchant_id, (facts->>'code')) WHERE facts->>'code' IS NOT NULL;

CREATE TABLE sim_alipay_request (
  id text PRIMARY KEY,
  app_id text NOT NULL,
  method text NOT NULL,
  pairs jsonb NOT NULL,
  code text NOT NULL,
  sub_code text,
  answer text NOT NULL,
  unused jsonb NOT NULL,
  doctor jsonb,
  received_at timestamptz NOT NULL
);
CREATE INDEX sim_alipay_request_app ON sim_alipay_request (app_id, received_at, id);

CREATE TABLE sim_alipay_fault (
  id text PRIMARY KEY,
  app_id text NOT NULL,
  method text NOT NULL,
  match jsonb NOT NULL,
  effect text NOT NULL,
  argument text NOT NULL,
  times_left integer NOT NULL CHECK (times_left >= 0),
  used integer NOT NULL CHECK (used >= 0),
  version bigint NOT NULL,
  created_at timestamptz NOT NULL
);
CREATE INDEX sim_alipay_fault_open ON sim_alipay_fault (app_id, created_at, id) WHERE times_left > 0;
"""


def upgrade() -> None:
    """Create the tables. Who asks is known only after looking: apps and requests are read in the role of `auth`."""
    run_script(TABLES)
    run_script(tenant_table_sql("sim_alipay_id", auth=True))
    run_script(tenant_table_sql("sim_alipay_request", tenant=None, auth=True, removable=True))
    run_script(tenant_table_sql("sim_alipay_fault", tenant=None, auth=True, removable=True))


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE sim_alipay_fault, sim_alipay_request, sim_alipay_id")
