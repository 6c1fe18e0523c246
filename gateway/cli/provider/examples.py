"""Whole commands to copy, one for each command of `gateway provider`."""

_PLACE = "--store s3://home --stream 5f0c... --signer 91ab..."
NEW = "gateway provider new acme --name 'ACME Energy'"
READ = f"gateway provider read --key acme {_PLACE}"
BILL = f"gateway provider bill --key acme {_PLACE} --tariff tariff.toml"
INVOICE = (
    f"gateway provider invoice --key acme {_PLACE} --tariff tariff.toml --terms invoice.toml --number 26-1"
)
INVOICES = (
    "gateway provider invoice --key acme --store s3://meters --homes homes.csv --tariff tariff.toml "
    "--terms invoice.toml --out invoices --format pdf --format xml"
)
RAW = f"gateway provider raw --key acme {_PLACE} --csv"
VERIFY = f"gateway provider verify {_PLACE}"
