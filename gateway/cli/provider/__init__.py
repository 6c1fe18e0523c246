"""`gateway provider`: a module for each command, imported when it is called; `examples` has a whole one of
each, `place` the options for a stream in a store and `sources` those for many; `rows`, `columns` and `forms`
are the output of sums, `several` that of many homes, `progress` the bar of long work."""
