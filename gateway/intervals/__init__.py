"""From register readings to exact interval energy: what utilities call validation and estimation. Pure.

- `validation`   which readings to believe: dips, spikes, rollovers, another meter
- `estimation`   energy between two readings, shared among the units
- `sampler`      readings to units, clocks that misbehave
- `state`        what of a sampler outlives a run
- `backfill`     which of a meter's remembered readings can be true
"""
