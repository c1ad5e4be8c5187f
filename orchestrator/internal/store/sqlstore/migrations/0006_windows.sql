-- What workflows have gathered of events that make one only together, by what those have in
-- common.

CREATE TABLE windows (
    org TEXT NOT NULL, workflow TEXT NOT NULL, key TEXT NOT NULL, closes INTEGER NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, workflow, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX windows_closes ON windows (org, closes);
