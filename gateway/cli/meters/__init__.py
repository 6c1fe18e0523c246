"""`gateway meters`: a module for each command; `options` are those by which a meter is reached."""
