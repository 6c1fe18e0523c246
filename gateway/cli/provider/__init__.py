"""`gateway provider`: a module for each large command; `place` has the options for a stream in a store."""
