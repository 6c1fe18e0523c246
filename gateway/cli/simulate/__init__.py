"""`gateway simulate`: a module for each kind of meter; `options` are those that all share."""
