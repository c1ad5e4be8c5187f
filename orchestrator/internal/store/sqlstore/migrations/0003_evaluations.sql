-- What each workflow made of each event that came near it.

CREATE TABLE evaluations (
    org TEXT NOT NULL, event TEXT NOT NULL, agent TEXT NOT NULL, workflow TEXT NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, event, agent, workflow)
) STRICT, WITHOUT ROWID;
