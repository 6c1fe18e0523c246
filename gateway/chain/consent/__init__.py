"""The consent check: exactly what grants reveal together, shown to the household before it makes another.

- `held`      a grant as its holder has it, and a finding
- `borders`   the borders between windows, and the grants that share them
- `windows`   sums that several grants of windows open together; grants of single units
- `bills`     the equations that bills are, and how many bits one says
- `classes`   steps that no bill tells apart: the unknowns of these equations
- `span`      exact linear algebra
- `sums`      what bills and windows reveal: the classes in the span of all equations
- `check`     all of it, for each provider alone and for all together, and what a new grant adds
- `standing`  which findings a decision covers that stands for grants to come
"""
