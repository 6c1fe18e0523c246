"""The registrar, the paper's trusted third party: who may ask. In reading order:

- `settings`      `registrar.toml`
- `database`, `columns`, `tables`, `migration`   SQLite or MariaDB
- `identity`      the registrar's own key and card
- `accounts`      who may register
- `access`        refused attempts: recorded, slowed down
- `attestation`   checks a TPM's evidence; the challenge that it alone can answer
- `storage`       storage credentials scoped to prefixes: policies and sessions
- `streams`, `cards`   the streams of gateways; certificates, their renewal and revocation
- `likeness`      names that a person takes for one another
- `registration`  the steps of the paper's Figure 3
- `nonces`, `sessions`, `requests`   logins, and what providers ask of households
- `service`       all of it, opened
- `enrolment`     simulated homes, without their taking part
- `routes`, `api`, `openapi`, `server`   the HTTP API
- `page`   the operator's pages, of the same server
- `backup`        copies of key and database
- `summing`       the summing service of loads
"""

import os

# Set before anything loads tpm2-tss: it would log whatever a stranger sends that is no TPM structure.
os.environ["TSS2_LOG"] = "all+NONE"
