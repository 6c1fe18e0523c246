"""Interval energy, exact, from register readings: what utilities call validation and estimation. Pure.

- `limits`       the most energy that a home can have used in a time
- `hold`         the readings that do not fit, as far as a decision needs them
- `validation`   which readings to believe: dips, spikes, rollovers, another meter
- `estimation`   energy between two readings, shared among the units
- `sampler`      turns readings into units, also where clocks misbehave
- `clock_check`  which times to believe: a wall clock that steps
- `meter_clock`  how late a message came, by the clock of the meter
- `state`        the state of a sampler that is saved between runs
- `scale`        a meter's energy against its power: registers that are ten times too high
- `backfill`     the readings that a meter recorded during an outage, without impossible ones
"""
