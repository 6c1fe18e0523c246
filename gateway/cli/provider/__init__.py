"""`gateway provider`: a module for each command, imported when it is called; `examples` has a whole one of
each, `place` the options for a stream in a store, `rows` and `columns` the output of sums."""
