"""The consent check: exactly what grants reveal together, shown to the household before it makes another.

- `held`      a grant as its holder has it, and a finding
- `windows`   sums: the finer windows that the borders of several grants bound together
- `bills`     tariffs that isolate one window, and several bills over the same units
"""
