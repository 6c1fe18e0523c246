"""The load monitoring centre: sums over many homes, never over one.

- `load`      the sum of a lane over a set of homes, by hand
- `homes`     the list of homes, with their regions
- `state`     the memory: what was taken in, which sets were asked for
- `columns`   windows of many homes as Parquet files
- `ingest`    new windows from the store into these files, each once
- `engine`    sums over the files, by DuckDB
- `cluster`   the same by Dask, on several machines
- `noise`     noise on the loads of small sets, before they are published
- `query`     loads of a region: sets, the summing service's answers, coverage
"""
