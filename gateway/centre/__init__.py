"""The load monitoring centre: sums over many homes, never over one.

- `load`      the sum of a lane over a set of homes, by hand
- `homes`     the list of homes, with their regions
- `state`     the memory: what was taken in, which sets were asked for
- `columns`   windows of many homes as Parquet files
- `kept`      what was verified of homes and is written once
- `budget`    the memory that looks take together
- `look`      a look at one home's stream: its new windows
- `ingest`    new windows of all homes into these files, each once
- `hints`     streams that have something new, so that a look at them comes sooner
- `notices`   where hints come from: MQTT brokers, a store's webhook
- `adding`    sums over one file
- `engine`    the homes of each window, and sums over files, in this process
- `cluster`   the same by Dask, on several machines
- `noise`     noise on the loads of small sets, before they are published
- `query`     loads of a region: sets, the summing service's answers, coverage
- `alarms`    loads above their limits, broken chains, refused sets
- `watch`     the loads of all regions as they come
- `page/`     the operator's pages
"""
