"""What grants reveal together, exactly: what the household is told before it makes another.

- `held`      a grant as its holder has it, and a finding
- `windows`   sums: what the borders of several grants' windows bound together
- `bills`     tariffs that isolate one window, and several bills over the same units
"""
