"""What gateways and providers say to a registrar, and what it answers.

- `evidence`   a TPM's proof that it holds a signing key
"""
