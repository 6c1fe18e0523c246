"""`gateway meters`: a module for each command; `options` has those that say where a meter is."""
