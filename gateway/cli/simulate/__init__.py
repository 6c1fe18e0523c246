"""`gateway simulate`: a module for each kind of meter; `options` has those that all share."""
