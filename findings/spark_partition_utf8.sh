#!/bin/sh
# Spark 4.3.0 reads a partition's name that pyarrow 26.0.1 or DuckDB 2.0.1 wrote, and takes every byte of its percent
# encoding for a character: region=S%C3%BCd, which both others read as Süd, is SÃ¼d in Spark. A filter or a join on Süd
# finds no row there, without a word. Names that Spark writes itself are not encoded beyond ASCII, and all three read them.
#
# Needs Java 17 and Python's venv. Exits with 0 while that is so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyspark==4.3.0 pyarrow==26.0.1 duckdb==2.0.1
cat > "$folder/regions.py" <<'PYTHON'
import os
import sys

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from pyspark.sql import SparkSession

os.chdir(sys.argv[1])
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
rows = pa.table({"region": ["Süd", "Nord/Ost"], "mwh": [1, 2]})
hive = ds.partitioning(pa.schema([("region", pa.string())]), flavor="hive")
ds.write_dataset(rows, "pyarrow", format="parquet", partitioning=hive)
duckdb.sql("COPY (SELECT * FROM rows) TO 'duckdb' (FORMAT parquet, PARTITION_BY (region))")
columns = zip(rows["region"].to_pylist(), rows["mwh"].to_pylist(), strict=True)
spark.createDataFrame(list(columns), "region string, mwh long").write.partitionBy("region").parquet("spark")

found = {}
for writer in ("pyarrow", "duckdb", "spark"):
    glob = f"{writer}/*/*.parquet"
    found[writer] = {
        "pyarrow": set(ds.dataset(writer, partitioning=hive).to_table()["region"].to_pylist()),
        "duckdb": {row[0] for row in duckdb.read_parquet(glob, hive_partitioning=True).select("region").fetchall()},
        "spark": {row.region for row in spark.read.parquet(writer).collect()},
    }
    print("written by", writer, sorted(name for name in os.listdir(writer) if "=" in name), "is read by")
    for reader, regions in found[writer].items():
        print("   ", reader, "as", sorted(regions))
right, wrong = {"Süd", "Nord/Ost"}, {"SÃ¼d", "Nord/Ost"}
for writer in ("pyarrow", "duckdb"):
    assert found[writer] == {"pyarrow": right, "duckdb": right, "spark": wrong}
    assert spark.read.parquet(writer).filter("region = 'Süd'").count() == 0
assert found["spark"] == {"pyarrow": right, "duckdb": right, "spark": right}
PYTHON
PYTHONUTF8=1 "$folder/venv/bin/python" "$folder/regions.py" "$folder"
