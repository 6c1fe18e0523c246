"""What the control API answers about providers' commands."""

from __future__ import annotations

from aiohttp import web

from gateway.control.commands import Act, CommandDecision, CommandDelivery
from gateway.daemon.answers import answer, answers, hex_id, json_of
from gateway.daemon.commander import Commander


class CommandRoutes:
    """The answers about commands, and the cards of those who may give them."""

    def __init__(self, commander: Commander) -> None:
        self._commander = commander

    def routes(self) -> list[web.RouteDef]:
        """What the control API answers about them."""
        return [
            web.get("/cards", self._get_cards),
            web.get("/commands", self._get_commands),
            web.post("/commands", self._post_command),
            web.post("/commands/{id}", self._post_decision),
            web.post("/commands/{id}/acted", self._post_acted),
        ]

    async def _get_cards(self, request: web.Request) -> web.Response:
        return answers(await self._commander.cards())

    async def _get_commands(self, request: web.Request) -> web.Response:
        return answers(await self._commander.statuses())

    async def _post_command(self, request: web.Request) -> web.Response:
        delivery = CommandDelivery.parse(await json_of(request, "the delivery"))
        return answer(await self._commander.receive(delivery.command))

    async def _post_decision(self, request: web.Request) -> web.Response:
        decided = CommandDecision.parse(await json_of(request, "the decision"))
        command = hex_id(request.match_info["id"], "a command's")
        if decided.decision == "end":
            return answer(await self._commander.end(command))
        return answer(await self._commander.decide(command, decided.decision == "allow"))

    async def _post_acted(self, request: web.Request) -> web.Response:
        act = Act.parse(await json_of(request, "what was published"))
        return answer(await self._commander.acted(hex_id(request.match_info["id"], "a command's"), act))
