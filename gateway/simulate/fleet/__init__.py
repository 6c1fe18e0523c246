"""A fleet: many simulated homes in regions, by the real scheme, computed region by region with numpy.

In reading order:

- `plan`      the fleet's size and times, and the fate of each home: whole, late or broken
- `energy`    what each home draws and gives, under its region's weather
- `truth`     the sums by region and window, to compare with
- `objects`   a home's objects, as its gateway leaves them in a store
- `block`     the same of some homes of a region, whose energy is computed together
- `tables`    the blinded sums in Parquet, for fleets that are too large for objects
- `making`    the work in several processes, which goes on where it was interrupted
"""
