"""What runs on an image of the appliance only: its releases, and how one takes the place of another.

- `release`     the manifest of a release, release.json, and its detached signature
- `keys`        the keys that sign releases
- `measure`     what a boot says to the TPM of its release
- `feed`        where releases are found, and the download of their bundles
- `rauc`        RAUC, which writes the slots
- `journal`     what is known of updates, in files that both slots share
- `update`      an update, from the feed to the restart into the new release
- `health`      the check after it: the release is kept, or the machine goes back
- `owner_file`  the first-boot file that the owner writes on the FAT partition, checked
- `first_boot`  takes that file over, once, and wipes it
"""
