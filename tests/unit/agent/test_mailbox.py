"""Messages of other peers: what fits is passed on, everything else is dropped and counted."""

from __future__ import annotations

from typing import Any

import pytest

from raftchaos.agent.mailbox import UNREADABLE, Mailbox

FIELDS = {"count": int, "text": str, "flag": bool, "names": list}
GOOD: dict[str, Any] = {"type": "note", "count": 3, "text": "hello", "flag": True, "names": ["a", "b"]}


class Log:
    """What the mailbox uses of a replicated log."""

    def on_message(self, handler: Any) -> None:
        self.handler = handler


@pytest.fixture
def box() -> tuple[Mailbox, Any, list[tuple[str, dict[str, Any]]]]:
    log = Log()
    mailbox, taken = Mailbox(log), []
    mailbox.register("note", FIELDS, lambda sender, message: taken.append((sender, message)))
    return mailbox, log, taken


@pytest.mark.parametrize("message", [GOOD, GOOD | {"names": ("a",)}, GOOD | {"added": 1}, GOOD | {"names": []}])
def test_a_message_that_fits_is_passed_on_with_its_sender(box: Any, message: dict[str, Any]) -> None:
    mailbox, log, taken = box
    log.handler("b", message)
    assert taken == [("b", message)]
    assert mailbox.received["note"] == 1


@pytest.mark.parametrize(
    "message",
    [
        {"type": "note"},
        GOOD | {"count": True},
        GOOD | {"count": -1},
        GOOD | {"count": 2**63},
        GOOD | {"count": 1.0},
        GOOD | {"text": b"hello"},
        GOOD | {"text": "x" * 5_000},
        GOOD | {"flag": 1},
        GOOD | {"names": "ab"},
        GOOD | {"names": [1]},
        GOOD | {"names": ["a"] * 1_001},
    ],
)
def test_a_message_of_the_wrong_shape_is_dropped_and_counted(box: Any, message: dict[str, Any]) -> None:
    mailbox, log, taken = box
    log.handler("b", message)
    assert taken == []
    assert mailbox.dropped == {"note": 1}


@pytest.mark.parametrize("message", [{}, {"type": "unheard"}, {"type": 7}, {"type": ["note"]}, "note", None, [GOOD]])
def test_what_has_no_known_type_is_counted_together(box: Any, message: Any) -> None:
    mailbox, log, _ = box
    log.handler("b", message)
    assert mailbox.dropped == {UNREADABLE: 1}


def test_a_type_is_registered_once_and_with_fields_that_can_be_checked(box: Any) -> None:
    mailbox, _, _ = box
    with pytest.raises(ValueError, match="already"):
        mailbox.register("note", {}, lambda sender, message: None)
    with pytest.raises(ValueError, match="cannot be checked"):
        mailbox.register("other", {"when": float}, lambda sender, message: None)
