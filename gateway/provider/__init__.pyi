from gateway.provider.desk import (
    Failure,
    Home,
    HomeSums,
    read_many,
)
from gateway.provider.discovery import Found, Granted, GrantedHome
from gateway.provider.identity import Identity, open_identity
from gateway.provider.library import (
    read,
    read_async,
    streams,
    streams_async,
)
from gateway.provider.query import Query
from gateway.provider.table import Table
from gateway.store.location import Location

__all__ = [
    "Failure",
    "Found",
    "Granted",
    "GrantedHome",
    "Home",
    "HomeSums",
    "Identity",
    "Location",
    "Query",
    "Table",
    "open_identity",
    "read",
    "read_async",
    "read_many",
    "streams",
    "streams_async",
]
