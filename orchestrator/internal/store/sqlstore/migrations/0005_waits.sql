-- Steps of runs that wait for an event.

CREATE TABLE waits (
    org TEXT NOT NULL, run TEXT NOT NULL, step TEXT NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, run, step)
) STRICT, WITHOUT ROWID;
