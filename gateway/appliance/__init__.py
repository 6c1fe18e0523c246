"""What runs on an image of the appliance only: its releases, and how one takes the place of another.

- `release`     the manifest of a release, release.json, and its detached signature
- `keys`        the keys that sign releases
- `measure`     what a boot says to the TPM of its release
"""
