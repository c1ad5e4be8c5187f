DROP INDEX cooldowns_until;
