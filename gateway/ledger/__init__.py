"""The durable truth on the device: one SQLite file with what is sealed, chunked, granted and still to send.

Ciphertexts, and what the device keeps for itself sealed under a key that only its root can give:
a copied file yields no reading.
"""
