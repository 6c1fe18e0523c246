-- Version 4. The edges of calendar grants' windows, settled when their tokens are issued.

ALTER TABLE grant_ ADD COLUMN edges BLOB NOT NULL DEFAULT x'';     -- u64 big-endian, one more than windows
