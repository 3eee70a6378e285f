"""Clients that people already have drive a peer unchanged: toxiproxy-python of PyPI, toxiproxy-node-client of npm."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.faults.toxiproxy_world import Toxiproxy, ask, connect, hangs_up, refuses, relays, timed
from tests.system.harness import Cluster, free_port

NODE_CLIENT = "toxiproxy-node-client@4.1.0"
NODE_SCRIPT = """
const assert = require("node:assert/strict");
const net = require("node:net");
const { Toxiproxy } = require("toxiproxy-node-client");
const [url, upstream] = process.argv.slice(2);

function ask(listen) {  // milliseconds until the first byte comes back; -1: refused or cut off
    const port = Number(listen.slice(listen.lastIndexOf(":") + 1));
    return new Promise((resolve) => {
        const begin = performance.now();
        const socket = net.connect(port, "127.0.0.1", () => socket.write("\\0"));
        socket.once("data", () => { socket.destroy(); resolve(performance.now() - begin); });
        socket.once("error", () => resolve(-1));
        socket.once("end", () => { socket.destroy(); resolve(-1); });
    });
}

async function main() {
    const toxiproxy = new Toxiproxy(url);
    const version = JSON.parse(await toxiproxy.getVersion()).version;
    assert.match(version, /^2\\.\\d+\\.\\d+$/);
    const proxy = await toxiproxy.createProxy({ name: "redis_master", listen: "localhost:0", upstream });
    assert.ok(proxy.enabled);
    assert.deepEqual(Object.keys(await toxiproxy.getAll()), ["redis_master"]);
    const plain = await ask(proxy.listen);
    assert.ok(plain >= 0 && plain < 300, `plain: ${plain}`);

    let toxic = await proxy.addToxic({ type: "latency", attributes: { latency: 600 } });
    assert.equal(toxic.name, "latency_downstream");
    assert.equal(toxic.toxicity, 1);
    const slow = await ask(proxy.listen);
    assert.ok(slow >= 600 && slow < 1800, `slow: ${slow}`);
    toxic = await toxic.update({ attributes: { jitter: 1 } });
    assert.deepEqual(toxic.attributes, { latency: 600, jitter: 1 });
    assert.deepEqual((await proxy.getToxic(toxic.name)).attributes, toxic.attributes);
    await toxic.remove();
    await assert.rejects(proxy.getToxic("latency_downstream"), /404/);
    assert.ok((await ask(proxy.listen)) < 300);

    const off = await proxy.update({ ...proxy.toJson(), enabled: false });
    assert.equal(off.enabled, false);
    assert.equal(off.listen, proxy.listen);
    assert.equal(await ask(proxy.listen), -1);
    await toxiproxy.reset();
    assert.ok((await ask(proxy.listen)) >= 0);
    assert.equal((await toxiproxy.get("redis_master")).enabled, true);

    await proxy.addToxic({ type: "timeout", stream: "downstream", toxicity: 1, attributes: { timeout: 400 } });
    assert.equal(await ask(proxy.listen), -1);
    const made = await toxiproxy.populate([
        { name: "one", listen: "127.0.0.1:0", upstream },
        { name: "two", listen: "127.0.0.1:0", upstream },
    ]);
    assert.deepEqual(Object.keys(made), ["one", "two"]);
    assert.ok((await ask(made.two.listen)) >= 0);
    await assert.rejects(toxiproxy.createProxy({ name: "one", listen: "127.0.0.1:0", upstream }), /409/);
    await assert.rejects(toxiproxy.get("three"), /404/);
    for (const each of Object.values(await toxiproxy.getAll())) await each.remove();
    assert.deepEqual(await toxiproxy.getAll(), {});
    console.log(JSON.stringify({ version, plain, slow }));
}
main().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.fixture
def api(cluster: Cluster) -> Iterator[Toxiproxy]:
    made = Toxiproxy(cluster)
    yield made
    made.close()


def client_for(port: int) -> Any:
    """toxiproxy-python's client of this port; its library is old and warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from toxiproxy import Toxiproxy as Client
    found = Client()
    found.update_api_consumer("127.0.0.1", port)
    return found


def test_toxiproxy_python(api: Toxiproxy) -> None:
    from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

    api.start()
    client = client_for(api.port)
    assert client.running()
    assert b'"2.' in client.version()
    assert client.proxies() == {}
    proxy = client.create(upstream=api.upstream, name="mysql_master")
    assert proxy.enabled is True
    port = int(proxy.listen.rpartition(":")[2])
    assert relays(port)
    with pytest.raises(ProxyExists):
        client.create(upstream=api.upstream, name="mysql_master")

    proxy.add_toxic(type="latency", attributes={"latency": 600, "jitter": 10})
    proxy.add_toxic(name="up", type="latency", stream="upstream", toxicity=0.0, attributes={"latency": 5000})
    with connect(port) as sock:
        assert 0.59 <= timed(lambda: ask(sock)) < 1.8
    found = proxy.toxics()
    assert list(found) == ["up", "latency_downstream"]
    assert found["latency_downstream"].attributes == {"latency": 600, "jitter": 10}
    assert proxy.get_toxic("up").toxicity == 0
    assert proxy.get_toxic("none") is None
    with pytest.raises(InvalidToxic):
        proxy.add_toxic(type="meteor")
    with pytest.raises(ProxyExists):
        proxy.add_toxic(type="latency")
    assert proxy.destroy_toxic("latency_downstream")
    with pytest.raises(NotFound):
        proxy.destroy_toxic("latency_downstream")
    assert relays(port, 0.4)

    with connect(port) as sock:
        ask(sock)
        with proxy.down():
            assert hangs_up(sock)
            assert refuses(port)
            assert client.get_proxy("mysql_master").enabled is False
    assert relays(port)
    proxy.disable()
    proxy.add_toxic(type="timeout", attributes={"timeout": 0})
    assert client.reset()
    assert relays(port)

    wanted = {"name": "redis", "upstream": api.upstream, "listen": f"127.0.0.1:{free_port()}"}
    assert [one.name for one in client.populate([wanted])] == ["redis"]
    assert client.populate([wanted]) == [], "it is there already"
    assert [one.listen for one in client.populate([{**wanted, "listen": "127.0.0.1:0"}])] != [wanted["listen"]]
    client.destroy_all()
    assert client.proxies() == {}
    assert refuses(port)


def test_toxiproxy_node_client(api: Toxiproxy, require: Callable[[bool, str], None], tmp_path: Path) -> None:
    require(shutil.which("node") is not None and shutil.which("npm") is not None, "nodejs and npm")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    require(int(version.strip().lstrip("v").partition(".")[0]) >= 18, "nodejs of release 18 or later")
    folder = tmp_path / "node"
    folder.mkdir()
    (folder / "package.json").write_text('{"private": true}')
    (folder / "drive.js").write_text(NODE_SCRIPT)
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", NODE_CLIENT]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=100)
    require(done.returncode == 0, f"{NODE_CLIENT} from npm: {done.stderr[-500:]}")
    api.start()
    command = ["node", "drive.js", f"http://127.0.0.1:{api.port}", api.upstream]
    driven = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert driven.returncode == 0, driven.stderr
    assert json.loads(driven.stdout)["slow"] >= 600
