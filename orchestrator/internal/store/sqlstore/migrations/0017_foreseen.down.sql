DROP INDEX evaluations_foreseen_key;
DROP INDEX evaluations_foreseen;
ALTER TABLE evaluations DROP COLUMN foreseen;
