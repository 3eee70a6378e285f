"""What a peer is told at its start: flags and the config file, checked and merged.

The config file is YAML with the names of the flags, and the peer's proxies:

    name: node-1
    listen: 127.0.0.1:7480
    label: {zone: eu-1}
    proxies:
      - {name: payments, listen: "127.0.0.1:9101", upstream: "127.0.0.1:9001"}

A flag wins over the file, and the file over the default.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from raftchaos import limits
from raftchaos.errors import InvalidDocument, UsageError

if TYPE_CHECKING:
    from raftchaos.model.problems import Origin, Problems

DEFAULT_LISTEN: Final = "127.0.0.1:7480"
DEFAULT_RAFT_LISTEN: Final = "127.0.0.1:7481"
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
DURABILITIES: Final = ("process", "disk")
KEYS: Final = (
    "name",
    "listen",
    "raft-listen",
    "toxiproxy-listen",
    "advertise",
    "data-dir",
    "plugins",
    "label",
    "join",
    "observer",
    "insecure",
    "durability",
    "log-level",
    "token-file",
    "tls-cert",
    "tls-key",
    "tls-ca",
    "certificate-seconds",
    "metrics-allow",
    "proxies",
)
_PATH_KEYS = ("plugins", "token-file", "tls-cert", "tls-key", "tls-ca")
_TEXT_KEYS = frozenset(
    {"name", "advertise", "data-dir", "join", "durability", "log-level"}
    | {"listen", "raft-listen", "toxiproxy-listen", *_PATH_KEYS}
)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """Everything a peer is told, complete and checked. Addresses are `HOST:PORT`."""

    name: str
    listen: str
    raft_listen: str
    advertise: str | None
    data_dir: Path
    labels: dict[str, str]
    join: str | None
    insecure: bool
    proxies: tuple[tuple[str, str, str, str, str], ...]
    """Name, address to listen on, address of the upstream."""
    log_level: str
    durability: Literal["process", "disk"] = "process"
    """What an answered write survives: the death of every process, or a power cut of every machine."""
    observer: bool = False
    """A new peer asks to be sent the log, but not to vote."""
    token_file: Path | None = None
    """Where the join token is, if not in the environment."""
    tls_cert: Path | None = None
    """Certificate, key and CA of one's own, all or none: no CA of the cluster is made."""
    tls_key: Path | None = None
    tls_ca: Path | None = None
    certificate_seconds: float = limits.CERTIFICATE
    """How long a certificate that this peer signs is valid."""
    metrics_allow: tuple[str, ...] = ()
    """Networks (CIDR) from which /metrics needs no token."""
    toxiproxy_listen: str | None = None
    """Where it answers toxiproxy's API; None: nowhere."""
    plugins: Path | None = None
    """Folder of the executables that experiments may use as faults; None allows none."""


def peer_settings(flags: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> PeerSettings:
    """The settings of a peer from its flags and its config file; both have the names of the flags as keys.

    A flag that is None was not given. Raises `UsageError` that says which word is wrong.
    """
    said = {**(config or {}), **{key: value for key, value in flags.items() if value not in (None, ())}}
    name = said.get("name") or default_name()
    check_name(name, "--name")
    settings = PeerSettings(
        name=name,
        listen=said.get("listen") or DEFAULT_LISTEN,
        raft_listen=said.get("raft-listen") or DEFAULT_RAFT_LISTEN,
        advertise=said.get("advertise"),
        data_dir=Path(said.get("data-dir") or default_data_dir(name)).expanduser().absolute(),
        labels=_labels(said.get("label") or {}),
        join=said.get("join"),
        insecure=bool(said.get("insecure", False)),
        proxies=tuple(
            (p["name"], p["listen"], p["upstream"], p.get("certificate", ""), p.get("key", ""))
            for p in said.get("proxies") or ()
        ),
        log_level=said.get("log-level") or "info",
        durability=said.get("durability") or "process",
        observer=bool(said.get("observer", False)),
        token_file=_path(said, "token-file"),
        tls_cert=_path(said, "tls-cert"),
        tls_key=_path(said, "tls-key"),
        tls_ca=_path(said, "tls-ca"),
        certificate_seconds=float(said.get("certificate-seconds", limits.CERTIFICATE)),
        metrics_allow=tuple(said.get("metrics-allow") or ()),
        toxiproxy_listen=said.get("toxiproxy-listen"),
        plugins=_path(said, "plugins"),
    )
    _check(settings)
    return settings


def _check(settings: PeerSettings) -> None:
    listen = parse_address(settings.listen, what="--listen")
    raft = parse_address(settings.raft_listen, what="--raft-listen")
    if listen == raft:
        raise UsageError(f"--listen and --raft-listen are both {settings.listen}, expected two ports")
    if settings.join is not None:
        parse_address(settings.join, what="--join")
    if settings.log_level not in LOG_LEVELS:
        raise UsageError(f"found the log level {settings.log_level!r}, expected one of {', '.join(LOG_LEVELS)}")
    if settings.durability not in DURABILITIES:
        raise UsageError(f"found the durability {settings.durability!r}, expected {' or '.join(DURABILITIES)}")
    if settings.advertise is not None and not _is_host(settings.advertise):
        raise UsageError(
            f"found {settings.advertise!r} for --advertise, expected a host name or an address without a port"
        )
    for flag, (host, _) in (("--listen", listen), ("--raft-listen", raft)):
        if settings.advertise is None and is_wildcard(host):
            raise UsageError(
                f"{flag} {host} takes connections on every address, but other peers need one to come to",
                hint="say --advertise HOST: the name or address of this machine that the other peers can reach",
            )
    _check_identity(settings)
    _check_toxiproxy(settings)
    if len(settings.proxies) > limits.PROXIES:
        raise UsageError(f"found {len(settings.proxies)} proxies, expected at most {limits.PROXIES}")


def _check_toxiproxy(settings: PeerSettings) -> None:
    if settings.toxiproxy_listen is None:
        return
    host, _ = parse_address(settings.toxiproxy_listen, what="--toxiproxy-listen")
    if settings.toxiproxy_listen in (settings.listen, settings.raft_listen):
        raise UsageError(
            f"--toxiproxy-listen is {settings.toxiproxy_listen} as another address, expected a port of its own"
        )
    if not settings.insecure and not (host == "localhost" or (_is_ip(host) and ipaddress.ip_address(host).is_loopback)):
        raise UsageError(
            f"found the host {host} for --toxiproxy-listen, expected a loopback address such as 127.0.0.1",
            hint="clients of this API cannot say who they are; other machines may reach it only with --insecure",
        )


def _path(said: Mapping[str, Any], key: str) -> Path | None:
    return Path(said[key]).expanduser().absolute() if said.get(key) else None


def _check_identity(settings: PeerSettings) -> None:
    own = (settings.tls_cert, settings.tls_key, settings.tls_ca)
    if any(own) and not all(own):
        raise UsageError("found some of --tls-cert, --tls-key and --tls-ca, expected all of them or none")
    if any(own) and settings.insecure:
        raise UsageError("found --tls-cert and --insecure, expected one of them")
    if not 1 <= settings.certificate_seconds <= limits.CERTIFICATE_LONGEST:
        raise UsageError(
            f"found certificate-seconds {settings.certificate_seconds:g}, expected 1 to {limits.CERTIFICATE_LONGEST:g}"
        )
    for text in settings.metrics_allow:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise UsageError(f"found {text!r} for --metrics-allow, expected a network such as 10.0.0.0/8") from None


def parse_address(text: str, *, what: str, any_port: bool = False) -> tuple[str, int]:
    """The host and port in `HOST:PORT`; an IPv6 address stands in brackets. Raises `UsageError` naming `what`.

    With `any_port` the port may be 0: whichever is free.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not colon or not host or (":" in host) != bracketed or not _is_host(host):
        raise UsageError(f"found {text!r} for {what}, expected HOST:PORT, for example 127.0.0.1:7480 or [::1]:7480")
    lowest = 0 if any_port else 1
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and lowest <= int(port) <= 65_535):
        raise UsageError(f"found the port {port!r} for {what}, expected a number from {lowest} to 65535")
    return host, int(port)


def default_name() -> str:
    """The name of a peer that is given none: the host's name, as far as it can be one."""
    host = socket.gethostname().partition(".")[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", host).strip("-")[: limits.NAME].strip("-") or "node-1"


def default_data_dir(name: str) -> Path:
    """Where a peer keeps its data unless it is told: a folder of its name under the user's state directory."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "raftchaos" / name


def read_config(path: Path) -> dict[str, Any]:
    """The content of a config file, checked: known keys, each of its kind, proxies complete.

    Raises `UsageError` if the file cannot be read and `InvalidDocument` with every problem, each with its line.
    """
    from raftchaos.model.problems import Problems
    from raftchaos.model.yaml_text import read_yaml

    problems = Problems()
    documents = read_yaml(read_text(path), str(path), problems)
    _tell(problems)
    if not documents:
        return {}
    if len(documents) > 1:
        raise UsageError(f"found {len(documents)} documents in {path}, expected one mapping of settings")
    origin = documents[0].origin
    data: dict[str, Any] = {}
    if isinstance(documents[0].data, dict):
        data = documents[0].data
        _check_keys(data, origin, problems)
    else:
        problems.add(origin, (), "no mapping", "a mapping of settings, such as `name: node-1`")
    _tell(problems)
    return data


def _tell(problems: Problems) -> None:
    """Raises InvalidDocument with all problems; its own hint is about experiments."""
    try:
        problems.raise_if_any()
    except InvalidDocument as error:
        hint = "correct the file; `raftchaos peer --help` shows the settings"
        raise InvalidDocument(error.message, hint=hint, details=error.details) from None


def read_text(path: Path) -> str:
    """The text of a file that a person named; see `read_bytes`. Raises `UsageError` also for what is not UTF-8."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not text in UTF-8 (byte {error.start} is {data[error.start]:#04x})",
            hint="save it as UTF-8",
        ) from None


def read_bytes(path: Path) -> bytes:
    """The content of a file that a person named. Its size is looked at before it is read.

    Raises `UsageError` for a file that is missing, a folder, larger than `limits.DOCUMENT`, or unreadable.
    """
    hint = "split it into several files"
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder, expected a file", hint="name the files in it")
        size = path.stat().st_size
        if size > limits.DOCUMENT:
            raise UsageError(f"{path} has {size:,} bytes, expected at most {limits.DOCUMENT:,}", hint=hint)
        with path.open("rb") as file:
            data = file.read(limits.DOCUMENT + 1)  # a pipe or a device tells no size
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path} cannot be read: {reason}", hint="check the path and its permissions") from None
    if len(data) > limits.DOCUMENT:
        raise UsageError(f"{path} has more than {limits.DOCUMENT:,} bytes", hint=hint)
    return data


def _check_keys(data: Mapping[str, Any], origin: Origin, problems: Problems) -> None:
    from raftchaos.model.problems import choices, shown

    for key, value in data.items():
        if key not in KEYS:
            problems.add(origin, (key,), "an unknown setting", choices(KEYS), word=key, known=KEYS)
        elif key in _TEXT_KEYS and not isinstance(value, str):
            problems.add(origin, (key,), shown(value), "a text")
        elif key in ("insecure", "observer") and not isinstance(value, bool):
            problems.add(origin, (key,), shown(value), "true or false")
        elif key == "certificate-seconds" and (isinstance(value, bool) or not isinstance(value, int | float)):
            problems.add(origin, (key,), shown(value), "a number of seconds")
        elif key == "metrics-allow" and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            problems.add(origin, (key,), shown(value), "a list of networks")
        elif key == "label" and not isinstance(value, dict | list):
            problems.add(origin, (key,), shown(value), "a mapping such as {zone: eu-1}")
        elif key == "proxies":
            _check_proxies(value, origin, problems)


def _check_proxies(value: object, origin: Origin, problems: Problems) -> None:
    from raftchaos.model.names import PROXY_NAME_RULE, is_proxy_name
    from raftchaos.model.problems import choices, shown

    fields, files = ("name", "listen", "upstream"), ("certificate", "key")
    if not isinstance(value, list):
        problems.add(origin, ("proxies",), shown(value), "a list of {name, listen, upstream}")
        return
    taken: set[str] = set()
    for number, proxy in enumerate(value):
        here = ("proxies", number)
        if not isinstance(proxy, dict):
            problems.add(origin, here, shown(proxy), "{name, listen, upstream}")
            continue
        known = (*fields, *files)
        for key in proxy.keys() - set(known):
            problems.add(origin, (*here, key), "an unknown field", choices(known), word=key, known=known)
        for key in (*fields, *(proxy.keys() & set(files))):
            text = proxy.get(key)
            if isinstance(text, str) and key in files:
                continue
            if not isinstance(text, str):
                problems.add(origin, (*here, key), shown(text), "a text")
            elif key == "name" and not is_proxy_name(text):
                problems.add(origin, (*here, key), shown(text), PROXY_NAME_RULE)
            elif key == "name" and text in taken:
                problems.add(origin, (*here, key), f"{text} again", "each name once")
            elif key == "name":
                taken.add(text)
            else:
                try:
                    parse_address(text, what=key, any_port=key == "listen")
                except UsageError as error:
                    problems.add(origin, (*here, key), shown(text), str(error).partition("expected ")[2])


def _labels(said: Mapping[str, Any] | list[Any] | tuple[Any, ...]) -> dict[str, str]:
    """Labels from a mapping or from `KEY=VALUE` words."""
    from raftchaos.model.names import LABEL_RULE, is_label

    if isinstance(said, Mapping):
        pairs = list(said.items())
    else:
        pairs = [str(text).partition("=")[::2] for text in said]
        for text in said:
            if "=" not in str(text):
                raise UsageError(f"found the label {text!r}, expected KEY=VALUE, for example zone=eu-1")
    if len(pairs) > limits.LABELS:
        raise UsageError(f"found {len(pairs)} labels, expected at most {limits.LABELS}")
    for key, value in pairs:
        for part in (key, value):
            if not isinstance(part, str) or not is_label(part):
                raise UsageError(f"found {part!r} in the label {key}={value}, expected {LABEL_RULE}")
    return dict(pairs)


def check_name(name: str, what: str) -> None:
    """Raises `UsageError` if this can be no name of a peer; `what` names the flag."""
    from raftchaos.model.names import NAME_RULE, is_name

    if not is_name(name):
        raise UsageError(f"found {name!r} for {what}, expected {NAME_RULE}", hint="for example --name node-1")


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_host(host: str) -> bool:
    return _is_ip(host) or (len(host) <= 253 and _HOST.fullmatch(host) is not None)


def is_wildcard(host: str) -> bool:
    """Whether it stands for every address of the machine."""
    return _is_ip(host) and ipaddress.ip_address(host).is_unspecified
