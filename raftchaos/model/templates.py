"""Example documents to start from, with comments. Each is valid as it stands."""

from __future__ import annotations

from typing import Final

from raftchaos.errors import NotFound
from raftchaos.model.problems import choices, nearest

_MINIMAL: Final = """\
# The shortest experiment: 100 ms of latency for 60 seconds, on all proxies of all active nodes.
apiVersion: raftchaos.io/v1
kind: ChaosOrchestration
metadata: {name: minimal}
spec:
  steps: [{name: test, scenario: latency}]
"""

_PARALLEL: Final = """\
# All targets run each step together; the next step starts when the last target has finished.
apiVersion: raftchaos.io/v1
kind: ChaosOrchestration
metadata:
  name: slow-and-failing-payments
spec:
  description: Does checkout survive slow and failing payments?
  coordinationMode: parallel
  targetNodes:
    percent: 50                   # of the active nodes, rounded up; or names, selector, count
  steps:
    - name: slow payments
      scenario: latency           # a fault type: `raftchaos fault types` lists them
      durationSeconds: 30
      parameters:
        # proxy: payments         # a proxy of the nodes, or a list; without it all proxies of the targets
        latencyMs: 300
        jitterMs: 50
    - name: failing payments
      scenario: http_error
      durationSeconds: 30
      delayBeforeSeconds: 10      # time to settle after the step before
      continueOnFailure: true     # go on although a node was lost
      parameters:
        statusCodes: [500, 503]
        probability: 0.2          # every fifth request
  safety:
    maxPercent: 50                # never more nodes under faults, whatever else runs
    deadlineSeconds: 600          # ended and recovered by then in any case
"""

_SEQUENTIAL: Final = """\
# One node at a time, in the order of their names, runs all steps: never two nodes under faults at once.
apiVersion: raftchaos.io/v1
kind: ChaosOrchestration
metadata:
  name: rolling-resets
spec:
  description: Does every client get over a reset connection, node by node?
  coordinationMode: sequential
  steps:
    - name: resets
      scenario: reset_peer
      durationSeconds: 20
      parameters:
        probability: 0.5          # every second connection
        afterMs: 50               # each lives this long before it is reset
    - name: calm
      scenario: latency
      durationSeconds: 10
      parameters: {latencyMs: 20}
  safety:
    maxNodes: 1
    deadlineSeconds: 1800
"""

_LEADER_ASSIGNED: Final = """\
# The leader gives each step to the least loaded node; if that node is lost, another one takes the step over.
apiVersion: raftchaos.io/v1
kind: ChaosOrchestration
metadata:
  name: somewhere-slow
spec:
  description: Does the service notice that one of its nodes is slow, whichever it is?
  coordinationMode: leaderAssigned
  # targetNodes: {selector: {zone: eu-1}}   # only nodes with this label
  steps:
    - name: slow node
      scenario: slow-backend      # the ChaosScenario below
      durationSeconds: 30
      retries: 2                  # new attempts on other nodes
      parameters:
        latencyMs: 500            # in place of the 300 of the scenario
    - name: failing node
      scenario: flaky-service     # a built-in scenario
      durationSeconds: 30
      retries: 2
---
apiVersion: raftchaos.io/v1
kind: ChaosScenario
metadata:
  name: slow-backend
spec:
  description: A backend that is slow and sometimes unavailable.
  faults:
    - type: latency
      parameters: {latencyMs: 300, jitterMs: 100}
    - type: http_error
      parameters: {statusCode: 503, probability: 0.05}
"""

_PEER_TO_PEER: Final = """\
# Each step is offered to all targets; the first that ask for it take it.
apiVersion: raftchaos.io/v1
kind: ChaosOrchestration
metadata:
  name: volunteers
spec:
  description: Do clients cope when some two nodes misbehave?
  coordinationMode: peerToPeer
  targetNodes:
    count: 2                      # how many nodes take each step; 1 unless given
    onNoTargets: skip             # no active node: end the task instead of failing it
  steps:
    - name: slow answers
      scenario: latency
      durationSeconds: 30
      parameters: {latencyMs: 250, direction: both}
    - name: errors
      scenario: http_error
      durationSeconds: 30
      parameters: {statusCode: 429, probability: 0.3}
  seed: 7                         # of every random choice; default: a hash of the name
"""

TEMPLATES: Final[dict[str, str]] = {
    "minimal": _MINIMAL,
    "parallel": _PARALLEL,
    "sequential": _SEQUENTIAL,
    "leader-assigned": _LEADER_ASSIGNED,
    "peer-to-peer": _PEER_TO_PEER,
}
"""The text of each example by its name."""


def template(name: str = "parallel") -> str:
    """The text of an example. Raises NotFound for a name that none has."""
    if name not in TEMPLATES:
        meant = nearest(name, TEMPLATES)
        raise NotFound(
            f"found no template {name!r}, expected {choices(TEMPLATES)}" + (f"; did you mean {meant}?" if meant else "")
        )
    return TEMPLATES[name]
