"""Whole commands to copy, for `gateway registrar`."""

EXAMPLE = "gateway registrar example > registrar.toml"
INIT = "gateway registrar init --config registrar.toml"
SERVE = "gateway registrar serve --config registrar.toml"
ACCOUNT = "gateway registrar account add muller --role household"
BACKUP = "gateway registrar backup registrar-backup.tar"
