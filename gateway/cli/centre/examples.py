"""Whole commands to copy."""

INGEST = "gateway centre ingest data --key centre --store s3://meters --homes homes.csv --follow"
LOAD = (
    "gateway centre load data --key centre --region North --from 2026-11-01 --until 2026-11-02"
    " --granularity 15min"
)
SERVE = "gateway centre serve data --key centre --granularity 15min --limits limits.csv"
FORGET = "gateway centre forget data --stream 4a36f1c2d3e4f5061728394a5b6c7d8e"
