"""TIC frames of the forms that real meters send; numbers that would identify somebody are made up."""

from __future__ import annotations

# The check characters of the groups below are those that meters sent.
HISTORIQUE_GROUPS = [
    b"OPTARIF HC.. <",
    b"ISOUSC 45 ?",
    b"HCHC 010956910 %",
    b"HCHP 016779643 >",
    b"PTEC HP..  ",
    b"IINST 021 Z",
    b"IMAX 047 J",
    b"PAPP 04860 3",
    b"HHPHC A ,",
    b"MOTDETAT 000000 B",
]
STANDARD_GROUPS = [
    b"VTIC\t02\tJ",
    b"DATE\tH190323161039\t\tG",
    b"EAST\t006231973\t.",
    b"EASF02\t000000000\t#",
    b"EASD02\t000000000\t!",
    b"URMS1\t235\tD",
    b"SINSTS\t01163\tQ",
    b"SMAXSN\tE200426132229\t06100\t2",
    b"CCASN-1\tH190323153000\t00084\t ",
    b"STGE\t003A0001\t:",
    b"RELAIS\t000\tB",
    b"NJOURF+1\t00\tB",
]


def framed(groups: list[bytes]) -> bytes:
    """A frame of groups that have their check characters."""
    return b"\x02" + b"".join(b"\n" + group + b"\r" for group in groups) + b"\x03"


HISTORIQUE = framed(HISTORIQUE_GROUPS)
STANDARD = framed(STANDARD_GROUPS)
