"""The `gateway` command: a module or folder for each group of commands, without any of the gateway's logic.

`main` lists the groups and turns every outcome of a command into an exit code and a sentence; `lazy` imports
a command when it is called; `output` formats what people read, and `values` parses what they type.
"""
