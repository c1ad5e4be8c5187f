-- Values that workflows name, sealed.

CREATE TABLE secrets (
    org TEXT NOT NULL, name TEXT NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (org, name)
) STRICT;
