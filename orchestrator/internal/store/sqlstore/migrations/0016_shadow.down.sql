DROP INDEX evaluations_shadow;
ALTER TABLE evaluations DROP COLUMN shadow;
