"""The control API, for everything outside the daemon.

- `documents`   requests and answers; `status.schema.json` is the JSON Schema of the status
- `health`      whether all is well, in a word
- `metrics`     the status as metrics, in Prometheus' text format
- `objects`     those of reading stored objects
- `commands`    the documents of providers' commands
- `follows`     those of standing decisions about price series
- `client`      a client of the running gateway
"""
