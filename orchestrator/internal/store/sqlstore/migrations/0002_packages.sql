-- What is published and who is to have it. The files themselves are in the depot.

CREATE TABLE packages (
    org TEXT NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL, digest TEXT NOT NULL, published INTEGER NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, id, version)
) STRICT;
CREATE INDEX packages_digest ON packages (org, digest);

-- due is when the roll-out of the assignment needs a look; null: when something happens.
CREATE TABLE assignments (
    org TEXT NOT NULL, plugin TEXT NOT NULL, selector TEXT NOT NULL, due INTEGER, doc TEXT NOT NULL,
    PRIMARY KEY (org, plugin, selector)
) STRICT;
CREATE INDEX assignments_due ON assignments (org, due) WHERE due IS NOT NULL;

-- Keys whose packages the organisation takes; without any it takes every package.
CREATE TABLE publishers (
    org TEXT NOT NULL, fingerprint TEXT NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, fingerprint)
) STRICT;
