"""The load monitoring centre: sums over many homes, never over one.

- `load`      the sum of a lane over a set of homes, by hand
- `homes`     the list of homes, with their regions
- `state`     the memory: what was taken in, which sets were asked for
- `columns`   windows of many homes as Parquet files
- `ingest`    new windows from the store into these files, each once
- `hints`     streams that have something new, so that a look at them comes sooner
- `notices`   where hints come from: MQTT brokers, a store's webhook
- `engine`    sums over the files, by DuckDB
- `cluster`   the same by Dask, on several machines
- `query`     loads of a region: sets, the summing service's answers, coverage
- `alarms`    loads above their limits, broken chains, refused sets
- `watch`     the loads of all regions as they come
- `page/`     the operator's pages
"""
