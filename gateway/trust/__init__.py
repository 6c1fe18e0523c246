"""The root of trust: it uses the root and the signing key without revealing them, and counts incarnations.

- `root`       the contract
- `opening`    opens a root; provisions it at first use
- `software`   the software root, for machines without a TPM: chosen by name, never a fallback
- `tpm/`       the same contract on a TPM 2.0
- `policy`     the policies of the release gate, computed without a TPM
- `gate`       the release gate of an image: the approval key, and the approval of the release that runs
- `folder`     the one file in which an identity is kept
- `keyring`    the keys of one stream, derived from the root
- `signing`    objects, signed by the root's key
- `vault`      encryption of the device's own secrets at rest

With a TPM, a copied SD card opens nothing, keys cannot be exported, the counter cannot be turned back, and a
probe on the bus sees no secret. A TPM does not keep the user root on the running gateway from using the keys.
"""

import os

# Set before anything loads tpm2-tss: it logs to stderr, at its finest level even plaintext parameters.
os.environ["TSS2_LOG"] = "all+NONE"
