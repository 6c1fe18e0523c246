"""The gateway at work. A reading walks from the reader to the sealer, through the ledger, to the store.

- `service`     opens root, ledger and store, runs sessions, stops in order
- `session`     the parts, joined, under one incarnation
- `sealer`      one meter's readings to durable ciphertexts
- `chunker`     closes chunks
- `issuer`      issues the tokens of windows that have closed
- `pager`       makes the pages of days and months that are over
- `publisher`   sends the outbox to the store
- `granter`     makes grants, after the consent check, and revokes them
- `takeover`    lets the store's chain stand where the ledger was rolled back
- `control`     answers on the control socket
"""
