"""What the control API answers about standing decisions, and the prices that they follow."""

from __future__ import annotations

from aiohttp import web

from gateway.control.follows import ConfirmRequest, FollowRequest, PricesAnswer, PricesRequest
from gateway.daemon.answers import answer, answers, hex_id, json_of, stream_of
from gateway.daemon.follow_status import follow_answer, follow_status, new_follow
from gateway.daemon.follower import Follower
from gateway.ledger.ledger import Ledger


class FollowRoutes:
    """The answers about standing decisions."""

    def __init__(self, ledger: Ledger, follower: Follower) -> None:
        self._ledger = ledger
        self._follower = follower

    def routes(self) -> list[web.RouteDef]:
        """What the control API answers about them."""
        return [
            web.get("/follows", self._get_follows),
            web.post("/follows", self._post_follow),
            web.post("/follows/{id}", self._post_confirm),
            web.delete("/follows/{id}", self._delete_follow),
            web.post("/prices", self._post_prices),
        ]

    async def _get_follows(self, request: web.Request) -> web.Response:
        return answers([follow_status(one) for one in await self._follower.all()])

    async def _post_follow(self, request: web.Request) -> web.Response:
        wanted = FollowRequest.parse(await json_of(request, "the decision"))
        stream = await stream_of(self._ledger, wanted.meter)
        made, found, checked = await self._follower.follow(
            stream,
            wanted.read_card(),
            new_follow(wanted),
            confirmed=wanted.confirmed,
            fingerprints=wanted.read_fingerprints(),
            dry_run=wanted.dry_run,
        )
        return answer(follow_answer(made, found, checked, stream), 200 if made is None else 201)

    async def _post_confirm(self, request: web.Request) -> web.Response:
        wanted = ConfirmRequest.parse(await json_of(request, "the confirmation"))
        follow = hex_id(request.match_info["id"], "a decision's")
        return answer(follow_status(await self._follower.confirm(follow, wanted.from_ms, wanted.seen)))

    async def _delete_follow(self, request: web.Request) -> web.Response:
        follow = hex_id(request.match_info["id"], "a decision's")
        return answer(follow_status(await self._follower.end(follow)))

    async def _post_prices(self, request: web.Request) -> web.Response:
        series = await self._follower.accept(
            PricesRequest.parse(await json_of(request, "the price series")).series
        )
        return answer(PricesAnswer(provider=series.provider.hex(), serial=series.serial, name=series.name))
