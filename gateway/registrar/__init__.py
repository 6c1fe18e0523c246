"""The registrar, the paper's trusted third party.

- `attestation`   checks a TPM's evidence; the challenge that it alone can answer
- `storage`       storage credentials scoped to prefixes: policies and sessions
- `summing`       the summing service of loads
"""

import os

# Set before anything loads tpm2-tss: it would log whatever a stranger sends that is no TPM structure.
os.environ["TSS2_LOG"] = "all+NONE"
