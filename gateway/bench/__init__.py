"""Figures against rivals, each a ratio taken in one run: `gateway bench` prints them.

- `figure`   a figure, and how it is measured
- `chain`    sealing, opening, tokens and sizes
- `paper`    the paper's Table 1, beside the same phases here
"""
