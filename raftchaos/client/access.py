"""The part of the client that is about who may call: tokens, certificates, and the CA of the cluster."""

from __future__ import annotations

from raftchaos.client.calls import Calls, Json, part


class AccessCalls(Calls):
    """Tokens and certificates."""

    async def tokens(self) -> Json:
        """API tokens and join tokens: `{"tokens": [...], "joinTokens": [...]}`, without their secrets."""
        return await self._get("/tokens", fresh=True)

    async def create_token(self, name: str, role: str, seconds: float | None = None) -> Json:
        """Gives a caller a token: `{"id", "token", "expiresMs"}`. The text is shown here only. Raises Conflict."""
        body = {"name": name, "role": role} | ({} if seconds is None else {"seconds": seconds})
        return await self._send("POST", "/tokens", body)

    async def create_certificate(self, name: str, role: str, request: str, seconds: float | None = None) -> Json:
        """Gives a caller a certificate for the key of this request (PEM): `{"certificate", "authorities"}`."""
        body = {"name": name, "role": role, "request": request} | ({} if seconds is None else {"seconds": seconds})
        return await self._send("POST", "/tokens/certificate", body)

    async def create_join_token(self, *, seconds: float | None = None, single: bool = False) -> Json:
        """Makes a token with which peers join: `{"id", "token", "expiresMs"}`."""
        body: Json = {"single": single} | ({} if seconds is None else {"seconds": seconds})
        return await self._send("POST", "/tokens/join", body)

    async def revoke_token(self, token: str) -> str:
        """Ends a token, named by its id or its name, or given whole; its secret is not sent. Returns its id. Raises
        NotFound, and UsageError for what is none of these."""
        from raftchaos.identity.tokens import id_of

        return str((await self._send("DELETE", f"/tokens/{part(id_of(token))}"))["revoked"])

    async def authority(self) -> Json:
        """The trusted CAs, and the nodes without the newest: `{"authorities": [...], "behind": {name: why}}`."""
        return await self._get("/authority", fresh=True)

    async def rotate_authority(self) -> Json:
        """Begins to replace the CA: `{"fingerprint"}`. Raises Refused at a peer that does not have its key."""
        return await self._send("POST", "/authority/rotate")
