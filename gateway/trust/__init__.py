"""The root of trust: holds the root and the signing key, counts incarnations, gives neither key away.

- `root`       the contract
- `opening`    opens a root; provisions it on first use
- `software`   the stand-in where there is no TPM: chosen by name, never fallen back to
- `tpm/`       the same contract on a TPM 2.0
- `folder`     the one file in which an identity is kept
- `keyring`    the keys of one stream that the root gives
- `signing`    objects signed by the root's key
- `vault`      what the device keeps for itself at rest

What a TPM does here: a copied SD card opens nothing, keys cannot be exported, the counter cannot be
turned back, and a probe on the bus sees no secret. It does not keep root on the running gateway from
using the keys.
"""

import os

# Before anything loads tpm2-tss: it logs to stderr, and at its finest level plaintext parameters too.
os.environ["TSS2_LOG"] = "all+NONE"
