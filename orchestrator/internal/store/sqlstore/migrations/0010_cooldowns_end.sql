-- Cooldowns that are over are dropped.

CREATE INDEX cooldowns_until ON cooldowns (org, until);
