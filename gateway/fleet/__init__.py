"""The cards of many homes: from a table of homes to first-boot files, images, labels and a register.

- `homes`       the table, a CSV file: a row for each home, checked on its own
- `folder`      the fleet's folder: each home's first-boot file, with its setup code
- `image`       the appliance's image: its release, and a copy of it for one home
- `register`    which devices were made and flashed, without a secret
- `labels`      what is stuck on the devices, as PDF
- `flash`       writes a card, and reads it back
"""
