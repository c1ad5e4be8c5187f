-- What workflows in mode shadow decided, by when: shadow is the time of an evaluation by one, 0 for
-- every other. Rows of before are not reported.

ALTER TABLE evaluations ADD COLUMN shadow INTEGER NOT NULL DEFAULT 0;
CREATE INDEX evaluations_shadow ON evaluations (org, workflow, shadow, event, agent) WHERE shadow <> 0;
