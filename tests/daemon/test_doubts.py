"""A ledger that was restored while the store hides what was sealed since: units are sealed twice, and nobody
learns from that more than each grant opens."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.chain.grant import Grant
from gateway.chain.keys import KeyChain, raw_key, tokens_key
from gateway.chain.layout import Layout
from gateway.chain.prices import Rule, TimeOfUse
from gateway.chain.tariff import Tariff
from gateway.chain.token import BLOCK, incarnation_of, masks
from gateway.chain.token import Sealed as SealedBy
from gateway.chain.windows import GrantWindows
from gateway.control.client import ControlClient
from gateway.control.documents import DoubtStatus, NewGrant
from gateway.errors import LedgerError, TrustError
from gateway.ledger.records import Doubt, GrantRecord
from gateway.wire import names
from gateway.wire.grant import Tokens
from tests.daemon.test_grants import Zones
from tests.daemon.test_issuer import TARIFF
from tests.support.home import Home
from tests.support.provider import Provider
from tests.support.serving import serving
from tests.support.tpm import swtpm

UNIT_MS, LINK = 900_000, 8
DAY = 96
BEGIN_S = datetime(2026, 5, 28, 20, tzinfo=UTC).timestamp()

pytestmark = pytest.mark.slow


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[swtpm]:
    with swtpm(tmp_path / "tpm") as tpm:
        yield tpm


def home_in(folder: Path, tcti: str = "") -> Home:
    """Units of 15 min, links of two hours."""
    return Home(folder, layout=Layout(UNIT_MS, LINK), chunk_units=LINK, start_s=BEGIN_S, tcti=tcti)


@pytest.fixture
def home(tmp_path: Path, tpm: swtpm) -> Home:
    """Its root is in a TPM."""
    return home_in(tmp_path / "home", tpm.tcti)


def copies(home: Home) -> None:
    """Keep a copy of the ledger, and one of the store."""
    home.copies("old")
    shutil.copytree(home.folder / "store", home.folder / "store then")


async def restores(home: Home) -> None:
    """The copy in place of the ledger; and the store shows only what it held when that was made."""
    await home.crash()
    shutil.rmtree(home.folder / "store")
    shutil.copytree(home.folder / "store then", home.folder / "store")
    await home.restores("old")


@dataclass
class Granted:
    """A grant as its parties know it: `chains` are its own keys, and the centre's where it is a load's."""

    provider: Provider
    record: GrantRecord
    grant: Grant
    chains: list[KeyChain]


async def grants(home: Home) -> list[Granted]:
    """One of each kind, from the stream's start on; a load's is the summing service's."""
    wishes: list[tuple[str, dict[str, object]]] = [
        ("1h", {}),
        ("24h", {"kind": "bill", "tariff": TARIFF}),
        ("2h", {"kind": "raw"}),
    ]
    made: list[tuple[Provider, GrantRecord]] = []
    for granularity, wish in wishes:
        provider = Provider(home.clock.now_ms)
        made.append((provider, await home.grants(provider, granularity, from_ms=0, **wish)))
    centre, service = Provider(home.clock.now_ms), Provider(home.clock.now_ms)
    load = NewGrant("load", "1h", "UTC", ("import",), "the street", 0, None)
    cards = [centre.card, service.card]
    pair, _ = await home.granter.new(
        await home.stream(), cards, load, confirmed=True, fingerprints=[card.fingerprint for card in cards]
    )
    made += zip((centre, service), (one.record for one in pair), strict=True)
    await home.publish()
    *found, centres, services = [await granted(home, *one) for one in made]
    services.chains += centres.chains
    return [*found, services]


async def granted(home: Home, provider: Provider, record: GrantRecord) -> Granted:
    key = home.root.public_key
    grant, k_0 = await provider.grant(home.bucket, key, record.stream, record.id, UNIT_MS)
    return Granted(provider, record, grant, [KeyChain(k_0)])


def sent(home: Home, one: Granted, since: int = 0) -> list[Tokens]:
    """The bundles of a grant that left, in whatever life and folder, after the first `since` puts."""
    prefix = names.grants(one.record.stream) + one.record.id.hex()
    return [
        Tokens.read(data, home.root.public_key, key)
        for key, data in home.bucket.puts[since:]
        if key.startswith(prefix) and names.fold_of(key)
    ]


@dataclass
class Places:
    """What was hidden at each place of each keystream; the words by which the grant's own party opens it; and
    which incarnations sealed each window's last unit."""

    hidden: dict[tuple[bytes, int], object] = field(default_factory=dict)
    words: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    incarnations: dict[int, set[int]] = field(default_factory=dict)

    def hides(self, key: bytes, place: int, token: object) -> None:
        assert self.hidden.setdefault((key, place), token) == token, "a place hides two values"

    @property
    def twice(self) -> int:
        """How many windows got two tokens."""
        return sum(len(found) > 1 for found in self.incarnations.values())


def places(home: Home, one: Granted) -> Places:
    """Of all tokens that ever left. AssertionError where a place hides two values."""
    found, width = Places(), one.grant.words
    for bundle in sent(home, one):
        sealed, first = [SealedBy(*pair) for pair in bundle.sealed], bundle.first_window
        end = bundle.end_window(width)
        by = {j: incarnation_of(sealed, j) for j in range(first, end)}
        for j, incarnation in by.items():
            found.incarnations.setdefault(j, set()).add(incarnation)
        keys = {(chain, j): chain.block(j // BLOCK) for chain in one.chains for j in by}
        if isinstance(bundle.words, tuple):
            for (_, j), k_m in keys.items():
                found.hides(raw_key(k_m, j, by[j]), 0, bundle.words[j - first])
            continue
        cuts = bundle.cuts
        table, words = bundle.table(width).tolist(), masks(one.chains[0], sealed, first, end, width, cuts)
        for (_, j), k_m in keys.items():
            for w, token in enumerate(table[j - first]):
                cut = cuts[j - first] if cuts else b""
                found.hides(tokens_key(k_m, by[j], cut), j % BLOCK * width + w, token)
        found.words |= {(j, by[j]): words[j - first].tolist() for j in by}
    return found


@pytest.mark.parametrize("root", ["software", "tpm"])
async def test_no_place_of_a_keystream_hides_two_values(root: str, tmp_path: Path, tpm: swtpm) -> None:
    """Three lives from one copy, whose stores the attacker keeps. With a TPM the owner confirms each."""
    async with home_in(tmp_path / "home", tpm.tcti if root == "tpm" else "") as home:
        await home.runs(20)
        made = await grants(home)
        await home.runs(27, imported=250_000)
        await home.publish()
        copies(home)
        for life in range(3):
            await home.runs(5 + life, imported=120_000 * life + 9)
            await home.crashes_and_starts()
            await home.issuer.confirm_ledger()
            await home.runs(DAY + 3, imported=345_000 + 1000 * life)
            assert await home.publishes_all() == 0
            if life < 2:
                await restores(home)
        for one in made:
            found = places(home, one)
            assert found.twice >= (1 if one.grant.kind == "bill" else 10)
            words = [word for row in found.words.values() for word in row]
            assert len(set(words)) == len(
                words
            )  # a summing service's sums differ by none that it gave before


# --- with a TPM the doubt is known


async def log(home: Home) -> list[str]:
    return [one.detail for one in await home.ledger.audit_log(1000) if one.what == "rollback"]


async def shown(home: Home) -> tuple[DoubtStatus, ...]:
    return (await home.session.status()).doubts


async def with_a_doubt(home: Home) -> tuple[list[Granted], Doubt]:
    """A life after the copy, with a start; then the copy again."""
    await home.runs(20)
    made = await grants(home)
    await home.runs(29)
    await home.publish()
    copies(home)
    await home.crashes_and_starts()
    await home.runs(31)
    assert await home.publishes_all() == 0
    assert await home.ledger.doubt(await home.stream()) is None
    home.clock.pass_s(450)
    await home.restores("old")
    doubt = await home.ledger.doubt(await home.stream())
    assert doubt is not None
    return made, doubt


async def with_a_hidden_life(home: Home) -> tuple[list[Granted], Doubt]:
    """The same, with a store that hides that life."""
    made, doubt = await with_a_doubt(home)
    await restores(home)
    assert await home.ledger.doubt(await home.stream()) == doubt
    return made, doubt


def end_of(home: Home, one: Granted, since: int) -> int:
    """The end of the last window with a token among what left after the first `since` puts; 0 without any."""
    windows = GrantWindows(one.grant)
    ends = [windows.edge(bundle.end_window(one.grant.words)) for bundle in sent(home, one, since)]
    return max(ends, default=0)


async def test_tokens_of_units_in_doubt_wait_for_the_owners_word(home: Home, tmp_path: Path) -> None:
    async with home:
        made, doubt = await with_a_hidden_life(home)
        now, since = home.layout.unit_at(home.clock.wall()), len(home.bucket.puts)
        stream = await home.stream()
        assert doubt.first == (await home.ledger.position(stream)).next_unit < now - 30
        assert doubt.end == now + 1
        for starts in (1, 2):
            await home.runs(2 * DAY)
            assert await home.publishes_all() == 0
            assert all(end_of(home, one, since) <= doubt.first for one in made)
            # Sealing, chunks, pages and heads go on.
            assert (await home.check_energy()).end >= now + starts * 2 * DAY - LINK
            page = await home.ledger.last_page(stream, "day")
            assert page is not None
            assert page.end > doubt.end
            (status,) = await shown(home)
            assert (status.from_ms, status.until_ms) == (doubt.first * UNIT_MS, doubt.end * UNIT_MS)
            assert status.windows_waiting >= starts * (2 * 48 + 24 + 2)
            await home.crashes_and_starts()
            assert len(await log(home)) == 1
        async with serving(home, tmp_path / "s"):
            assert (await ControlClient(tmp_path / "s").confirm_ledger()).doubts == ()
        assert await home.publishes_all() == 0
        stored = await home.check_energy()
        for one in made:
            assert end_of(home, one, since) > now + 3 * DAY
            places(home, one)
        await home.check_grant(made[0].provider, made[0].record, stored)
        assert "the owner confirmed that this ledger is the newest" in (await log(home))[1]
        await home.issuer.confirm_ledger()  # once more changes nothing
        assert len(await log(home)) == 2


async def test_late_tokens_are_folded_into_the_days_whose_pages_are_made(home: Home) -> None:
    async with home:
        made, _ = await with_a_hidden_life(home)
        await home.runs(4 * DAY)  # into June
        await home.issuer.confirm_ledger()
        await home.runs(DAY)
        assert await home.publishes_all() == 0
        store, stream = home.folder / "store", await home.stream()
        for one in made:
            folded = [
                Tokens.read(path.read_bytes(), home.root.public_key, str(path))
                for fold in names.FOLDS[1:]
                for path in (store / names.bundles(stream.id, one.record.id, fold)).glob("*.cose")
            ]
            windows = {j for b in folded for j in range(b.first_window, b.end_window(one.grant.words))}
            assert windows == set(range(len(windows)))
            page = await home.ledger.last_page(stream, "day")
            assert page is not None
            assert GrantWindows(one.grant).edge(len(windows)) >= page.end


async def test_a_grant_is_served_up_to_the_doubt_or_from_its_end_on(home: Home) -> None:
    async with home:
        _, doubt = await with_a_hidden_life(home)
        await home.runs(7)
        past, later = Provider(home.clock.now_ms), Provider(home.clock.now_ms)
        records = [await home.grants(past, "1h", from_ms=0), await home.grants(later, "1h")]
        await home.runs(DAY)
        assert await home.publishes_all() == 0
        assert doubt.first - 4 < end_of(home, await granted(home, past, records[0]), 0) <= doubt.first
        assert (
            end_of(home, await granted(home, later, records[1]), 0)
            > home.layout.unit_at(home.clock.wall()) - 2 * LINK
        )


async def test_a_take_over_ends_the_doubt(home: Home) -> None:
    """The store shows the other copy's life."""
    async with home:
        made, _ = await with_a_doubt(home)
        assert await home.publishes_all() == 1
        assert await shown(home) == ()
        since = len(home.bucket.puts)
        await home.runs(DAY)
        assert await home.publishes_all() == 0
        stored = await home.check_energy()
        for one in made:
            assert end_of(home, one, since) > home.layout.unit_at(home.clock.wall()) - DAY
            places(home, one)
        await home.check_grant(made[0].provider, made[0].record, stored)


async def test_a_store_that_shows_no_later_incarnation_settles_only_what_it_shows(home: Home) -> None:
    """The other copy sealed on in the incarnation that this ledger knows, and then in others, which the store
    hides."""
    async with home:
        await home.runs(20)
        made = await grants(home)
        await home.publish()
        home.copies("old")
        await home.runs(2 * LINK)
        assert await home.publishes_all() == 0
        shutil.copytree(home.folder / "store", home.folder / "store then")
        await home.crashes_and_starts()
        await home.runs(3 * LINK)
        assert await home.publishes_all() == 0
        await restores(home)
        since, before = len(home.bucket.puts), await home.ledger.doubt(await home.stream())
        assert await home.publishes_all() == 1
        after = await home.ledger.doubt(await home.stream())
        assert before is not None
        assert after == before._replace(first=(await home.ledger.position(await home.stream())).next_unit)
        assert after.first >= before.first + LINK
        await home.runs(DAY)
        assert await home.publishes_all() == 0
        assert end_of(home, made[0], since) <= after.first
        assert (await shown(home))[0].windows_waiting > 0


async def test_a_doubt_ends_where_the_gateway_started_before_its_clock_was_right(home: Home) -> None:
    async with home:
        await with_a_doubt(home)
        home.clock.is_trusted = False
        home.clock.step_s(-90 * 86_400)
        await restores(home)
        stream = await home.stream()
        doubt = await home.ledger.doubt(stream)
        assert doubt is not None
        assert doubt.end is None
        assert (await shown(home))[0].until_ms is None
        home.clock.pass_s(3 * UNIT_MS / 1000)
        home.clock.step_s(90 * 86_400)
        home.clock.is_trusted = True
        now = home.layout.unit_at(home.clock.wall())
        assert (await shown(home))[0].until_ms == (now - 3 + 1) * UNIT_MS
        await home.crashes_and_starts()
        assert (await shown(home))[0].until_ms == (now - 3 + 1) * UNIT_MS


async def test_a_revocation_covers_no_token_that_may_be_out(home: Home) -> None:
    """The other copy may have sent tokens up to the start of this one."""
    async with home:
        made, doubt = await with_a_doubt(home)
        revoked = (await home.granter.revoke(made[0].record.id)).record
        assert revoked.revoked_from == doubt.end
        assert await home.publishes_all() == 1
        await home.runs(DAY)
        assert await home.publishes_all() == 0
        (record,) = [one for one in await home.ledger.grants() if one.id == revoked.id]
        await home.check_grant(made[0].provider, record, await home.check_energy())


@pytest.mark.parametrize("what", ["root", "ledger"])
async def test_a_start_that_is_cut_off_anywhere_leaves_no_doubt(home: Home, what: str) -> None:
    """Before the note, between note and step, between step and record, and after it."""
    async with home:
        await home.runs(20)
        drawn = [await home.root.incarnation_counter()]
        cut = 0
        for after in range(100):
            fuse = home.root.fuse if what == "root" else home.database.fuse
            fuse.set(after, None)
            try:
                await home.session_begins()
            except (LedgerError, TrustError):
                cut += 1
            else:
                break
            finally:
                home.mend()
            drawn.append(await home.root.incarnation_counter())
            await home.crashes_and_starts()
            drawn.append(await home.root.incarnation_counter())
            await home.runs(1)
            assert await home.ledger.doubt(await home.stream()) is None
        steps = {b - a for a, b in pairwise(filter(None, drawn))}
        assert steps == {0, 1}  # some cuts came before the step, some after it
        assert cut > 4
        assert await log(home) == []


async def test_a_life_that_the_store_shows_ends_no_doubt_about_an_earlier_one(home: Home) -> None:
    """A ledger in doubt is copied, lives on and is restored. The store shows what was sealed since the second
    copy, and hides what was sealed since the first."""
    async with home:
        made, doubt = await with_a_hidden_life(home)
        await home.runs(2 * LINK)
        assert await home.publishes_all() == 0
        home.copies("in doubt")
        await home.crashes_and_starts()
        await home.runs(2 * LINK + 3)
        assert await home.publishes_all() == 0
        since = len(home.bucket.puts)
        await home.restores("in doubt")
        assert await home.publishes_all() == 1
        await home.runs(DAY)
        assert await home.publishes_all() == 0
        assert all(end_of(home, one, since) <= doubt.first for one in made)
        (status,) = await shown(home)
        assert status.from_ms == doubt.first * UNIT_MS
        await home.issuer.confirm_ledger()
        assert await home.publishes_all() == 0
        assert all(end_of(home, one, since) > doubt.first + DAY for one in made if one.grant.kind != "bill")
        for one in made:
            places(home, one)


@pytest.mark.parametrize("bills", [False, True])
async def test_a_time_zone_that_changes_before_windows_are_issued_again_hides_no_two_values(
    bills: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store gives the chain back and hides the bundles, and the new table cuts the same units otherwise:
    the same incarnation sealed the last unit of either window."""
    zones = Zones()
    monkeypatch.setattr("gateway.chain.window.ZoneInfo", zones)
    prices = TimeOfUse((Rule(31, begin=0, end=720), Rule(30)))
    tariff = Tariff("EUR", 2, "Europe/Berlin", UNIT_MS, {"import": prices})
    wish: dict[str, object] = {"kind": "bill", "tariff": tariff} if bills else {}
    async with home_in(tmp_path / "home") as home:
        await home.runs(20)
        provider = Provider(home.clock.now_ms)
        record = await home.grants(
            provider, "day", zone="Europe/Berlin", from_ms=0, lanes=("import",), **wish
        )
        await home.publish()
        home.copies("old")
        await home.runs(5 * DAY)
        assert await home.publishes_all() == 0
        folder = home.folder / "store" / names.grants(record.stream) / record.id.hex()
        for path in folder.glob("*/*.cose"):
            path.unlink()
        zones.berlin = "Asia/Tokyo"
        await home.restores("old")
        assert await home.publishes_all() == 1
        await home.runs(DAY)
        assert await home.publishes_all() == 0
        one = await granted(home, provider, record)
        ends: dict[int, set[int]] = {}
        for bundle in sent(home, one):
            for j, edge in enumerate(bundle.edges or (), bundle.first_window):
                ends.setdefault(j, set()).add(edge)
        assert sum(len(edges) > 1 for edges in ends.values()) >= 3
        places(home, one)
