-- When runs go on that wait for a time.

CREATE TABLE alarms (
    org TEXT NOT NULL, run TEXT NOT NULL, step TEXT NOT NULL, try INTEGER NOT NULL, at INTEGER NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, run, step, try)
) STRICT, WITHOUT ROWID;
CREATE INDEX alarms_at ON alarms (org, at);
