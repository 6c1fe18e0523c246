"""`gateway provider evidence`: a file that proves to a third party what a grant opened."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from pathlib import Path

import click

from gateway.chain.layout import ENERGY
from gateway.cli.dispute import print_proven
from gateway.cli.output import MWH_PER_KWH, examples, json_option
from gateway.cli.provider.examples import EVIDENCE
from gateway.cli.provider.place import Place, age_option, key_option, place_options
from gateway.cli.values import HexId, Moment
from gateway.config.tariff import load_tariff
from gateway.errors import UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.host.files import write_durably
from gateway.provider.claim import Claim, make_evidence
from gateway.provider.evidence import Proven
from gateway.provider.identity import open_identity
from gateway.stream.seen import Seen


@click.command("evidence", short_help="Prove to a third party what you opened.", epilog=examples(EVIDENCE))
@key_option
@place_options
@click.option(
    "--from", "from_ms", type=Moment(), required=True, help="The first window begins here or later."
)
@click.option(
    "--until", "until_ms", type=Moment(), required=True, help="The last window ends here or earlier."
)
@click.option(
    "--tariff",
    "tariff_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Prove the bills under this tariff file.  [default: prove sums]",
)
@click.option("--grant", type=HexId(), help="Prove it by this grant.  [default: the one with fewest windows]")
@click.option(
    "--register",
    "registers",
    nargs=3,
    multiple=True,
    metavar="LANE START END",
    help="import or export, and the meter's register in kWh at both ends, with all digits that it shows.",
)
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file.")
@age_option
@json_option
def evidence(
    folder: Path,
    place: Place,
    from_ms: int,
    until_ms: int,
    tariff_file: Path | None,
    grant: bytes | None,
    registers: tuple[tuple[str, str, str], ...],
    output: Path,
    max_age_ms: int,
    as_json: bool,
) -> None:
    """Write one signed file that proves what a grant opened, for an arbiter without a store or a key.

    The file lets whoever has it see the windows between --from and --until, for all lanes of the grant, and
    nothing else of the home: give it to nobody but the arbiter. `gateway dispute verify FILE` checks it.
    """
    if until_ms <= from_ms:
        raise UsageError("the claimed time ends before it begins: --until must be later than --from")
    if tariff_file is not None and registers:
        raise UsageError("--register is compared with sums, and a bill opens none: use it without --tariff")
    claim = Claim(
        from_ms,
        until_ms,
        None if tariff_file is None else load_tariff(tariff_file),
        grant,
        _registers(registers),
    )
    identity = open_identity(folder)
    if output.exists():
        raise UsageError(f"{output} already exists: name a new file")

    async def made() -> tuple[bytes, Proven]:
        seen = Seen(folder, place.stream)
        async with place.bucket(folder) as bucket:
            now_ms = unix_ms(SystemClock("host"))
            return await make_evidence(
                bucket, place.stream, place.signer, identity, claim, now_ms, max_age_ms, seen
            )

    data, proven = asyncio.run(made())
    try:
        write_durably(output, data, 0o600)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    print_proven(proven, as_json)


def _registers(given: tuple[tuple[str, str, str], ...]) -> tuple[tuple[str, int, int, int], ...]:
    """Registers as `Claim` has them."""
    found: dict[str, tuple[str, int, int, int]] = {}
    for lane, start, end in given:
        if lane not in ENERGY or lane in found:
            raise UsageError(f"--register {lane}: expected import or export, each once")
        for text in (start, end):
            if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text):
                raise UsageError(f"--register {lane}: {text!r} is not a register in kWh, such as 12345.678")
        mwh = [int(Decimal(text) * MWH_PER_KWH) for text in (start, end)]
        # The coarser of the two, should they be written with other digits.
        digit = max(int(Decimal(1).scaleb(6 - len(text.partition(".")[2]))) for text in (start, end))
        found[lane] = (lane, mwh[0], mwh[1], digit)
    return tuple(found.values())
