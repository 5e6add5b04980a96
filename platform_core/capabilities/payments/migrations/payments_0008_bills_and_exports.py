"""Daily bills, which never change once they are published, and exports, which are kept for a week."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "payments_0008"
down_revision = "payments_0005"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE pay_bill (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  day date NOT NULL,
  time_zone text NOT NULL,
  since timestamptz NOT NULL,
  until timestamptz NOT NULL,
  state text NOT NULL CHECK (state IN ('making', 'published')),
  run integer NOT NULL CHECK (run >= 1),
  rows integer NOT NULL CHECK (rows >= 0),
  progress jsonb,
  problem text,
  figures jsonb,
  detail_bytes bigint,
  detail_packed_bytes bigint,
  detail_crc32 bigint,
  detail_sha256 text CHECK (detail_sha256 ~ '^[0-9a-f]{64}$'),
  summary bytea,
  manifest bytea,
  archive_bytes bigint,
  archive_sha256 text CHECK (archive_sha256 ~ '^[0-9a-f]{64}$'),
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  published_at timestamptz,
  UNIQUE (merchant_id, day),
  CHECK (since < until),
  CHECK (num_nulls(figures, detail_bytes, detail_packed_bytes, detail_crc32, detail_sha256, summary, manifest,
    archive_bytes, archive_sha256, published_at) = CASE state WHEN 'published' THEN 0 ELSE 10 END)
);

CREATE TABLE pay_bill_part (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  bill_id text NOT NULL,
  run integer NOT NULL,
  number integer NOT NULL CHECK (number >= 0),
  content bytea NOT NULL,
  UNIQUE (bill_id, run, number)
);

CREATE TABLE pay_export (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  client_id text NOT NULL,
  noun text NOT NULL,
  format text NOT NULL CHECK (format IN ('csv', 'jsonl')),
  filters jsonb NOT NULL,
  stores jsonb,
  is_personal boolean NOT NULL,
  state text NOT NULL CHECK (state IN ('pending', 'running', 'ready', 'failed', 'canceled')),
  slot integer CHECK (slot >= 1),
  as_of timestamptz NOT NULL,
  snapshots jsonb NOT NULL,
  rows integer NOT NULL CHECK (rows >= 0),
  size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
  parts integer NOT NULL CHECK (parts >= 0),
  progress jsonb,
  error jsonb,
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  finished_at timestamptz,
  UNIQUE (merchant_id, slot),
  CHECK ((state IN ('pending', 'running')) = (slot IS NOT NULL)),
  CHECK ((state IN ('pending', 'running')) = (finished_at IS NULL))
);
CREATE INDEX pay_export_list ON pay_export (merchant_id, created_at, id);

CREATE TABLE pay_export_part (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  export_id text NOT NULL,
  number integer NOT NULL CHECK (number >= 1),
  rows integer NOT NULL CHECK (rows >= 0),
  size_bytes integer NOT NULL CHECK (size_bytes >= 1),
  sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  content bytea NOT NULL,
  created_at timestamptz NOT NULL,
  UNIQUE (export_id, number)
);
CREATE INDEX pay_export_part_end ON pay_export_part (created_at);
"""

# Not even the writer changes what was published; whoever must, must be the tables' owner.
UNCHANGING = """
CREATE FUNCTION pay_bill_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'bill % of % is published: corrections are later rows', OLD.id, OLD.day USING ERRCODE = '23514';
END
$$;
CREATE TRIGGER pay_bill_stays BEFORE UPDATE OR DELETE ON pay_bill
  FOR EACH ROW WHEN (OLD.state = 'published') EXECUTE FUNCTION pay_bill_stays();
REVOKE UPDATE ON pay_bill_part FROM arsenal_writer;
"""

RETENTION = """
GRANT DELETE ON pay_export_part TO arsenal_job;
CREATE POLICY job_purges ON pay_export_part FOR DELETE TO arsenal_job USING (true);
"""

TABLE_NAMES = ("pay_bill", "pay_bill_part", "pay_export", "pay_export_part")


def upgrade() -> None:
    """Create the tables; workers may take an export's parts away that have grown old."""
    run_script(TABLES)
    for table in TABLE_NAMES:
        run_script(tenant_table_sql(table))
    run_script(UNCHANGING)
    run_script(RETENTION)


def downgrade() -> None:
    """Drop them."""
    op.execute(f"DROP TABLE {', '.join(reversed(TABLE_NAMES))}")
    op.execute("DROP FUNCTION pay_bill_stays")
