-- Every key begins with the organisation. A record is a JSON document; what a query
-- selects or sorts by is a column beside it, and a new field needs no migration.
-- Times in columns are nanoseconds since 1970.
--
-- There are no foreign keys: a run, its history and its instructions are written in
-- the order in which the machines decide, and history outlives what it tells of.

CREATE TABLE orgs (org TEXT NOT NULL, PRIMARY KEY (org)) STRICT, WITHOUT ROWID;

CREATE TABLE agents (
    org TEXT NOT NULL, id TEXT NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;

CREATE TABLE tokens (
    org TEXT NOT NULL, hash TEXT NOT NULL, created INTEGER NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, hash)
) STRICT;

CREATE TABLE streams (
    org TEXT NOT NULL, agent TEXT NOT NULL, epoch TEXT NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, agent, epoch)
) STRICT, WITHOUT ROWID;

-- n counts within the organisation, from 1; it is the cursor of whoever follows.
CREATE TABLE events (
    org TEXT NOT NULL, n INTEGER NOT NULL, agent TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, n)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX events_id ON events (org, agent, id);

CREATE TABLE gaps (
    org TEXT NOT NULL, agent TEXT NOT NULL, epoch TEXT NOT NULL, first INTEGER NOT NULL, received INTEGER NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, agent, epoch, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE workflows (
    org TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, deleted INTEGER NOT NULL DEFAULT 0, doc TEXT NOT NULL,
    PRIMARY KEY (org, name, version)
) STRICT;

CREATE TABLE cooldowns (
    org TEXT NOT NULL, workflow TEXT NOT NULL, key TEXT NOT NULL, until INTEGER NOT NULL,
    PRIMARY KEY (org, workflow, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    org TEXT NOT NULL, id TEXT NOT NULL, workflow TEXT NOT NULL, key TEXT NOT NULL, status TEXT NOT NULL, active INTEGER NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE INDEX runs_workflow ON runs (org, workflow, id);
CREATE INDEX runs_active ON runs (org, workflow, key) WHERE active = 1;

CREATE TABLE history (
    org TEXT NOT NULL, run TEXT NOT NULL, seq INTEGER NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, run, seq)
) STRICT, WITHOUT ROWID;

-- due is when the instruction needs a tick: null once it has ended. plugin and target
-- say who may take it, beside the document, so that a poll decodes only what it takes.
CREATE TABLE instructions (
    org TEXT NOT NULL, id TEXT NOT NULL, run TEXT NOT NULL, status TEXT NOT NULL, priority INTEGER NOT NULL, due INTEGER,
    plugin TEXT NOT NULL, target TEXT NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE INDEX instructions_run ON instructions (org, run, id);
CREATE INDEX instructions_due ON instructions (org, due) WHERE due IS NOT NULL;
CREATE INDEX instructions_pending ON instructions (org, priority DESC, id) WHERE status = 'pending';

CREATE TABLE logs (
    org TEXT NOT NULL, n INTEGER NOT NULL, run TEXT NOT NULL, instruction TEXT NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX logs_run ON logs (org, run, n) WHERE run <> '';
CREATE INDEX logs_instruction ON logs (org, instruction, n) WHERE instruction <> '';

CREATE TABLE audit (
    org TEXT NOT NULL, n INTEGER NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, n)
) STRICT, WITHOUT ROWID;
