"""`gateway provider`: a module for each large command; `place` says which stream in which store."""
