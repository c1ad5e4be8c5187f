DROP INDEX instructions_held;
ALTER TABLE instructions DROP COLUMN holder;
