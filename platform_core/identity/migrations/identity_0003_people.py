"""People, their places in parties, what they sign in with, their sessions; licences and payout destinations."""

from alembic import op

from platform_core.kernel.database.tenancy import TENANT, run_script, tenant_table_sql

revision = "identity_0003"
down_revision = "identity_0002"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE person (
  id text PRIMARY KEY,
  email text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
  email_key text NOT NULL UNIQUE,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  locale text NOT NULL CHECK (locale IN ('en', 'zh')),
  password_hash text CHECK (password_hash ~ '^[$]argon2id[$]'),
  session_epoch integer NOT NULL CHECK (session_epoch > 0),
  totp_sealed bytea,
  totp_step bigint NOT NULL CHECK (totp_step >= 0),
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL
);

CREATE TABLE recovery_code (
  id text PRIMARY KEY,
  person_id text NOT NULL REFERENCES person (id),
  digest bytea NOT NULL CHECK (length(digest) = 32),
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  used_at timestamptz
);
CREATE INDEX recovery_code_person ON recovery_code (person_id) WHERE used_at IS NULL;

CREATE TABLE membership (
  id text PRIMARY KEY,
  person_id text NOT NULL REFERENCES person (id),
  party_kind text NOT NULL CHECK (party_kind IN ('platform', 'merchant', 'isv')),
  party_id text NOT NULL,
  merchant_id text REFERENCES merchant (id),
  roles text NOT NULL CHECK (roles ~ '^[a-z_]+( [a-z_]+)*$'),
  stores text CHECK (stores ~ '^sto_[0-9a-z]{26}( sto_[0-9a-z]{26})*$'),
  state text NOT NULL CHECK (state IN ('active', 'removed')),
  given_by text NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  expires_at timestamptz,
  CHECK (merchant_id IS NOT DISTINCT FROM CASE WHEN party_kind = 'merchant' THEN party_id END),
  CHECK (stores IS NULL OR party_kind = 'merchant')
);
CREATE UNIQUE INDEX membership_active ON membership (person_id, party_kind, party_id) WHERE state = 'active';
CREATE INDEX membership_party ON membership (party_kind, party_id, created_at, id);

CREATE TABLE invitation (
  id text PRIMARY KEY,
  party_kind text NOT NULL CHECK (party_kind IN ('platform', 'merchant', 'isv')),
  party_id text NOT NULL,
  merchant_id text REFERENCES merchant (id),
  email text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
  email_key text NOT NULL,
  roles text NOT NULL CHECK (roles ~ '^[a-z_]+( [a-z_]+)*$'),
  stores text CHECK (stores ~ '^sto_[0-9a-z]{26}( sto_[0-9a-z]{26})*$'),
  state text NOT NULL CHECK (state IN ('pending', 'accepted', 'withdrawn')),
  digest bytea NOT NULL CHECK (length(digest) = 32),
  given_by text NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  CHECK (merchant_id IS NOT DISTINCT FROM CASE WHEN party_kind = 'merchant' THEN party_id END)
);
CREATE UNIQUE INDEX invitation_pending ON invitation (email_key, party_kind, party_id) WHERE state = 'pending';
CREATE INDEX invitation_party ON invitation (party_kind, party_id, created_at, id);

CREATE TABLE console_session (
  id text PRIMARY KEY,
  person_id text NOT NULL REFERENCES person (id),
  console text NOT NULL CHECK (console IN ('admin', 'merchant', 'isv')),
  digest bytea NOT NULL CHECK (length(digest) = 32),
  session_epoch integer NOT NULL,
  membership_id text REFERENCES membership (id),
  membership_version integer,
  acr text NOT NULL CHECK (acr IN ('urn:arsenal:acr:pwd', 'urn:arsenal:acr:mfa')),
  auth_time timestamptz NOT NULL,
  address text NOT NULL,
  agent text NOT NULL CHECK (length(agent) <= 200),
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  seen_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  ended_at timestamptz,
  ended_why text,
  CHECK ((membership_id IS NULL) = (membership_version IS NULL)),
  CHECK ((ended_at IS NULL) = (ended_why IS NULL))
);
CREATE INDEX console_session_person ON console_session (person_id, created_at) WHERE ended_at IS NULL;

CREATE TABLE sign_in_counter (
  id text PRIMARY KEY,
  failures integer NOT NULL CHECK (failures >= 0),
  version integer NOT NULL CHECK (version > 0),
  last_at timestamptz NOT NULL,
  blocked_until timestamptz
);

CREATE TABLE one_time_link (
  id text PRIMARY KEY,
  person_id text REFERENCES person (id),
  digest bytea NOT NULL CHECK (length(digest) = 32),
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at timestamptz
);

CREATE TABLE person_message (
  id text PRIMARY KEY,
  merchant_id text REFERENCES merchant (id),
  kind text NOT NULL,
  is_addressed boolean NOT NULL,
  sealed bytea NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  sent_at timestamptz
);
CREATE INDEX person_message_waiting ON person_message (created_at) WHERE sent_at IS NULL AND is_addressed;

CREATE TABLE payout_destination (
  id text PRIMARY KEY,
  merchant_id text NOT NULL REFERENCES merchant (id),
  currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  sealed bytea NOT NULL,
  hint text NOT NULL CHECK (length(hint) = 4),
  state text NOT NULL CHECK (state IN ('proposed', 'active', 'refused', 'replaced')),
  proposed_by text NOT NULL,
  decided_by text,
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  decided_at timestamptz,
  usable_from timestamptz,
  CHECK (decided_by <> proposed_by),
  CHECK ((state = 'proposed') = (decided_by IS NULL))
);
CREATE UNIQUE INDEX payout_destination_active ON payout_destination (merchant_id, currency) WHERE state = 'active';
CREATE INDEX payout_destination_merchant ON payout_destination (merchant_id, created_at, id);

CREATE TABLE merchant_licence (
  id text PRIMARY KEY,
  merchant_id text NOT NULL REFERENCES merchant (id),
  kind text NOT NULL CHECK (kind ~ '^[a-z_]+([.][a-z_]+)*$'),
  number text NOT NULL CHECK (length(number) BETWEEN 1 AND 80),
  holder text NOT NULL CHECK (length(holder) BETWEEN 1 AND 200),
  valid_to timestamptz,
  state text NOT NULL CHECK (state IN ('submitted', 'accepted', 'refused', 'expired')),
  version integer NOT NULL CHECK (version > 0),
  created_at timestamptz NOT NULL,
  UNIQUE (merchant_id, kind, number)
);

UPDATE isv SET tier = 'sandbox' WHERE tier NOT IN ('sandbox', 'starter', 'standard', 'partner', 'strategic');
ALTER TABLE isv ADD CONSTRAINT isv_tier CHECK (tier IN ('sandbox', 'starter', 'standard', 'partner', 'strategic'));
"""

OF_THE_SERVER_ALONE = (
    "recovery_code",
    "console_session",
    "sign_in_counter",
    "one_time_link",
    "person_message",
)
"""Read by the authorization server's role and by nobody else, workers included."""


def upgrade() -> None:
    """Create the tables. Of a person a merchant sees name and address of its own staff, and nothing else."""
    run_script(TABLES)
    own_staff = f"EXISTS (SELECT FROM membership AS m WHERE m.person_id = person.id AND m.merchant_id = {TENANT})"
    run_script(tenant_table_sql("person", tenant=None, app=own_staff, auth=True))
    op.execute("REVOKE SELECT ON person FROM arsenal_app, arsenal_job")
    op.execute("GRANT SELECT (id, email, name, created_at) ON person TO arsenal_app")
    for table in ("membership", "invitation", "payout_destination", "merchant_licence"):
        run_script(tenant_table_sql(table, auth=True))
    op.execute("REVOKE SELECT ON invitation FROM arsenal_job")
    for table in OF_THE_SERVER_ALONE:
        run_script(tenant_table_sql(table, tenant=None, auth=True))
    op.execute(f"REVOKE SELECT ON {', '.join(OF_THE_SERVER_ALONE)} FROM arsenal_app, arsenal_job")


def downgrade() -> None:
    """Drop the tables."""
    op.execute("ALTER TABLE isv DROP CONSTRAINT isv_tier")
    op.execute(
        "DROP TABLE merchant_licence, payout_destination, person_message, one_time_link, sign_in_counter, "
        "console_session, invitation, recovery_code, membership, person"
    )
