-- When workflows are next started by the clock.

CREATE TABLE schedules (
    org TEXT NOT NULL, workflow TEXT NOT NULL, spec TEXT NOT NULL, due INTEGER NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, workflow, spec)
) STRICT, WITHOUT ROWID;
CREATE INDEX schedules_due ON schedules (org, due);
