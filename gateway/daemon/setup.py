"""The setup: reads, tries and writes the gateway's configuration for who asks at the control socket.

A gateway that has none yet, or none that it can run with, waits for one here, and nothing else of it runs. A
new configuration is checked as a whole, and written so that a power cut leaves the old one or the new one;
then the gateway goes on under it. Secrets go into files beside it, which the gateway alone can read, and are
never read back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from gateway.config import Config
from gateway.config.check import mistakes_in
from gateway.config.mistakes import sentences
from gateway.config.section import Load
from gateway.config.wiring import endpoints, explained, may_need_keys
from gateway.control.documents import Document
from gateway.control.setup import (
    ConfigurationOrder,
    ConfigurationStatus,
    Finding,
    FoundMeter,
    MeterProfile,
    SearchAnswer,
    SearchOrder,
    TrialOrder,
    digest_of,
)
from gateway.daemon.answers import answer, answers, errors, json_of, serve_at
from gateway.daemon.doctor import Diagnosis, examine, examine_meter, examine_root, examine_store
from gateway.errors import MeterError, Refused, Unavailable, UsageError
from gateway.host.files import sync_folder, write_durably
from gateway.meters.endpoint import SerialSettings, Tcp
from gateway.meters.profile import Profile, load_profiles
from gateway.meters.search import Search

SECRETS = "secrets"
"""The folder of the configuration's secrets, beside it."""
_WHOLE = "gateway.toml"
"""The file among secrets that wait to be put in their place; theirs have no dot."""
_SECRET_NAME = re.compile("[a-z0-9][a-z0-9-]{0,63}")
_MOST_SECRET = 10_000
_ANY_STORE = {"url": "/var/lib/gateway"}
_ANY_METER = {"name": "main", "profile": "eastron-sdm630", "tcp": {"host": "192.0.2.1"}}  # RFC 5737
_SERIAL = Path("/dev/serial/by-id")
_log = logging.getLogger(__name__)


class Setup:
    """The configuration file at `path`, and what is asked about it. `changed` is called once another one was
    written. One whose writing was cut off is put in its place; UsageError where that cannot be."""

    def __init__(self, path: Path, changed: Callable[[], None] = lambda: None) -> None:
        self._path = path.absolute()
        self._next = self._path.with_name(f".{SECRETS}.next")
        self._changed = changed
        self._writing = asyncio.Lock()
        try:
            self._finish()
        except OSError as error:
            raise UsageError(f"{self._next} cannot be put in its place: {error.strerror}") from None
        self._written = asyncio.Event()
        self._searching = asyncio.Lock()

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` from now on."""
        self._changed = changed

    def routes(self) -> list[web.RouteDef]:
        """What the control API answers about it."""
        return [
            web.get("/configuration", self._get_configuration),
            web.put("/configuration", self._put_configuration),
            web.post("/trials", self._post_trial),
            web.post("/searches", self._post_search),
            web.get("/profiles", self._get_profiles),
            web.get("/doctor", self._get_doctor),
        ]

    async def wait(self, socket: Path, why: str | None = None) -> None:
        """Answer at the control socket until a configuration is written. All else that is asked there is
        Unavailable: the gateway is not set up, or it cannot run for the reason `why`."""
        self._written.clear()

        async def not_yet(request: web.Request) -> web.StreamResponse:
            if why is not None:
                raise Unavailable(f"the gateway cannot run: {why}")
            raise Unavailable("the gateway is not set up yet: Setup on its page goes on with that")

        app = web.Application(middlewares=[errors])
        app.add_routes(self.routes())
        app.router.add_route("*", "/{path:.*}", not_yet)
        serving = asyncio.create_task(serve_at(app, socket))
        written = asyncio.create_task(self._written.wait())
        try:
            await asyncio.wait([serving, written], return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            for task in (serving, written):
                task.cancel()
            await asyncio.gather(serving, written, return_exceptions=True)

    def status(self) -> ConfigurationStatus:
        """The configuration as it is."""
        writable = os.access(self._path.parent, os.W_OK)
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ConfigurationStatus(path=str(self._path), text=None, writable=writable)
        except (OSError, UnicodeDecodeError) as error:
            why = f"{self._path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}"
            return ConfigurationStatus(path=str(self._path), text=None, mistakes=(why,), writable=writable)
        mistakes = mistakes_in(text, self._path)
        return ConfigurationStatus(path=str(self._path), text=text, mistakes=mistakes, writable=writable)

    async def write(self, order: ConfigurationOrder) -> ConfigurationStatus:
        """Check a configuration, and write it with its secrets, unless it is a dry run or has mistakes: the
        answer has these. UsageError for a secret's name that cannot be, and where nothing can be written;
        Refused where the file is not the one that it replaces."""
        _check_secrets(order.secrets)
        async with self._aside(order.secrets) as file:
            mistakes = tuple(one.replace(str(file), str(self._path)) for one in mistakes_in(order.text, file))
        mistakes = mistakes or self._moved(order.text)
        writable = os.access(self._path.parent, os.W_OK)
        if not mistakes and not order.dry_run:
            try:
                async with self._writing:
                    present = await asyncio.to_thread(self.status)
                    if order.replaces not in (None, digest_of(present.text)):
                        raise Refused(
                            "the configuration was changed by somebody else meanwhile, and nothing was "
                            "written: look at it again"
                        )
                    await asyncio.to_thread(self._write, order)
            except OSError as error:
                raise UsageError(
                    f"{self._path} cannot be written by the gateway: {error.strerror}; change it by hand"
                ) from None
            _log.warning(
                "another configuration was written at the control socket: the gateway goes on under it"
            )
            self._written.set()
            self._changed()
        return ConfigurationStatus(
            path=str(self._path), text=order.text, mistakes=mistakes, writable=writable
        )

    async def try_part(self, order: TrialOrder) -> Finding:
        """Try a part as it would be configured; what is wrong with it is in the finding."""
        _check_secrets(order.secrets)
        async with self._aside(order.secrets) as file:
            raw: dict[str, Any] = {"store": _ANY_STORE, "meter": [_ANY_METER]}
            raw[order.part] = [order.section] if order.part == "meter" else order.section
            try:
                config = Config.model_validate(raw, context=Load(file))
                endpoints(config.meter)
            except ValidationError as error:
                wrong = [one.removeprefix(f"{file}: ") for one in sentences(file, raw, Config, error)]
                return Finding(part=order.part, ok=False, sentence="\n".join(wrong), sealing=False)
            except UsageError as error:
                return Finding(part=order.part, ok=False, sentence=str(error), sealing=False)
            if order.part == "trust":
                return _finding(await examine_root(config))
            if order.part == "store":
                return _finding(await examine_store(config))
            diagnosis, registers = await examine_meter(config.meter[0], config)
            told = diagnosis.sentence.replace(f"{file.parent / SECRETS}/", "")  # a folder that is gone then
            return _finding(replace(diagnosis, sentence=told), registers)

    async def search(self, order: SearchOrder) -> SearchAnswer:
        """Search for meters. Unavailable while another search is under way."""
        if self._searching.locked():
            raise Unavailable("a search for meters is under way already: wait until it ends")
        async with self._searching:
            search = Search(load_profiles()[0])
            ids = range(1, order.most_ids + 1)
            try:
                if order.host is not None:
                    await search.address(Tcp(order.host, order.port), rtu=False, ids=ids)
                else:
                    await search.port(str(order.device), ids=ids)
            except MeterError as error:
                return SearchAnswer(found=(), sentence=str(explained(error)), ports=_ports())
        found = _found(search, order)
        sentence = "" if found else _nothing(search)
        return SearchAnswer(found=found, sentence=sentence, ports=_ports())

    async def _get_configuration(self, request: web.Request) -> web.Response:
        return answer(await asyncio.to_thread(self.status))

    async def _put_configuration(self, request: web.Request) -> web.Response:
        return answer(await self.write(ConfigurationOrder.parse(await json_of(request, "the configuration"))))

    async def _post_trial(self, request: web.Request) -> web.Response:
        return answer(await self.try_part(TrialOrder.parse(await json_of(request, "the trial"))))

    async def _post_search(self, request: web.Request) -> web.Response:
        return answer(await self.search(SearchOrder.parse(await json_of(request, "the search"))))

    async def _get_profiles(self, request: web.Request) -> web.Response:
        profiles, _ = await asyncio.to_thread(load_profiles)
        return answers(_profile(profile) for profile in profiles)

    async def _get_doctor(self, request: web.Request) -> web.Response:
        config = await asyncio.to_thread(Config.load, self._path)
        found: list[Document] = [_finding(diagnosis) async for diagnosis in examine(config)]
        return answers(found)

    def _moved(self, text: str) -> tuple[str, ...]:
        """A sentence where a configuration without mistakes puts the socket elsewhere than the present one
        does: who asks here would not find the gateway again, to correct that."""
        try:
            present = Config.load(self._path).gateway.socket
        except UsageError:
            return ()
        wanted = Config.model_validate(tomllib.loads(text), context=Load(self._path)).gateway.socket
        if wanted == present:
            return ()
        return (
            f"{self._path}: [gateway] socket is {str(wanted)!r}, and whoever writes this asks at {present}: "
            "leave that, or change it by hand",
        )

    @asynccontextmanager
    async def _aside(self, secrets: Mapping[str, str]) -> AsyncIterator[Path]:
        """The file's path; with new secrets, that of a file in another folder, which has all secrets."""
        if not secrets:
            yield self._path
            return
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp))
        try:
            await asyncio.to_thread(self._copy_secrets, folder / SECRETS, secrets)
            yield folder / self._path.name
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _copy_secrets(self, folder: Path, secrets: Mapping[str, str]) -> None:
        folder.mkdir(mode=0o700)
        with suppress(FileNotFoundError):
            for file in (self._path.parent / SECRETS).iterdir():
                write_durably(folder / file.name, file.read_bytes())
        for name, text in secrets.items():
            write_durably(folder / name, text.encode())

    def _write(self, order: ConfigurationOrder) -> None:
        """All of it aside first, so that a cut, or a full disk, leaves no old file beside a new secret."""
        aside = self._path.with_name(f".{SECRETS}.new")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(mode=0o700)
        for name, text in order.secrets.items():
            write_durably(aside / name, text.encode())
        write_durably(aside / _WHOLE, order.text.encode(), mode=0o640)
        aside.replace(self._next)
        sync_folder(self._path.parent)
        self._finish()

    def _finish(self) -> None:
        """Put what was written aside in its place, the file itself last; also after a cut."""
        if not self._next.is_dir():
            return
        folder = self._path.parent / SECRETS
        for file in self._next.iterdir():
            if file.name != _WHOLE:
                folder.mkdir(mode=0o700, exist_ok=True)
                file.replace(folder / file.name)
        if folder.is_dir():
            sync_folder(folder)
        with suppress(FileNotFoundError):
            (self._next / _WHOLE).replace(self._path)
        sync_folder(self._path.parent)
        self._next.rmdir()


def _check_secrets(secrets: Mapping[str, str]) -> None:
    for name, text in secrets.items():
        if not _SECRET_NAME.fullmatch(name):
            raise UsageError(f"a secret's name has a to z, 0 to 9 and -, and not {name!r}")
        try:
            length = len(text.encode())
        except UnicodeEncodeError:  # halves of characters, which JSON can spell
            raise UsageError(f"the secret {name} is not text") from None
        if length > _MOST_SECRET:
            raise UsageError(f"the secret {name} is longer than {_MOST_SECRET} bytes")


def _finding(diagnosis: Diagnosis, registers: Mapping[str, int] | None = None) -> Finding:
    return Finding(
        part=diagnosis.part,
        ok=diagnosis.ok,
        sentence=diagnosis.sentence,
        sealing=diagnosis.sealing,
        registers=None if registers is None else dict(registers),
    )


def _profile(profile: Profile) -> MeterProfile:
    return MeterProfile(
        profile=profile.id,
        products=(*profile.products, *profile.also),
        protocol=profile.protocol,
        lanes=profile.lanes,
        serial=profile.serial is not None,
        tcp_port=profile.tcp_port,
        keys=may_need_keys(profile),
        modbus=profile.on_modbus,
    )


def _settings(serial: SerialSettings) -> dict[str, int | str]:
    """A serial port's settings as a [[meter]] has them."""
    return {"baudrate": serial.baud, "parity": serial.parity[0].upper(), "stopbits": serial.stop_bits}


def _ports() -> tuple[str, ...]:
    """The serial ports of this machine, by the names that stay the same when adapters are replugged."""
    with suppress(OSError):
        return tuple(sorted(str(path) for path in _SERIAL.iterdir()))
    return ()


def _found(search: Search, order: SearchOrder) -> tuple[FoundMeter, ...]:
    found = []
    for settings, heard in search.heard:
        if heard.profiles:
            best = sorted(heard.profiles, key=lambda profile: -len(heard.profiles[profile]))
            lanes = ", ".join(sorted(heard.profiles[best[0]]))
            found.append(
                FoundMeter(profiles=tuple(best), sentence=f"sends {lanes}", section=_place(order, settings))
            )
    for one in search.found:
        profiles = tuple(candidate.profile for candidate in one.candidates)
        line = getattr(one.bus.endpoint, "settings", None)
        section = _place(order, line) | {"unit_id": one.device_id}
        sentence = one.candidates[0].sentence if one.candidates else "it answers, but no profile fits"
        found.append(FoundMeter(profiles=profiles, sentence=sentence, section=section))
    return tuple(found)


def _place(order: SearchOrder, settings: SerialSettings | None) -> dict[str, Any]:
    """The tables of a [[meter]] that say where it is."""
    if order.host is not None:
        return {"tcp": {"host": order.host, "port": order.port}}
    serial: dict[str, Any] = {"device": order.device}
    if settings is not None:
        serial |= _settings(settings)
    return {"serial": serial}


def _nothing(search: Search) -> str:
    if search.heard:
        heard = search.heard[0][1]
        why = heard.problem or "they may be encrypted, and need the meter's keys"
        return f"{heard.octets} bytes arrived that no profile can decode: {why}"
    return "nothing answers, and nothing is heard: check the wiring, and the meter's own settings"
