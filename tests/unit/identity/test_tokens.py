"""Tokens: what people carry says everything, what the cluster keeps lets nobody in."""

from __future__ import annotations

import pytest

from raftchaos.errors import UsageError
from raftchaos.identity.tokens import (
    join_token_id,
    matches,
    new_api_token,
    new_join_token,
    proves,
    read_api_token,
    read_join_token,
)

REQUEST = {"name": "node-2", "csr": "…"}


def test_an_api_token_is_recognised_by_its_hash() -> None:
    token, other = new_api_token(), new_api_token()
    found = read_api_token(token.text)
    assert found is not None
    assert found[0] == token.id
    assert matches(found[1], token.digest)
    assert not matches(found[1], other.digest)
    assert token.text not in repr(token)
    for wrong in ("", "rct_1_2", token.text + "x", token.text.upper(), token.text + "\n"):
        assert read_api_token(wrong) is None


def test_a_join_token_proves_one_request_to_one_server() -> None:
    token = new_join_token("a" * 64)
    assert read_join_token(f" {token.text}\n") == token
    assert join_token_id(token.public) == token.id
    proof = token.prove(b"server", REQUEST)
    assert proves(token.public, proof, b"server", REQUEST)
    assert not proves(token.public, proof, b"man in the middle", REQUEST)
    assert not proves(token.public, proof, b"server", {**REQUEST, "csr": "another"})
    assert not proves(new_join_token("a" * 64).public, proof, b"server", REQUEST)
    assert not proves(b"short", proof, b"server", REQUEST)
    assert not proves(token.public, b"short", b"server", REQUEST)
    assert token.seed.hex() not in repr(token)


@pytest.mark.parametrize(
    "text", ["", "secret", "rcj1.x.y", "rcj1." + "a" * 64 + ".short", "rcj1." + "a" * 64 + ".ü" * 40]
)
def test_what_is_no_join_token_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as error:
        read_join_token(text)
    assert not text or text not in str(error.value)
