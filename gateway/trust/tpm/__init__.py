"""The root of trust on a TPM 2.0.

- `root`        the contract of `gateway.trust.root`, kept by a TPM
- `owner`       the one thread that talks to it, its watchdog, what is tried again and what is not
- `keys`        an open connection: salted session, loaded keys, counter
- `provision`   first use: what is made in the TPM and what is kept of it
- `esapi`       templates and the context of tpm2-tss
- `codes`       return codes, and the sentence for each
- `transport`   where a TPM is reached
- `health`      what the doctor wants to know of a TPM
"""
