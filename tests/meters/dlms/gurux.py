"""Gurux' DLMS client, an independent implementation, on a real connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from gurux_dlms.enums import AccessMode, Authentication, Conformance, DataType, InterfaceType, Security
from gurux_dlms.GXByteBuffer import GXByteBuffer
from gurux_dlms.GXDateTime import GXDateTime
from gurux_dlms.GXReplyData import GXReplyData
from gurux_dlms.objects import (
    GXDLMSClock,
    GXDLMSData,
    GXDLMSDisconnectControl,
    GXDLMSProfileGeneric,
    GXDLMSRegister,
)
from gurux_dlms.secure import GXDLMSSecureClient

from gateway.meters.dlms.application import association
from gateway.simulate.dlms import Framing
from gateway.simulate.dlms_server import Policy

_MECHANISMS = {
    association.NONE: Authentication.NONE,
    association.LLS: Authentication.LOW,
    association.HLS5: Authentication.HIGH_GMAC,
}
_SECURITY = {
    0: Security.NONE,
    0x10: Security.AUTHENTICATION,
    0x20: Security.ENCRYPTION,
    0x30: Security.AUTHENTICATION_ENCRYPTION,
}


class Gurux:
    """A client that `policy` lets in; `general`: with general-glo-ciphering. What it is refused is an
    exception of its own. Its general-block-transfer is not whole (it lacks a `blockNumber`)."""

    def __init__(
        self,
        policy: Policy,
        framing: Framing,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        first_counter: int = 1,
        general: bool = False,
        address: int = 1,
    ) -> None:
        self._reader, self._writer = reader, writer
        interface = InterfaceType.WRAPPER if framing == "wrapper" else InterfaceType.HDLC
        self._client = client = GXDLMSSecureClient(
            True, address, 1, _MECHANISMS[policy.mechanism], policy.password, interface
        )
        client.ciphering.systemTitle = b"GURUXTST"
        if policy.keys is not None:
            client.ciphering.blockCipherKey = policy.keys.encryption
            client.ciphering.authenticationKey = policy.keys.authentication
        client.ciphering.security = _SECURITY[policy.protection]
        client.ciphering.invocationCounter = first_counter
        if general:
            client.proposedConformance |= Conformance.GENERAL_PROTECTION
        self.exchanges = 0

    async def associate(self) -> None:
        client = self._client
        if snrm := client.snrmRequest():
            client.parseUAResponse((await self._send(snrm)).data)
        client.parseAareResponse((await self._send(client.aarqRequest())).data)
        if client.getIsAuthenticationRequired():
            answer = await self._send(client.getApplicationAssociationRequest())
            client.parseApplicationAssociationResponse(answer.data)

    async def data(self, name: str) -> Any:
        return await self._read(GXDLMSData(name), 2)

    async def register(self, name: str) -> tuple[Any, Any, Any]:
        """Its value, scaler and unit."""
        register = GXDLMSRegister(name)
        await self._read(register, 3)
        value = await self._read(register, 2)
        return value, register.scaler, int(register.unit)

    async def clock(self) -> Any:
        return await self._read(GXDLMSClock("0.0.1.0.0.255"), 2)

    async def set_clock(self, moment: datetime) -> None:
        clock = GXDLMSClock("0.0.1.0.0.255")
        clock.time = GXDateTime(moment)
        for request in self._client.write(clock, 2):
            await self._send(request)

    async def connected(self) -> Any:
        return await self._read(GXDLMSDisconnectControl("0.0.96.3.10.255"), 2)

    async def disconnect_home(self) -> None:
        switch = GXDLMSDisconnectControl("0.0.96.3.10.255")
        for request in switch.remoteDisconnect(self._client):
            await self._send(request)

    async def reconnect_home(self) -> None:
        switch = GXDLMSDisconnectControl("0.0.96.3.10.255")
        for request in switch.remoteReconnect(self._client):
            await self._send(request)

    async def switch(self) -> tuple[Any, int, int]:
        """Its output state, control state and control mode."""
        switch = GXDLMSDisconnectControl("0.0.96.3.10.255")
        output, state, mode = [await self._read(switch, attribute) for attribute in (2, 3, 4)]
        return output, int(state), int(mode)

    async def profile(self, first: datetime | None = None, last: datetime | None = None) -> list[Any]:
        profile = GXDLMSProfileGeneric("1.0.99.1.0.255")
        await self._read(profile, 3)
        if first is None:
            await self._read(profile, 2)
            rows: list[Any] = profile.buffer
            return rows
        reply = await self._send(self._client.readRowsByRange(profile, first, last))
        selected: list[Any] = self._client.updateValue(profile, 2, reply.value)
        return selected

    async def period(self) -> Any:
        return await self._read(GXDLMSProfileGeneric("1.0.99.1.0.255"), 4)

    async def objects(self) -> list[Any]:
        """The object list of the association, as the objects that Gurux makes of it."""
        reply = await self._send(self._client.getObjectsRequest())
        found: list[Any] = self._client.parseObjects(reply.data, True)
        return found

    async def attributes(self, item: Any) -> dict[int, Any]:
        """What the object's readable attributes hold, by their numbers, and each of the type that Gurux
        expects of it."""
        held = {}
        for index in range(item.getAttributeCount(), 0, -1):  # a profile's columns before its rows
            if int(item.getAccess(index)) == int(AccessMode.NO_ACCESS):
                continue
            reply = await self._send(self._client.read(item, index))
            came, due = bytes(reply.data.array())[0], int(item.getDataType(index))
            if (int(item.objectType), index) == (7, 6):
                due = 2  # a structure in the Blue Book, and where Gurux encodes it
            if due not in {int(DataType.NONE), came}:
                raise TypeError(f"{item.logicalName} {index} is of type {came} instead of {due}")
            held[index] = self._client.updateValue(item, index, reply.value)
        return held

    async def release(self) -> None:
        await self._send(self._client.releaseRequest())
        if request := self._client.disconnectRequest():
            await self._send(request)

    async def _read(self, item: Any, attribute: int) -> Any:
        reply = await self._send(self._client.read(item, attribute))
        if reply.valueType and not isinstance(item, GXDLMSProfileGeneric):
            item.setDataType(attribute, reply.valueType)
        return self._client.updateValue(item, attribute, reply.value)

    async def _send(self, requests: Any) -> Any:
        reply = GXReplyData()
        for request in requests if isinstance(requests, list) else [requests]:
            reply.clear()
            await self._one(request, reply)
            while reply.isMoreData():
                await self._one(self._client.receiverReady(reply), reply)
        if reply.error:
            raise RuntimeError(f"error {reply.error}")
        return reply

    async def _one(self, request: bytes, reply: Any) -> None:
        self.exchanges += 1
        self._writer.write(bytes(request))
        came = GXByteBuffer()
        while not self._client.getData(came, reply):
            data = await asyncio.wait_for(self._reader.read(4096), 10)
            assert data, "the meter hung up"
            came.set(data)


@asynccontextmanager
async def gurux(
    policy: Policy,
    framing: Framing,
    port: int,
    first_counter: int = 1,
    *,
    general: bool = False,
    address: int = 1,
) -> AsyncIterator[Gurux]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Gurux(policy, framing, reader, writer, first_counter, general, address)
    finally:
        writer.close()
        await writer.wait_closed()
