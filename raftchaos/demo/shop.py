"""A small real shop, to have something to break.

`front` answers `/checkout`: it asks `payments` over HTTP, with a time-out and one retry, on the next of the addresses
that it was given. `payments` looks prices up in a SQLite database. Each is a process of its own:

    python -m raftchaos.demo.shop payments --port 9001 --database shop.sqlite
    python -m raftchaos.demo.shop front --port 9000 --payments 127.0.0.1:9101,127.0.0.1:9102
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

ITEMS = 500
ATTEMPTS = 2  # the first and one retry
PAYMENTS_TIMEOUT = 1.0
SESSION = web.AppKey("session", ClientSession)
DATABASE = web.AppKey("database", sqlite3.Connection)


def create_database(path: Path) -> None:
    """Makes a database of prices, if there is none yet."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE IF NOT EXISTS prices (item INTEGER PRIMARY KEY, cents INTEGER NOT NULL)")
        database.executemany(
            "INSERT OR IGNORE INTO prices VALUES (?, ?)", [(item, 100 + 37 * item) for item in range(ITEMS)]
        )
    database.close()


def payments_app(database_path: Path) -> web.Application:
    """`GET /charge?item=N` answers with the price of the item, 404 if there is no such item."""
    app = web.Application()

    async def lifetime(app: web.Application):  # type: ignore[no-untyped-def]  # aiohttp wants an async generator
        app[DATABASE] = sqlite3.connect(database_path, check_same_thread=False)
        yield
        app[DATABASE].close()

    async def charge(request: web.Request) -> web.Response:
        try:
            item = int(request.query.get("item", "0"))
        except ValueError:
            raise web.HTTPBadRequest(text="item must be a number") from None
        query = "SELECT cents FROM prices WHERE item = ?"
        row = request.app[DATABASE].execute(query, (item,)).fetchone()  # one indexed row: microseconds
        if row is None:
            raise web.HTTPNotFound(text=f"there is no item {item}")
        return web.json_response({"item": item, "cents": row[0]})

    app.cleanup_ctx.append(lifetime)
    app.add_routes([web.get("/charge", charge), web.get("/healthz", _healthy)])
    return app


def front_app(payments: Sequence[str]) -> web.Application:
    """`GET /checkout?item=N`: 200 with the price, 502 if payments fails twice, 504 if it takes too long twice."""
    app = web.Application()
    turns = itertools.cycle(payments)

    async def lifetime(app: web.Application):  # type: ignore[no-untyped-def]  # aiohttp wants an async generator
        # a connection for each request, as simple shops do; so a fault of connections meets every request
        connector = TCPConnector(force_close=True, limit=0)
        async with ClientSession(timeout=ClientTimeout(total=PAYMENTS_TIMEOUT), connector=connector) as session:
            app[SESSION] = session
            yield

    async def checkout(request: web.Request) -> web.Response:
        item = request.query.get("item", "0")
        status = 502
        for _ in range(ATTEMPTS):
            # taken when the attempt starts, so that load stays even whatever the others do
            address = next(turns)
            try:
                async with request.app[SESSION].get(f"http://{address}/charge", params={"item": item}) as answer:
                    if answer.status == 200:
                        return web.json_response({"paid": await answer.json()})
                    status = 404 if answer.status == 404 else 502
            except TimeoutError:
                status = 504
            except ClientError:
                status = 502
        return web.json_response({"error": "payments did not work"}, status=status)

    app.cleanup_ctx.append(lifetime)
    app.add_routes([web.get("/checkout", checkout), web.get("/healthz", _healthy)])
    return app


async def _healthy(request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Serves one role on loopback until it is told to end."""
    parser = argparse.ArgumentParser(prog="raftchaos.demo.shop", description=__doc__.splitlines()[0])
    parser.add_argument("role", choices=["front", "payments"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--payments", default="", help="HOST:PORT[,…] (front)")
    parser.add_argument("--database", type=Path, help="SQLite file (payments)")
    words = parser.parse_args(argv)
    if words.role == "payments":
        if words.database is None:
            parser.error("payments needs --database")
        create_database(words.database)
        app = payments_app(words.database)
    else:
        if not words.payments:
            parser.error("front needs --payments")
        app = front_app(words.payments.split(","))
    web.run_app(app, host="127.0.0.1", port=words.port, print=None, access_log=None, loop=asyncio.new_event_loop())


if __name__ == "__main__":
    main()
