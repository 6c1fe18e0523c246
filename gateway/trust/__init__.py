"""The root of trust: holds the root and the signing key, counts incarnations, gives neither key away.

- `root`       the contract, and `open_root`: provisions on first use, opens again later
- `software`   the stand-in where there is no TPM: chosen by name, never fallen back to
- `tpm`        the same contract on a TPM 2.0, and underneath it
  `owner`      the one thread that talks to it, its watchdog, what is tried again and what is not
  `keys`       an open connection: salted session, loaded keys, counter
  `provision`  first use: what is made in the TPM and what is kept of it
  `esapi`      templates and the context of tpm2-tss
  `codes`      return codes, and the sentence for each
- `health`     what the doctor wants to know of a TPM
- `folder`     the one file in which an identity is kept

What a TPM does here: a copied SD card opens nothing, keys cannot be exported, the counter cannot be
turned back, and a probe on the bus sees no secret. It does not keep root on the running gateway from
using the keys.
"""

import os

# Before anything loads tpm2-tss: it logs to stderr, and at its finest level plaintext parameters too.
os.environ["TSS2_LOG"] = "all+NONE"
