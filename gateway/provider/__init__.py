"""The provider: its identity, and the data that its grants open.

As a library, `read` gives a table of sums in one line, and `streams` says what was granted:

>>> from gateway.provider import read
>>> read("meters", key="utility", granularity="15min").to_polars().height
192

In the order in which to read it:

- `identity`   a folder with its private keys and its card
- `grants`     the grants to this provider
- `tokens`     the words in a grant's tokens
- `query`      a query, resolved against the grants, or refused with what they do open
- `sums`       all of it together: sums of readings, window by window
- `follow`     the same, waiting for windows to close
- `desk`       the sums of many homes, several homes at a time
- `discovery`  the homes of a bucket that granted something, without a list of them
- `table`      sums of many homes as one table, its totals, dataframes of it
- `plot`       a table as a load curve
- `library`    reading in one line, for other programs
- `many`       the sums of many homes, by several processes
- `together`   their signatures and keys, those of several homes in a row
- `day`        a day's sums, from the two objects of a home that hold them
- `bill`       a tariff's bills, from ciphertexts and one token a period
- `followed`   the grants of bills that a household made by following a price series
- `windows`    the same bills from sums of windows, with the energy at each price
- `period`     the bills of one period, from whichever of the two is granted
- `invoice`    a bill's other lines: standing charges, taxes, rounding
- `evidence` what a grant opened, as a third party checks it
- `claim`    makes evidence
- `invoices`   the documents that are made of bills
- `granted`    a registrar's store, with the credentials for what was granted
- `membership` where a provider is registered
- `through`    the homes of a registrar's catalogue, and their store
- `raw`        every unit of the links whose keys were granted
- `load`       what the two parties to a load over many homes share
- `homes`      lists of homes, and the files by which a load is agreed on
- `lanes`      what a lane's sums are called
- `exports/`   sums in the formats that markets exchange
- `prices`     price series, signed and published
- `openadr`    the same as OpenADR events
"""

from importlib import import_module

# name: its module. What an importer does not use is not loaded; __init__.pyi has the types.
_NAMES = {
    "Failure": "gateway.provider.desk",
    "Found": "gateway.provider.discovery",
    "Granted": "gateway.provider.discovery",
    "GrantedHome": "gateway.provider.discovery",
    "Home": "gateway.provider.desk",
    "HomeSums": "gateway.provider.desk",
    "Identity": "gateway.provider.identity",
    "Location": "gateway.store.location",
    "Query": "gateway.provider.query",
    "Table": "gateway.provider.table",
    "open_identity": "gateway.provider.identity",
    "read": "gateway.provider.library",
    "read_async": "gateway.provider.library",
    "read_many": "gateway.provider.desk",
    "streams": "gateway.provider.library",
    "streams_async": "gateway.provider.library",
}
__all__ = list(_NAMES)


def __getattr__(name: str) -> object:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
