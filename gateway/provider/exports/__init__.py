"""Opened sums in the formats that markets exchange. In the order in which to read it:

- `readings`      the intervals of one lane, each with its quality
- `clocks`        the rules by which a zone's clocks change, as Green Button codes them
- `greenbutton`   Green Button: an Atom feed of ESPI resources
- `nem12`         NEM12, of Australia's market
- `mscons`        MSCONS, of Germany's market
"""
