"""The root of trust on a TPM 2.0.

- `root`        the contract of `gateway.trust.root` on a TPM
- `owner`       the one thread that talks to the TPM, its time limit, and what is tried again
- `keys`        an open connection: salted session, loaded keys, counter
- `attest`      what an open connection shows a registrar: evidence, the answer to a challenge
- `gate`        the release gate: the policy session that a root of an image wants, and min_epoch
- `provision`   first use: what is made in the TPM and what is kept on disk
- `esapi`       templates and the context of tpm2-tss
- `codes`       return codes, and the sentence for each
- `transport`   the address of a TPM, and the connection to it
- `once`        one job beside a running gateway
- `measure`     the measurement of a release at boot, and the end of older ones
- `health`      the health of a TPM, for the doctor
"""
