"""`gateway dispute`: what an arbiter does with a provider's evidence."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import click

from gateway.chain.layout import ENERGY, LANES
from gateway.cli.codes import exit_code
from gateway.cli.output import JSON_KEYS, examples, json_option, kwh, local_time, print_json, printable
from gateway.errors import GatewayError, Refused, UsageError
from gateway.provider.evidence import Proven, Register, prove
from gateway.stream.times import moment, unix_ms
from gateway.wire.evidence import Evidence

_EXAMPLE = "gateway dispute verify evidence.cose"
_MOST_BYTES = 1 << 30


@click.group(epilog=examples(_EXAMPLE))
def command() -> None:
    """Check what a provider claims of a home."""


@command.command(short_help="Check a provider's evidence.", epilog=examples(_EXAMPLE))
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def verify(path: Path, as_json: bool) -> int:
    """Check the evidence in FILE, which `gateway provider evidence` made, without a store or a key.

    Shows what the gateway's signature proves, and what the provider only claims. Compare the gateway's kid
    with the household's `gateway status`, and the provider's with its card. Ends with exit code 0 if all of
    it holds, and 5 if any of it does not.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path} has more than {_MOST_BYTES >> 30} GiB: it is not evidence")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    proven = _proven(data, path)
    print_proven(proven, as_json)
    return 0 if all(register.agrees for register in proven.registers) else exit_code(Refused)


def _proven(data: bytes, path: Path) -> Proven:
    evidence = Evidence.read_self_signed(data, str(path))
    try:
        return asyncio.run(prove(evidence))
    except GatewayError as error:
        raise Refused(f"{path}: {error}") from None


def print_proven(proven: Proven, as_json: bool) -> None:
    """Show what evidence proves, and what it only claims."""
    if as_json:
        print_json(_document(proven))
    else:
        for line in _lines(proven):
            click.echo(printable(line))


def _lines(proven: Proven) -> list[str]:
    evidence, grant, descriptor = proven.evidence, proven.grant, proven.descriptor
    zone = None if isinstance(grant.granularity.size, int) else grant.granularity.zone
    begin, end = (local_time(unix_ms(when), zone) for when in proven.period)
    count = len(proven.edges) - 1
    where = "kept in a TPM, as it says" if descriptor.assurance == "tpm" else "kept in a file"
    lines = [
        f"Proven, by the signature of the gateway {evidence.signer.hex()} (its key is {where}):",
        f"  stream    {evidence.stream.hex()}",
        f"  grant     {grant.id.hex()}: {grant.opens}",
        f'  purpose   "{grant.purpose}"',
        f"  from      {begin}",
        f"  until     {end} ({count} window{'' if count == 1 else 's'})",
    ]
    lines += [f"  {_shown(lane, value)}" for lane, value in _totals(proven).items()]
    for bill in proven.bills:
        start, stop = (local_time(unix_ms(when), zone) for when in (bill.start, bill.end))
        amount = f"{bill.amount.quantize(bill.rounding.normalize()):f} {bill.tariff.currency}"
        lines.append(f"  bill      {amount} from {start} until {stop}, for {', '.join(bill.lanes)}")
    lines += [
        f"  head      signed at {local_time(proven.head.time_ms)}",
        f"Only claimed, by the signature of the provider {evidence.provider.hex()}:",
        f"  made at   {local_time(evidence.time_ms)}",
    ]
    lines += [f"  {_read_off(register)}" for register in proven.registers]
    return lines


def _totals(proven: Proven) -> dict[str, int]:
    return dict(zip(proven.sums, proven.claims, strict=True)) if proven.sums else {}


def _shown(lane: str, value: int) -> str:
    if lane in ENERGY:
        return f"{lane:<10}{kwh(value)} kWh"
    return f"{lane:<9} {value * Decimal(LANES[lane].scale)} {LANES[lane].unit}, summed"


def _read_off(register: Register) -> str:
    said = "agrees with" if register.agrees else "does NOT agree with"
    return (
        f"register of {register.lane}: {kwh(register.start)} kWh at the start, {kwh(register.end)} kWh at "
        f"the end, which {said} the sum"
    )


def _document(proven: Proven) -> dict[str, object]:
    evidence, grant, unit_ms = proven.evidence, proven.grant, proven.descriptor.layout.unit_ms
    begins = [unix_ms(moment(edge, unit_ms)) for edge in proven.edges.tolist()]
    rows = zip(*(d.tolist() for d in proven.sums.values()), strict=True)
    return {
        "proven": {
            "gateway": evidence.signer.hex(),
            "assurance": proven.descriptor.assurance,
            "stream": evidence.stream.hex(),
            "grant": grant.id.hex(),
            "opens": grant.opens,
            "purpose": grant.purpose,
            "from_ms": begins[0],
            "until_ms": begins[-1],
            "sums": {JSON_KEYS[lane]: value for lane, value in _totals(proven).items()},
            "windows": [
                {"from_ms": begin, **dict(zip((JSON_KEYS[lane] for lane in proven.sums), row, strict=True))}
                for begin, row in zip(begins, rows, strict=False)
            ],
            "bills": [
                {
                    "from_ms": unix_ms(bill.start),
                    "until_ms": unix_ms(bill.end),
                    "lanes": list(bill.lanes),
                    "amount": f"{bill.amount.quantize(bill.rounding.normalize()):f}",
                    "currency": bill.tariff.currency,
                }
                for bill in proven.bills
            ],
            "head_ms": proven.head.time_ms,
        },
        "claimed": {
            "provider": evidence.provider.hex(),
            "made_ms": evidence.time_ms,
            "registers": [
                {
                    "lane": register.lane,
                    "start_mwh": register.start,
                    "end_mwh": register.end,
                    "digit_mwh": register.digit,
                    "agrees": register.agrees,
                }
                for register in proven.registers
            ],
        },
    }
