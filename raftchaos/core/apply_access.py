"""Commands about tokens, certificate authorities, and what nodes tell of their certificates."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from raftchaos import limits
from raftchaos.core import answers, commands
from raftchaos.core.access import ApiToken, JoinToken, NodeIdentity, TrustedAuthority
from raftchaos.core.answers import Answer
from raftchaos.core.draft import Draft
from raftchaos.model.events import EventType
from raftchaos.model.names import is_name
from raftchaos.model.roles import GIVEN

_ID: Final = 16
_DIGEST: Final = 32  # bytes of a hash and of a public key
_FINGERPRINT: Final = 64
_HEXADECIMAL: Final = frozenset("0123456789abcdef")


def create_token(draft: Draft, command: commands.CreateToken) -> Answer:
    """A caller is given an API token."""
    wrong = _wrong_token(command.id, command.digest, command.seconds)
    if not wrong and not is_name(command.name):
        wrong = "found a bad name of a token, expected a DNS label"
    if not wrong and command.role not in GIVEN:
        wrong = f"found the role {answers.clip(command.role, 40)!r}, expected one of {', '.join(GIVEN)}"
    if wrong:
        return answers.refuse(answers.USAGE, wrong)
    now = draft.context.wall_ms
    kept = {key: token for key, token in draft.access.tokens.items() if token.expires_ms > now}
    if command.id in kept or any(token.name == command.name for token in kept.values()):
        return answers.refuse(answers.CONFLICT, f"there is a token {command.name} already", hint=_hint(command.name))
    if len(kept) >= limits.API_TOKENS:
        return answers.refuse(answers.REFUSED, f"there are {len(kept)} tokens, the most there may be")
    ends = now + int(command.seconds * 1000)
    kept[command.id] = ApiToken(command.id, command.name, command.role, command.digest, now, ends, _who(draft))
    draft.access = dataclasses.replace(draft.access, tokens=kept)
    told = {"id": command.id, "name": command.name, "role": command.role, "expiresMs": ends}
    draft.tell(EventType.TOKEN_CREATED, told)
    return answers.ok(expires=ends)


def create_join_token(draft: Draft, command: commands.CreateJoinToken) -> Answer:
    """Peers may join with this token."""
    wrong = _wrong_token(command.id, command.key, command.seconds)
    if wrong:
        return answers.refuse(answers.USAGE, wrong)
    now = draft.context.wall_ms
    kept = {key: token for key, token in draft.access.joins.items() if token.expires_ms > now}
    if command.id not in kept and len(kept) >= limits.JOIN_TOKENS:
        return answers.refuse(answers.REFUSED, f"there are {len(kept)} join tokens, the most there may be")
    ends = now + int(command.seconds * 1000)
    kept[command.id] = JoinToken(command.id, command.key, now, ends, command.single, "", "", _who(draft))
    draft.access = dataclasses.replace(draft.access, joins=kept)
    draft.tell(EventType.TOKEN_CREATED, {"id": command.id, "name": "", "role": "join", "expiresMs": ends})
    return answers.ok(expires=ends)


def revoke_token(draft: Draft, command: commands.RevokeToken) -> Answer:
    """A token, named by its id or an API token's name, is good for nothing any more."""
    access, wanted = draft.access, command.id
    key = next((key for key, token in sorted(access.tokens.items()) if wanted in (key, token.name)), "")
    if key:
        tokens = {one: token for one, token in access.tokens.items() if one != key}
        draft.access = dataclasses.replace(access, tokens=tokens)
        draft.tell(EventType.TOKEN_REVOKED, {"id": key, "name": access.tokens[key].name})
        return answers.ok(id=key)
    if wanted in access.joins:
        draft.access = dataclasses.replace(access, joins={k: t for k, t in access.joins.items() if k != wanted})
        draft.tell(EventType.TOKEN_REVOKED, {"id": wanted, "name": ""})
        return answers.ok(id=wanted)
    return answers.refuse(
        answers.NOT_FOUND, f"there is no token {answers.clip(wanted, 80)!r}", hint="`raftchaos token list` shows them"
    )


def spend_join_token(draft: Draft, command: commands.SpendJoinToken) -> Answer:
    """A peer has proved that it has the token. The clock of the log says whether it came in time."""
    token = draft.access.joins.get(command.id)
    again = "make a new one with `raftchaos token create --join`"
    if token is None:
        return answers.refuse(answers.UNAUTHENTICATED, "the join token is not known, or was revoked", hint=again)
    if draft.context.wall_ms >= token.expires_ms:
        return answers.refuse(answers.UNAUTHENTICATED, "the join token has ended", hint=again)
    if token.single and (token.spent_by, token.spent_directory) not in (("", ""), (command.name, command.directory)):
        return answers.refuse(
            answers.UNAUTHENTICATED, f"the join token was for one join, and {token.spent_by} has used it", hint=again
        )
    if not is_name(command.name) or not 0 < len(command.directory) <= 2 * limits.NAME:
        return answers.refuse(answers.USAGE, "found a bad name of a node, or a bad id of a data directory")
    spent = dataclasses.replace(token, spent_by=command.name, spent_directory=command.directory)
    draft.access = dataclasses.replace(draft.access, joins={**draft.access.joins, command.id: spent})
    return answers.ok()


def trust_authority(draft: Draft, command: commands.TrustAuthority) -> Answer:
    """One more CA is trusted, or (`only`) this one alone: it is that of a cluster that begins."""
    if len(command.fingerprint) != _FINGERPRINT or not _HEXADECIMAL.issuperset(command.fingerprint):
        return answers.refuse(answers.USAGE, "found no fingerprint of a CA")
    if not 0 < len(command.certificate) <= limits.AUTHORITY or not command.certificate.isascii():
        return answers.refuse(answers.USAGE, "found no certificate of a CA")
    access, added = draft.access, TrustedAuthority(command.fingerprint, command.certificate)
    told = {"fingerprint": command.fingerprint, "change": "trusted"}
    if command.only or not access.authorities:
        draft.access = dataclasses.replace(access, authorities={added.fingerprint: added}, signer=added.fingerprint)
        if access.authorities:  # what was made under another CA; the first one ends nothing that was just begun
            draft.access = dataclasses.replace(draft.access, joins={}, identities={})
        draft.tell(EventType.AUTHORITY_CHANGED, told)
        return answers.ok(existing=False)
    if command.fingerprint in access.authorities:
        return answers.ok(existing=True)
    if access.signer == list(access.authorities)[-1] and len(access.authorities) > 1:
        return answers.refuse(answers.CONFLICT, "the last change of the CA is not finished", hint=_ROTATION)
    # A rotation that was begun and signs nothing yet is begun anew: its key may be lost.
    kept = {access.signer: access.authorities[access.signer]}
    draft.access = dataclasses.replace(access, authorities={**kept, added.fingerprint: added})
    draft.tell(EventType.AUTHORITY_CHANGED, told)
    return answers.ok(existing=False)


def sign_with(draft: Draft, command: commands.SignWith) -> Answer:
    """The newest CA signs from now on. Refused while a node does not trust it."""
    access = draft.access
    if command.fingerprint == access.signer:
        return answers.ok(existing=True)
    if command.fingerprint not in access.authorities:
        return answers.refuse(answers.NOT_FOUND, "this CA is not trusted")
    behind = [name for name in sorted(draft.nodes) if not _trusts(draft, name, command.fingerprint)]
    if behind:
        return answers.refuse(answers.REFUSED, f"not trusted by {answers.listing(behind)} yet", hint=_ROTATION)
    # Join tokens hold the fingerprint of the CA that signed when they were made.
    draft.access = dataclasses.replace(access, signer=command.fingerprint, joins={})
    draft.tell(EventType.AUTHORITY_CHANGED, {"fingerprint": command.fingerprint, "change": "signs"})
    return answers.ok()


def drop_authority(draft: Draft, command: commands.DropAuthority) -> Answer:
    """A CA is not trusted any more. Refused for the one that signs, and while a node has a certificate of it."""
    access = draft.access
    if command.fingerprint not in access.authorities:
        return answers.ok(existing=False)
    if command.fingerprint == access.signer:
        return answers.refuse(answers.REFUSED, "this CA signs", hint="`raftchaos ca rotate` makes a new one")
    behind = [name for name in sorted(draft.nodes) if not _issued(draft, name, access.signer)]
    if behind:
        return answers.refuse(answers.REFUSED, f"{answers.listing(behind)} has no new certificate", hint=_ROTATION)
    left = {key: one for key, one in access.authorities.items() if key != command.fingerprint}
    draft.access = dataclasses.replace(access, authorities=left)
    draft.tell(EventType.AUTHORITY_CHANGED, {"fingerprint": command.fingerprint, "change": "dropped"})
    return answers.ok()


def report_identity(draft: Draft, command: commands.ReportIdentity) -> Answer:
    """A node tells which CAs it trusts, and which has signed its certificate."""
    node = draft.nodes.get(command.name)
    if node is None or node.incarnation != command.incarnation:
        return answers.refuse(answers.NOT_FOUND, f"this start of {answers.clip(command.name, 80)!r} is not registered")
    known = set(draft.access.authorities)
    trusts = tuple(sorted(known.intersection(command.trusts)))
    issuer = command.issuer if command.issuer in known else ""
    identity = NodeIdentity(command.name, trusts, issuer, key_of(draft, command.name))
    draft.access = dataclasses.replace(draft.access, identities={**draft.access.identities, command.name: identity})
    return answers.ok()


def key_of(draft: Draft, name: str) -> str:
    """The key that a node was admitted with; empty if none is known."""
    known = draft.access.identities.get(name)
    return known.key if known is not None else ""


def remember_key(draft: Draft, name: str, key: str) -> None:
    """Certificates for this name are for this key from now on: a join token gets nobody another one."""
    if key:
        identities = {**draft.access.identities, name: NodeIdentity(name, (), "", key)}
        draft.access = dataclasses.replace(draft.access, identities=identities)


def forget_node(draft: Draft, name: str, directory: str) -> None:
    """The certificates of a removed node are refused from this entry on."""
    now = draft.context.wall_ms
    revoked = {key: ends for key, ends in draft.access.revoked.items() if ends > now}
    while len(revoked) >= limits.REVOKED:
        del revoked[min(revoked, key=lambda key: (revoked[key], key))]
    revoked[directory] = now + int(limits.CERTIFICATE_LONGEST * 1000)
    identities = {key: one for key, one in draft.access.identities.items() if key != name}
    draft.access = dataclasses.replace(draft.access, revoked=revoked, identities=identities)


_ROTATION: Final = "`raftchaos ca show` tells which nodes are behind; start them, or remove them"


def _hint(name: str) -> str:
    return f"choose another name, or `raftchaos token revoke {name}` first"


def _trusts(draft: Draft, name: str, fingerprint: str) -> bool:
    known = draft.access.identities.get(name)
    return known is not None and fingerprint in known.trusts


def _issued(draft: Draft, name: str, fingerprint: str) -> bool:
    known = draft.access.identities.get(name)
    return known is not None and known.issuer == fingerprint


def _wrong_token(key: str, digest: bytes, seconds: float) -> str:
    checks: list[tuple[Any, str]] = [
        (len(key) == _ID and _HEXADECIMAL.issuperset(key), "found a bad id of a token"),
        (len(digest) == _DIGEST, "found a hash or key of a token that does not have 32 bytes"),
        (
            0 < seconds <= limits.TOKEN_LONGEST,
            f"found a life of {seconds:g} s, the longest is {limits.TOKEN_LONGEST:g}",
        ),
    ]
    return next((text for good, text in checks if not good), "")


def _who(draft: Draft) -> str:
    caller = draft.context.caller
    return answers.clip(caller.name, limits.NAME) if caller is not None else ""


def refuse_caller(draft: Draft) -> Answer | None:
    """A token that was revoked or has ended writes nothing, whichever peer was asked and however far it lags."""
    caller = draft.context.caller
    if caller is None or not caller.token:
        return None
    token = draft.access.tokens.get(caller.token)
    if token is not None and token.expires_ms > draft.context.wall_ms:
        return None
    return answers.refuse(answers.UNAUTHENTICATED, f"the token {caller.name} was revoked, or has ended")
