"""The ledger: one SQLite file on the device with everything sealed, chunked, granted and waiting to be sent.

Readings are in it as ciphertexts, and the device's own state is encrypted under a key that only its root
can derive: a copy of the file reveals no reading.

- `records`     what the ledger holds, as values
- `schema/`     the tables, as SQL: each file takes a ledger one version up
- `migrations`  applies these files
- `database`    the file, its lock, and the thread that runs transactions on it
- `ledger`      every transaction, with what it promises
- `streams`, `chunks`, `pages`, `outbox`, `kept`, `grants`, `follows`, `doubts`, `commands`, `audit`   the
  transactions' SQL, by tables
- `rollback`    the one transaction on all tables: taking over the store's chain
"""
