-- Version 6. By what a meter's readings are multiplied before they are sealed, as in its stream's descriptor: its
-- energies, and its power.

ALTER TABLE stream ADD COLUMN factor TEXT NOT NULL DEFAULT '1 1';
