-- How much an agent has in hand: holder is who was offered an instruction or runs it. Rows of
-- before count from their next change on.

ALTER TABLE instructions ADD COLUMN holder TEXT NOT NULL DEFAULT '';
CREATE INDEX instructions_held ON instructions (org, holder) WHERE holder <> '';
