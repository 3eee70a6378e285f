"""Parameters of the faults of the network: what is taken, and what is said of what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from raftchaos.errors import InvalidDocument
from raftchaos.model.faults import FAULTS
from raftchaos.model.loading import load_documents, resolve
from raftchaos.model.resolved import ResolvedOrchestration

HEAD = "apiVersion: raftchaos.io/v1\nkind: ChaosOrchestration\nmetadata: {name: test}\nspec:\n"
KINDS = ("partition", "packet_loss", "reject", "network_bandwidth", "network_delay", "dns_failure")


def document(fault: str, parameters: dict[str, Any], safety: str = "{}") -> str:
    step = {"name": "one", "scenario": fault, "parameters": parameters}
    return f"{HEAD}  safety: {safety}\n  steps:\n    - {json.dumps(step)}\n"


def said(fault: str, parameters: dict[str, Any]) -> list[tuple[str, str]]:
    """Path and expectation of each problem."""
    with pytest.raises(InvalidDocument) as caught:
        load_documents(document(fault, parameters), "test.yaml")
    return [
        (str(problem["path"]).removeprefix("spec.steps[0].parameters."), str(problem["expected"]))
        for problem in caught.value.details["problems"]
    ]


@pytest.mark.parametrize(
    ("fault", "parameters", "path", "expected"),
    [
        ("partition", {"hosts": "10.0.0.5/24"}, "hosts", "10.0.0.0/24 for the whole of it, or 10.0.0.5"),
        ("partition", {"hosts": ["a.test", "2001:db8::5/64"]}, "hosts[1]", "2001:db8::/64 for the whole"),
        ("partition", {"hosts": "10.0.0"}, "hosts", "an IP address, a network such as"),
        ("partition", {"hosts": "a b"}, "hosts", "a host name"),
        ("partition", {"hosts": "fe80::1%eth0 }\nflush ruleset"}, "hosts", "an IP address, a network such as"),
        ("packet_loss", {"percent": 5, "hosts": "fe80::1%eth0"}, "hosts", "an IP address, a network such as"),
        ("partition", {"hosts": []}, "hosts", "at least one"),
        ("partition", {"ports": 0}, "ports", "a port from 1 to 65535"),
        ("partition", {"ports": [80, "90-80"]}, "ports[1]", "a range such as 8000-8010"),
        ("partition", {"localPorts": "http"}, "localPorts", "a port from 1"),
        ("partition", {"ports": True}, "ports", "a port from 1"),
        ("partition", {"protocol": "icmp", "ports": 80}, "", "no ports beside the protocol icmp"),
        ("partition", {"interface": 'eth0"; drop'}, "interface", "the name of a network interface"),
        ("partition", {"interface": "a" * 16}, "interface", "at most 15"),
        ("partition", {"namespace": {"name": "../etc"}}, "namespace.name", "the name of a network namespace"),
        ("partition", {"namespace": {"name": "a", "pid": 1}}, "namespace", "either name or pid"),
        ("partition", {"namespace": {"pid": 0}}, "namespace.pid", "at least 1"),
        ("partition", {"direction": "up"}, "direction", "incoming"),
        ("packet_loss", {"percent": 150}, "percent", "100"),
        ("packet_loss", {"percent": 0}, "percent", "0"),
        ("reject", {"answer": "tcpReset", "protocol": "udp"}, "", "an ICMP answer"),
        ("network_bandwidth", {"kilobytesPerSecond": -1}, "kilobytesPerSecond", "1"),
        ("network_delay", {"delayMs": -5}, "delayMs", "0"),
        ("network_delay", {"delayMs": 0}, "", "or nothing would happen"),
        ("network_delay", {"delayMs": 0, "corruptPercent": 1, "reorderPercent": 5}, "", "delayMs above 0"),
        ("dns_answer", {"names": "a b", "error": "nxdomain"}, "names", "*.example.com for all below it"),
        ("dns_answer", {"names": "a.test"}, "", "either addresses or error"),
        ("dns_answer", {"names": "a.test", "addresses": "10.0.0.0/8"}, "addresses", "an IP address"),
        ("clock_offset", {"command": ["../sh"]}, "command", "a file name of the peer's plug-in folder"),
        ("clock_offset", {"command": ["x"], "offsetSeconds": 0}, "offsetSeconds", "other than 0"),
    ],
)
def test_is_refused_with_what_was_expected(fault: str, parameters: dict[str, Any], path: str, expected: str) -> None:
    found = said(fault, parameters)
    assert any(where.startswith(path) and expected in text for where, text in found), found


@pytest.mark.parametrize("fault", KINDS)
def test_unknown_parameters_name_the_nearest(fault: str) -> None:
    with pytest.raises(InvalidDocument, match="did you mean interface"):
        load_documents(document(fault, {"interfaces": "eth0"}), "test.yaml")


def test_one_value_stands_for_a_list() -> None:
    complete = FAULTS["partition"].parameters.model_validate({"hosts": "a.test", "ports": "80-90"}).complete()
    assert (complete["hosts"], complete["ports"]) == (["a.test"], ["80-90"])
    assert FAULTS["partition"].parameters.model_validate(complete).complete() == complete


def resolved(parameters: dict[str, Any], safety: str) -> ResolvedOrchestration:
    text = document("partition", parameters, safety)
    (found,) = resolve(load_documents(text, "test.yaml"))
    return found


def test_a_disarmed_net_stands_in_each_step() -> None:
    found = resolved({"interface": "eth0"}, "{disarm: [selfHarm]}")
    (step,) = found.steps
    assert step.disarm == ("selfHarm",)
    assert ResolvedOrchestration.from_dict(found.to_dict()) == found
    armed = resolved({"ports": 80}, "{}")
    assert "disarm" not in armed.to_dict()["steps"][0], "older releases see what they know"
    with pytest.raises(InvalidDocument, match="selfHarm"):
        resolved({"ports": 80}, "{disarm: [everything]}")
