"""Server-sent events survive any way of being cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftchaos.errors import RaftchaosError
from raftchaos.model.event_stream import LINE, Decoder, Message, encode, heartbeat

WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)
TEXTS = st.lists(WORDS, min_size=1, max_size=3).map("\n".join).filter(bool)


@given(st.lists(TEXTS, max_size=5), st.integers(1, 40))
def test_whatever_is_written_is_read(texts: list[str], size: int) -> None:
    messages = [Message("taskStatus", text, f"{number}-0") for number, text in enumerate(texts)]
    data = heartbeat("9-9") + b"".join(encode(message) + heartbeat("10-0") for message in messages)
    decoder = Decoder()
    found = [message for at in range(0, len(data), size) for message in decoder.feed(data[at : at + size])]
    assert found == messages
    assert decoder.place == ("10-0" if messages else "9-9")


def test_foreign_line_ends_and_fields_are_understood() -> None:
    decoder = Decoder()
    assert decoder.feed(b"retry: 5\r\nid: 7-0\r\ndata:a\r\ndata: b\r\n\r\n") == [Message("message", "a\nb", "7-0")]


def test_an_endless_line_is_refused() -> None:
    decoder = Decoder()
    decoder.feed(b"x" * LINE)
    with pytest.raises(RaftchaosError, match="more than"):
        decoder.feed(b"x")
