"""Figures against rivals, each a ratio taken in one run: `gateway bench` prints them.

- `figure`   a figure, and how it is measured
- `chain`    sealing, opening, tokens and sizes
- `provider` a year read from an S3 server: `seaweedfs` and `server` run it, `year` puts the objects there
- `centre`    a load monitoring centre's ingest, from `memory`, and its sums
- `registrar` registration and authentication at a registrar, beside the paper's
- `paper`    the paper's Table 1, beside the same phases here
- `growth`   the paper's Figures 4 and 5: delay and throughput by number of meters; `growth_plot` draws them
- `cost`     the requests, bytes and processors of a million homes, on paper
- `street`   the homes of these two, and the work of both parties on them
"""
