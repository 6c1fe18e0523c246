-- Version 8. The household's own grants, whose keys nobody else holds.

ALTER TABLE grant_ ADD COLUMN own INTEGER NOT NULL DEFAULT 0 CHECK (own IN (0, 1));
