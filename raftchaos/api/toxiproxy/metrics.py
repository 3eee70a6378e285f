"""The metrics of toxiproxy's API that its users read: bytes by direction and proxy, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from raftchaos.core.service_records import ProxyRecord

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_DIRECTIONS = {"upstream": "up", "downstream": "down"}
_FAMILIES = {
    "toxiproxy_proxy_received_bytes_total": ("bytes", "Bytes that came from the sender of a stream."),
    "toxiproxy_proxy_sent_bytes_total": ("sent", "Bytes that were passed on to the receiver of a stream."),
}


def exposition(proxies: Iterable[ProxyRecord]) -> str:
    """The metrics of these proxies; one whose process is down has none."""
    listed = list(proxies)
    return "".join(line for name in _FAMILIES for line in _family(name, listed))


def _family(name: str, proxies: list[ProxyRecord]) -> Iterator[str]:
    counter, meaning = _FAMILIES[name]
    yield f"# HELP {name} {meaning}\n# TYPE {name} counter\n"
    for proxy in proxies:
        for direction, end in _DIRECTIONS.items():
            value = proxy.stats.get(f"{counter}_{end}")
            if value is not None:
                labels = {"direction": direction, "proxy": proxy.name, "listener": proxy.listen}
                told = ",".join(
                    f'{key}="{_escaped(text)}"' for key, text in (labels | {"upstream": proxy.upstream}).items()
                )
                yield f"{name}{{{told}}} {value}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
