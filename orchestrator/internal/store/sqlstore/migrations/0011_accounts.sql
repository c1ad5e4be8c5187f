-- Who may operate an organisation, and with what they show that they are it.

CREATE TABLE users (
    org TEXT NOT NULL, name TEXT NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, name)
) STRICT;

CREATE TABLE credentials (
    org TEXT NOT NULL, hash TEXT NOT NULL, owner TEXT NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, hash)
) STRICT;
CREATE INDEX credentials_owner ON credentials (org, owner);
CREATE INDEX credentials_expires ON credentials (org, expires);
