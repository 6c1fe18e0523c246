"""What is said to a registrar, by gateways and by providers.

- `evidence`    what a gateway shows of its TPM
- `documents`   requests and answers, in JSON
- `client`      the client of a registrar's HTTP API
"""
