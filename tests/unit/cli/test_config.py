"""What a peer is told: flags, the config file, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftchaos.config import (
    DEFAULT_LISTEN,
    default_name,
    parse_address,
    peer_settings,
    read_config,
)
from raftchaos.errors import InvalidDocument, UsageError
from raftchaos.model.names import is_name

CONFIG = """\
name: node-7
listen: 127.0.0.1:7000
label: {zone: eu-1}
data-dir: /var/lib/raftchaos
proxies:
  - {name: payments, listen: "127.0.0.1:9101", upstream: "127.0.0.1:9001"}
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "peer.yaml"
    file.write_text(text)
    return file


def test_without_words_everything_has_a_default() -> None:
    settings = peer_settings({})
    assert settings.name == default_name()
    assert is_name(settings.name)
    assert settings.listen == DEFAULT_LISTEN
    assert settings.data_dir.is_absolute()
    assert settings.data_dir.name == settings.name
    assert settings.proxies == ()


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, CONFIG))
    settings = peer_settings({"name": None, "listen": "127.0.0.1:7999", "label": ()}, config)
    assert settings.name == "node-7"
    assert settings.listen == "127.0.0.1:7999"
    assert settings.labels == {"zone": "eu-1"}
    assert settings.data_dir == Path("/var/lib/raftchaos")
    assert settings.proxies == (("payments", "127.0.0.1:9101", "127.0.0.1:9001", "", ""),)


def test_labels_as_words() -> None:
    assert peer_settings({"label": ("zone=eu-1", "rack=7")}).labels == {"zone": "eu-1", "rack": "7"}
    with pytest.raises(UsageError, match="KEY=VALUE"):
        peer_settings({"label": ("zone",)})
    with pytest.raises(UsageError, match="zone=a b"):
        peer_settings({"label": ("zone=a b",)})


def test_every_problem_of_a_config_file_at_once(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "nmae: a\nlisten: 7\ninsecure: maybe\nproxies:\n  - {name: A b, listen: here, upstream: '127.0.0.1:1'}\n"
        "  - {name: pay, listen: '127.0.0.1:2'}\n",
    )
    with pytest.raises(InvalidDocument) as error:
        read_config(file)
    problems = error.value.details["problems"]
    assert [(p["line"], p["path"]) for p in problems] == [
        (1, "nmae"),
        (2, "listen"),
        (3, "insecure"),
        (5, "proxies[0].name"),
        (5, "proxies[0].listen"),
        (6, "proxies[1].upstream"),
    ]
    assert problems[0]["suggestion"] == "name"
    assert "raftchaos peer --help" in error.value.hint


@pytest.mark.parametrize("text", ["- a\n", "just text\n", "a: [\n", "a: 1\na: 2\n"])
def test_a_config_that_is_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidDocument):
        read_config(written(tmp_path, text))


def test_an_empty_config_says_nothing(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, "# nothing yet\n")) == {}


def test_a_config_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.yaml"):
        read_config(tmp_path / "missing.yaml")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:7480", "127.0.0.1", 7480), ("[::1]:80", "::1", 80), ("node-1.example:1", "node-1.example", 1)],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert parse_address(text, what="--listen") == (host, port)


@pytest.mark.parametrize(
    "text",
    ["", "host", ":80", "host:", "host:0", "host:65536", "::1:80", "[::1]", "ho st:80", "host:８０", "http://a:1"],
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--listen"):
        parse_address(text, what="--listen")


def test_port_zero_where_any_will_do() -> None:
    assert parse_address("127.0.0.1:0", what="listen", any_port=True) == ("127.0.0.1", 0)


@pytest.mark.parametrize("flag", ["listen", "raft-listen"])
def test_a_peer_may_listen_where_others_reach_it(flag: str) -> None:
    assert not peer_settings({flag: "192.0.2.1:7400"}).insecure


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ({"tls-cert": "a"}, "all of them or none"),
        ({"tls-cert": "a", "tls-key": "b", "tls-ca": "c", "insecure": True}, "--insecure"),
        ({"certificate-seconds": 0}, "certificate-seconds"),
        ({"metrics-allow": ["here"]}, "--metrics-allow"),
    ],
)
def test_settings_of_identity_that_make_no_sense(flags: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        peer_settings(flags)


def test_an_address_that_stands_for_all_needs_one_to_advertise() -> None:
    with pytest.raises(UsageError, match="every address") as error:
        peer_settings({"listen": "0.0.0.0:7400", "insecure": True})
    assert "--advertise" in error.value.hint


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"name": "Node 1"}, "--name"),
        ({"join": "here"}, "--join"),
        ({"advertise": "host:80"}, "--advertise"),
        ({"log-level": "loud"}, "log level"),
        ({"durability": "paper"}, "process or disk"),
        ({"listen": "127.0.0.1:7481"}, "two ports"),
    ],
)
def test_wrong_words(flags: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        peer_settings(flags)


def test_an_observer_is_told_by_flag_or_file(tmp_path: Path) -> None:
    assert not peer_settings({"observer": None}).observer
    assert peer_settings({"observer": True}).observer
    assert peer_settings({}, read_config(written(tmp_path, "observer: true\n"))).observer
    with pytest.raises(InvalidDocument, match="true or false"):
        read_config(written(tmp_path, "observer: perhaps\n"))


def test_toxiproxy_s_clients_are_answered_on_loopback_only_unless_the_peer_is_insecure(tmp_path: Path) -> None:
    assert peer_settings({}).toxiproxy_listen is None
    for address in ("127.0.0.1:8474", "localhost:8474", "[::1]:8474", "127.9.9.9:8474"):
        assert peer_settings({"toxiproxy-listen": address}).toxiproxy_listen == address
    for address in ("0.0.0.0:8474", "[::]:8474", "192.0.2.1:8474", "localhost.example:8474"):
        with pytest.raises(UsageError, match="loopback"):
            peer_settings({"toxiproxy-listen": address})
        assert peer_settings({"toxiproxy-listen": address, "insecure": True}).toxiproxy_listen == address
    for address in ("8474", "127.0.0.1", "127.0.0.1:0"):
        with pytest.raises(UsageError, match="toxiproxy-listen"):
            peer_settings({"toxiproxy-listen": address})
    with pytest.raises(UsageError, match=r"two ports|of its own"):
        peer_settings({"toxiproxy-listen": DEFAULT_LISTEN})
    config = read_config(written(tmp_path, "toxiproxy-listen: 127.0.0.1:8474\n"))
    assert peer_settings({}, config).toxiproxy_listen == "127.0.0.1:8474"
    with pytest.raises(InvalidDocument):
        read_config(written(tmp_path, "toxiproxy-listen: 8474\n"))
