"""What answers at the control socket: JSON documents, errors as documents too, at a socket that is nobody
else's."""

from __future__ import annotations

import asyncio
import grp
import json
import os
import pwd
import socket
import stat
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from aiohttp import web

from gateway.control.documents import Document, ErrorAnswer
from gateway.errors import GatewayError, NotFound, Unavailable, UsageError
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import Stream


@web.middleware
async def errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer an error with its document."""
    try:
        return await handler(request)
    except GatewayError as error:
        status = 503 if isinstance(error, Unavailable) else 404 if isinstance(error, NotFound) else 400
        return answer(ErrorAnswer.of(error), status)
    except web.HTTPException as refusal:
        sentence = f"the gateway does not accept {request.method} {request.path}: {refusal.reason}"
        return answer(ErrorAnswer.of(UsageError(sentence)), refusal.status)


async def serve_at(app: web.Application, path: Path) -> None:
    """Answer at the socket `path` until cancelled. A socket that an earlier run left behind is replaced;
    UsageError for one at which another gateway answers."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        listener = _listen(path)
        await web.SockSite(runner, listener).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def json_of(request: web.Request, what: str, loads: Callable[[str], object] = json.loads) -> object:
    """The JSON of a request; UsageError, which names `what` it was to be, where it is none."""
    try:
        return await request.json(loads=loads)
    # A LookupError where its charset is unknown, an ArithmeticError where an exponent is too long.
    except (ValueError, LookupError, RecursionError, ArithmeticError):
        raise UsageError(f"{what} is not JSON") from None


def hex_id(text: str, whose: str) -> bytes:
    """An id of 16 bytes in hexadecimal; UsageError, which says `whose` it was to be, where it is none."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise UsageError(f"{text!r} is not {whose} id: expected 32 hexadecimal digits") from None


async def stream_of(ledger: Ledger, meter: str | None) -> Stream:
    """The stream of the meter of this name, or the only one; UsageError where there is none or a choice, and
    Unavailable where none has begun."""
    streams = await ledger.streams()
    found = [stream for stream in streams if meter in (None, stream.meter)]
    if len(found) == 1:
        return found[0]
    if not streams:
        raise Unavailable("no stream has begun yet; `gateway status` says when it begins")
    names = ", ".join(stream.meter for stream in streams)
    if meter is None:
        raise UsageError(f"there are several meters; choose one with --meter: {names}")
    raise UsageError(f"meter {meter!r} has no stream; meters with a stream: {names}")


def answer(document: Document, status: int = 200) -> web.Response:
    """A document as the answer."""
    return web.json_response(document.model_dump(exclude_unset=True), status=status)


def answers(documents: Iterable[Document]) -> web.Response:
    """A list of documents as the answer."""
    return web.json_response([document.model_dump(exclude_unset=True) for document in documents])


def check_free(path: Path) -> None:
    """UsageError unless a control socket can be opened at `path`: nothing is there, or a socket that nobody
    serves any longer."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)  # it is served also where more wait to be answered than fit
        try:
            asking.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:  # by a file of any other kind too
            if stat.S_ISSOCK(path.lstat().st_mode):
                return
            raise _not_opened(path, "there is a file of another kind") from None
        except BlockingIOError:
            pass
        except OSError as error:
            raise _not_opened(path, error.strerror) from None
    raise UsageError(
        f"another gateway answers at the control socket {path}: stop it, or give this one a socket of its own"
    )


def _not_opened(path: Path, why: str | None) -> UsageError:
    return UsageError(f"the control socket {path} cannot be opened: {why}")


def _listen(path: Path) -> socket.socket:
    check_free(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        # Before bind: between bind and a later chmod anybody could connect.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(str(path))
        if _own_group():
            path.chmod(0o660)
    except OSError as error:
        listener.close()
        raise _not_opened(path, error.strerror) from None
    return listener


def _own_group() -> bool:
    """Whether the process's group is its user's own, such as gateway's, and not one of all users."""
    try:
        return grp.getgrgid(os.getegid()).gr_name == pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
