"""The `gateway` command: one module or folder for each group of commands, and no logic of the gateway's.

`main` lists the groups and turns whatever a command ends with into an exit code and a sentence;
`lazy` imports a command when it is called; `output` and `values` are what people read and type.
"""
