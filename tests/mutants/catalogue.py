"""The mechanisms that protect the guarantees, each with the change that switches it off and the tests that notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` stands exactly once in `file`; with `new` in its place at least one of `tests` fails."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


CORE = ("tests/unit/core/test_core_apply.py", "tests/unit/core/test_core_random.py")
LEASES = ("tests/unit/core/test_leases_node.py", "tests/unit/core/test_leases_leader.py")
SCHEDULES = (*LEASES, "tests/unit/core/test_leases_random.py")
PEERS = ("tests/unit/agent",)
FAULTS = ("tests/unit/faults/test_executor.py",)
MENDS = ("tests/unit/consensus/test_mends.py", "tests/unit/consensus/test_safety.py")
STORAGE = ("tests/unit/consensus/test_storage.py",)
TRANSCRIPT = "tests/simulation/test_transcripts.py::test_it_comes_out_as_written"
OBSERVERS = f"{TRANSCRIPT}[observers_follow_the_next_leader]"
REPLACED = f"{TRANSCRIPT}[a_removed_node_comes_back_as_a_new_member]"

MUTANTS = (
    # ---- a lease, exactly
    Mutant(
        "rule 1: a round counts own-term answers",
        "raftchaos/consensus/replication.py",
        'if self.role != LEADER or m["term"] != self.term or node not in self.match_index:',
        "if self.role != LEADER or node not in self.match_index:",
        MENDS,
    ),
    Mutant(
        "rule 1: acts after its own entry",
        "raftchaos/agent/leader.py",
        "return reign.announced and self._state().term == reign.term",
        "return True",
        PEERS,
    ),
    Mutant(
        "rule 1: pings of this incarnation",
        "raftchaos/core/leader_leases.py",
        "if (node.incarnation, node.directory) != (ping.incarnation, ping.directory):",
        "if False:",
        SCHEDULES,
    ),
    Mutant(
        "rule 2: a pong waits for its index",
        "raftchaos/core/node_lease.py",
        "due = [pong.sent for pong in self._pending if pong.commit_index <= self._applied]",
        "due = [pong.sent for pong in self._pending]",
        SCHEDULES,
    ),
    Mutant(
        "rule 3: an ended lease is over",
        "raftchaos/core/node_lease.py",
        "        if self._open and now >= self._end:\n            self._open = False",
        "        if False:\n            self._open = False",
        SCHEDULES,
    ),
    Mutant(
        "rule 4: the epoch of the reaper",
        "raftchaos/faults/executor.py",
        "        if self._journal.epoch != epoch:",
        "        if False:",
        FAULTS,
    ),
    Mutant(
        "rule 4: register when clean",
        "raftchaos/agent/registration.py",
        "while not self._clean():",
        "while False:",
        PEERS,
    ),
    Mutant(
        "rule 5: the fence",
        "raftchaos/core/leader_leases.py",
        "return same and not (watch.failing or watch.stalled)",
        "return same",
        SCHEDULES,
    ),
    Mutant(
        "rule 5: the fencing delay",
        "raftchaos/limits.py",
        "FAILURE_AFTER: Final = (LEASE + REVERT) * FAILURE_MARGIN",
        "FAILURE_AFTER: Final = LEASE * FAILURE_MARGIN",
        SCHEDULES,
    ),
    Mutant(
        "rule 6: commands of an earlier term",
        "raftchaos/core/apply.py",
        "    if term is not None and term < max(state.term, context.term):",
        "    if False:",
        CORE,
    ),
    # ---- the decisions
    Mutant(
        "deduplication",
        "raftchaos/core/machine.py",
        "known = self._requests.find(entry.request_id) if entry.request_id else None",
        "known = None",
        ("tests/unit/core/test_core_machine.py",),
    ),
    Mutant(
        "halt check in apply",
        "raftchaos/core/apply_runs.py",
        "    if draft.halts:",
        "    if False:",
        CORE,
    ),
    Mutant(
        "limit of nodes in apply",
        "raftchaos/core/counting.py",
        "    if tight:",
        "    if False:",
        CORE,
    ),
    Mutant(
        "overlapping targets in apply",
        "raftchaos/core/counting.py",
        "    if shared:",
        "    if False:",
        CORE,
    ),
    Mutant(
        "a one-shot fault may be attempted again",
        "raftchaos/core/progress.py",
        "    if may_have_happened(step, last):",
        "    if False:",
        CORE,
    ),
    Mutant(
        "sequential in apply",
        "raftchaos/core/counting.py",
        "    if task.orchestration.mode is CoordinationMode.SEQUENTIAL and elsewhere:",
        "    if False:",
        CORE,
    ),
    Mutant(
        "unrecovered runs count",
        "raftchaos/core/counting.py",
        " + list(state.unrecovered.values())",
        "",
        CORE,
    ),
    Mutant(
        "grant per incarnation",
        "raftchaos/core/apply_runs.py",
        "    if node is None or (node.incarnation, node.directory) != (command.incarnation, command.directory):",
        "    if node is None:",
        CORE,
    ),
    Mutant(
        "granted once",
        "raftchaos/core/apply_runs.py",
        'the task {task.id} is {task.status}")\n    if run.status is not RunStatus.PLANNED:',
        'the task {task.id} is {task.status}")\n    if run.ended:',
        CORE,
    ),
    Mutant(
        "effect in the verdict",
        "raftchaos/core/verdict.py",
        "            if touched(runs, place) <= 0:",
        "            if False:",
        ("tests/unit/core",),
    ),
    # ---- faults
    Mutant(
        "undo record before inject",
        "raftchaos/faults/executor.py",
        "            await _in_thread(self._journal.record_open, run, _kind(uses), _steps(uses))\n",
        "",
        FAULTS,
    ),
    Mutant(
        "nobody undoes a record that is done",
        "raftchaos/faults/undo.py",
        "return [record for record in self.records().values() if not record.done]",
        "return list(self.records().values())",
        ("tests/unit/faults",),
    ),
    # ---- the log
    Mutant(
        "snapshot checksum",
        "raftchaos/consensus/files.py",
        "    if zlib.crc32(body) != crc:",
        "    if False:",
        STORAGE,
    ),
    Mutant(
        "pre-vote",
        "raftchaos/consensus/elections.py",
        '            m["term"] > self.term\n            and not self.hears_leader(at)\n',
        '            m["term"] > self.term\n',
        MENDS,
    ),
    Mutant(
        "term file before vote",
        "raftchaos/consensus/storage.py",
        "files.replace_sealed(self.vote_path, VOTE_MAGIC, codec.dumps((term, votedForNodeId)))",
        "pass",
        STORAGE,
    ),
    Mutant(
        "truncation at the first conflict only",
        "raftchaos/consensus/replication.py",
        "                if log[place][2] == entry[2]:\n                    continue\n",
        "",
        MENDS,
    ),
    Mutant(
        "commit only what is verified",
        "raftchaos/consensus/replication.py",
        '        commit = min(m["commit"], match)',
        '        commit = m["commit"]',
        MENDS,
    ),
    Mutant(
        "an observer has no vote",
        "raftchaos/consensus/membership.py",
        "self.voters = frozenset(configuration.voters) if known",
        "self.voters = frozenset((*configuration.voters, *configuration.observers)) if known",
        ("tests/unit/consensus/test_observers.py",),
    ),
    Mutant(
        "voters are sent what is not committed",
        "raftchaos/consensus/membership.py",
        "return node.name in self.configuration.observers and node.name not in self.extras",
        "return True",
        ("tests/unit/consensus/test_observers.py",),
    ),
    Mutant(
        "a removed observer is told so",
        "raftchaos/consensus/membership.py",
        "        if self.role == LEADER:\n            until = now()",
        "        if self.role == LEADER and node.name not in self._configurations[-2][1].observers:\n"
        "            until = now()",
        ("tests/unit/consensus/test_observers.py", OBSERVERS),
    ),
    Mutant(
        "who has no vote does not stand",
        "raftchaos/consensus/elections.py",
        "        if not self.is_voter:\n            return self._forget_silent_leader(at)",
        "        if False:\n            return self._forget_silent_leader(at)",
        ("tests/unit/consensus/test_observers.py", OBSERVERS),
    ),
    Mutant(
        "a follower confirms its log anew",
        "raftchaos/consensus/raft.py",
        "self.progress[node], self.match_index[node] = Progress(), 0",
        "self.progress[node] = Progress()",
        ("tests/simulation/test_lost_log.py",),
    ),
    # ---- joining
    Mutant(
        "a newcomer is not its name's past",
        "raftchaos/peer/membership.py",
        "if identity.voted:  # it was let in before, or founded the cluster",
        "if True:",
        ("tests/simulation/test_newcomer.py",),
    ),
    Mutant(
        "only a member ends as removed",
        "raftchaos/peer/assembly.py",
        "return identity is not None and identity.voted and self.replica.removed",
        "return self.replica.removed",
        (REPLACED,),
    ),
    Mutant(
        "who is declined looks whether to end",
        "raftchaos/consensus/transport.py",
        "                self.refused()\n",
        "",
        (f"{TRANSCRIPT}[a_peer_that_was_away_while_it_was_removed]",),
    ),
    Mutant(
        "a promotion is answered when it is done",
        "raftchaos/agent/membership.py",
        "            await self._log.add_voter(name, node.raft_address, timeout=limits.PROMOTION_TIMEOUT)",
        "            pass",
        (OBSERVERS,),
    ),
    # ---- upgrades
    Mutant(
        "nothing is proposed that a member does not know",
        "raftchaos/core/releases.py",
        "_parts(node.version) < _parts(kind.since)",
        "False",
        ("tests/unit/core/test_releases.py", "tests/simulation/test_releases_side_by_side.py"),
    ),
    Mutant(
        "whoever proposes looks at the releases",
        "raftchaos/peer/membership.py",
        """        releases.check(command, self.nodes())
        began""",
        """        began""",
        ("tests/simulation/test_releases_side_by_side.py",),
    ),
    Mutant(
        "the leader looks at the releases",
        "raftchaos/peer/membership.py",
        """        try:
            releases.check(command, self.nodes())""",
        """        try:
            pass""",
        ("tests/simulation/test_releases_side_by_side.py",),
    ),
)
