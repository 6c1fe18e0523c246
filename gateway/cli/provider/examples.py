"""Whole commands to copy, one for each command of `gateway provider`."""

_PLACE = "--store s3://home --stream 5f0c... --signer 91ab..."
NEW = "gateway provider new acme --name 'ACME Energy'"
READ = f"gateway provider read --key acme {_PLACE}"
ALL = "gateway provider read --key acme --store s3://meters"
STREAMS = "gateway provider streams --key acme --store s3://meters"
GRANTS = "gateway provider grants --key acme --store s3://meters --json"
BILL = f"gateway provider bill --key acme {_PLACE} --tariff tariff.toml"
FOLLOWED = f"gateway provider bill --key acme {_PLACE} --series 'Day ahead'"
INVOICE = (
    f"gateway provider invoice --key acme {_PLACE} --tariff tariff.toml --terms invoice.toml --number 26-1"
)
INVOICES = (
    "gateway provider invoice --key acme --store s3://meters --homes homes.csv --tariff tariff.toml "
    "--terms invoice.toml --out invoices --format pdf --format xml"
)
RAW = f"gateway provider raw --key acme {_PLACE} --csv"
LOGIN = "gateway provider login https://registrar.example.org --key acme --user acme"
REQUEST = "gateway provider request --key acme --region north --granularity 15min --purpose 'dynamic tariff'"
REQUESTS = "gateway provider requests --key acme"
EVIDENCE = (
    f"gateway provider evidence --key acme {_PLACE} --from 2026-03-01 --until 2026-04-01 --output march.cose"
)
FORGET = "gateway provider forget --key utility --stream 4a36f1c2d3e4f5061728394a5b6c7d8e"
VERIFY = f"gateway provider verify {_PLACE}"
