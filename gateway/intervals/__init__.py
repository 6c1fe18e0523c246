"""Interval energy, exact, from register readings: what utilities call validation and estimation. Pure.

- `validation`   which readings to believe: dips, spikes, rollovers, another meter
- `estimation`   energy between two readings, shared among the units
- `sampler`      turns readings into units, also where clocks misbehave
- `state`        the state of a sampler that is saved between runs
- `backfill`     the readings that a meter recorded during an outage, without impossible ones
"""
