"""The daemon: readings pass from the meters through the sealer and the ledger to the store.

- `service`        opens the root, the ledger and the store, runs sessions, stops in order
- `session`        the parts below, wired together under one incarnation
- `line`           the steps of one meter's data, in order
- `sealer`         turns one meter's readings into durable ciphertexts
- `series`         values that the household's devices put, as readings
- `register_log`   logs what a meter's registers did
- `clock_watch`    watches the wall clock: steps, and waits for it
- `chunker`        closes chunks
- `issuer`         issues the tokens of closed windows
- `pager`          makes the pages of days and months that are over
- `publisher`      sends the outbox to the store
- `readback`       reads what was sent back, and sends again what the store has lost
- `watched`        the store, with what it was asked and has not answered
- `rollback`       detects a ledger that is behind the store
- `found`          takes grants over that the store holds and the ledger does not know
- `doubts`         units that another copy of the ledger may have sealed: their tokens wait
- `takeover`       takes the store's chain over where the ledger was rolled back
- `regained`       the readings in the units that a take-over drops
- `grants`         the grants of the ledger, decoded
- `granter`        makes grants, after the consent check, and revokes them
- `price_book`     the price series that standing decisions follow
- `follower`       makes the grants of these decisions, one for each period
- `follow_status`  the decisions as documents
- `control`        serves the control API
- `status`         collects the status of all parts
- `doctor`         checks each part on its own, outside the running gateway
"""
