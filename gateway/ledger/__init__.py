"""The durable truth on the device: one SQLite file with what is sealed, chunked, granted and still to send.

Ciphertexts, and what the device keeps for itself sealed under a key that only its root can give:
a copied file yields no reading.

- `records`     what the ledger holds, as values
- `schema/`     the tables: each file takes the ledger one version up
- `migrations`  applies them
- `database`    the file, its lock, and the thread that runs transactions on it
- `ledger`      all transactions
- `streams`, `chunks`, `pages`, `outbox`, `grants`, `audit`   what they do, a file a table
- `rollback`    what they do when the store is ahead, to all tables at once
"""
