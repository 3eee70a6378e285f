"""Questions and answers of the domain name system (RFC 1035), as much as it takes to replace some. Pure."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

A: Final = 1
AAAA: Final = 28
SERVICE_BINDINGS: Final = (64, 65)
"""SVCB and HTTPS (RFC 9460): they may hold addresses of the name."""
CODES: Final = {"servfail": 2, "nxdomain": 3, "refused": 5}
_HEADER: Final = struct.Struct(">HHHHHH")
_QUERY_MASK: Final = 0xF800
"""QR and opcode: both are zero in an ordinary question."""
_LABEL_MAX: Final = 63
_NAME_MAX: Final = 253


@dataclass(frozen=True, slots=True)
class Question:
    """What a message asks for."""

    number: int
    """The id of the message."""
    flags: int
    name: str
    """In lower case, without the dot at its end; "" for the root."""
    kind: int
    text: bytes
    """The question as it stands in the message."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """Which names get which answers: an error of `CODES`, "timeout" for none, or addresses if `error` is ""."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    error: str
    ttl: int


def parse(message: bytes) -> Question | None:
    """The question of a message; None for whatever is not one ordinary question."""
    if len(message) < _HEADER.size:
        return None
    number, flags, questions, _, _, _ = _HEADER.unpack_from(message)
    if flags & _QUERY_MASK or questions != 1:
        return None
    labels, at = [], _HEADER.size
    while at < len(message) and message[at]:
        size = message[at]
        if size > _LABEL_MAX or at + size >= len(message):
            return None
        labels.append(message[at + 1 : at + 1 + size].decode("latin-1").lower())
        at += 1 + size
    if at + 5 > len(message):
        return None
    kind = int.from_bytes(message[at + 1 : at + 3], "big")
    return Question(number, flags, ".".join(labels), kind, message[_HEADER.size : at + 5])


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns means the name: itself, `*.name` what is below it, `*` every one."""
    name = name.lower().rstrip(".")
    return any(
        pattern in ("*", name) or (pattern.startswith("*.") and name.endswith(pattern[1:])) for pattern in patterns
    )


def replaced(question: Question, by: Replacement) -> bytes | None:
    """The answer in place of the server's; None if the question is to go on to it, b"" if there is to be none.

    With addresses, what asks for other things about the name goes on, service bindings excepted: there are none.
    """
    if not matches(question.name, by.names):
        return None
    if by.error == "timeout":
        return b""
    if by.error:
        return _message(question, CODES[by.error], [])
    if question.kind in (A, AAAA):
        found = [ipaddress.ip_address(text) for text in by.addresses]
        wanted = [each.packed for each in found if (each.version == 4) is (question.kind == A)]
        return _message(question, 0, [_record(question.kind, by.ttl, packed) for packed in wanted])
    return _message(question, 0, []) if question.kind in SERVICE_BINDINGS else None


def _message(question: Question, code: int, records: Sequence[bytes]) -> bytes:
    # A response, recursion available; recursion desired as the question has it.
    flags = 0x8080 | (question.flags & 0x0100) | code
    return _HEADER.pack(question.number, flags, 1, len(records), 0, 0) + question.text + b"".join(records)


def _record(kind: int, ttl: int, data: bytes) -> bytes:
    """Of the name that stands at byte 12: that of the question."""
    return b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data
