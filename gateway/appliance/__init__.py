"""What runs on an image of the appliance only: its releases, and how one takes the place of another.

- `release`     the manifest of a release, release.json, and its detached signature
- `keys`        the keys that sign releases
- `owner_file`  the first-boot file that the owner writes on the FAT partition, checked
- `first_boot`  takes that file over, once, and wipes it
"""
