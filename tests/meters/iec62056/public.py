"""Telegrams and answers of the forms that real meters send; their sources are in the profiles. Numbers that
would identify somebody are made up."""

from __future__ import annotations

LOGAREX = (
    b"/LOG5LK13BE803049\r\n\r\n1-0:96.1.0*255(001LOG0060000000)\r\n1-0:1.8.0*255(000123.4567*kWh)\r\n"
    b"1-0:1.8.0*96(00012.3*kWh)\r\n1-0:1.8.0*99(00999.9*kWh)\r\n1-0:1.8.1*255(000100.0000*kWh)\r\n"
    b"1-0:1.8.2*255(000023.4567*kWh)\r\n1-0:2.8.0*255(000001.0000*kWh)\r\n1-0:16.7.0*255(-00350*W)\r\n"
    b"1-0:32.7.0*255(230.1*V)\r\n1-0:0.2.0*255(ver.03,432F,20170504)\r\n!\r\n"
)
EBZ = (
    b"/EBZ5DD32R06ETA_107\r\n\r\n1-0:0.0.0*255(1EBZ0100000123)\r\n1-0:96.1.0*255(1EBZ0100000123)\r\n"
    b"1-0:1.8.0*255(002714.12830185*kWh)\r\n1-0:2.8.0*255(000001.20600000*kWh)\r\n"
    b"1-0:16.7.0*255(000211.26*W)\r\n1-0:36.7.0*255(000157.64*W)\r\n1-0:96.5.0*255(001C0104)\r\n"
    b"0-0:96.8.0*255(02FAB8BF)\r\n!\r\n"
)
EBZ_WITHOUT_PIN = (
    b"/EBZ5DD3BZ06ETA_107\r\n\r\n1-0:0.0.0*255(1EBZ0100000123)\r\n1-0:1.8.0*255(0010001*kWh)\r\n!\r\n"
)
Q3D = (
    b"/ESY5Q3DA1024 V3.03\r\n\r\n1-0:0.0.0*255(112940000)\r\n1-0:1.8.0*255(00001013.0368091*kWh)\r\n"
    b"1-0:2.8.0*255(00000376.0128508*kWh)\r\n1-0:21.7.255*255(000046.04*W)\r\n"
    b"1-0:41.7.255*255(-000122.30*W)\r\n1-0:61.7.255*255(000079.03*W)\r\n1-0:1.7.255*255(000002.77*W)\r\n"
    b"1-0:96.5.5*255(82)\r\n0-0:96.1.255*255(1ESY1233000000)\r\n!\r\n"
)
# Its block check character is 0x19.
MT174 = (
    b"\x021-0:0.9.2*255(0220127)\r\n1-0:0.9.1*255(105644)\r\n1-0:1.8.0*255(0000502.853*kWh)\r\n"
    b"1-0:2.8.0*255(0098697.318*kWh)\r\n!\r\n\x03\x19"
)
# Its block check character is 1.
E350 = (
    b"\x02F.F(00)\r\n0.0(          120858)\r\nC.1.0(13647123)\r\nC.1.1(        )\r\n1.8.1(042951.721*kWh)\r\n"
    b"1.8.2(018609.568*kWh)\r\n2.8.1(000000.302*kWh)\r\n2.8.2(000010.188*kWh)\r\n1.8.0(061561.289*kWh)\r\n"
    b"2.8.0(000010.490*kWh)\r\n15.8.0(061571.780*kWh)\r\nC.7.0(0008)\r\n32.7(241*V)\r\n52.7(243*V)\r\n"
    b"72.7(242*V)\r\n31.7(000.35*A)\r\n51.7(000.52*A)\r\n71.7(000.47*A)\r\n82.8.1(0000)\r\n82.8.2(0000)\r\n"
    b"0.2.0(M26)\r\nC.5.0(0401)\r\n!\r\n\x03\x01"
)
# What an MT382 lists, with tariffs that are each cut at 10 Wh.
MT382 = (
    "0-0:96.1.1(3134000000000000000000000037)\r\n1-0:0.9.2(210528)\r\n1-0:0.9.1(215658)\r\n"
    "1-0:1.7.0(001.322*kW)\r\n1-0:2.7.0(000.000*kW)\r\n1-0:1.8.0(010192.57*kWh)\r\n1-0:1.8.1(006094.31*kWh)\r\n"
    "1-0:1.8.2(001410.19*kWh)\r\n1-0:1.8.3(000981.30*kWh)\r\n1-0:1.8.4(001706.76*kWh)\r\n1-0:1.8.5(000000.00*kWh)\r\n"
)


def with_even_parity(text: bytes) -> bytes:
    """Characters of seven bits and even parity, as a port set to eight bits hears them."""
    return bytes(octet | (octet.bit_count() & 1) << 7 for octet in text)
