"""How patient the replicas are with one another."""

from __future__ import annotations

from dataclasses import dataclass

from pysyncobj.config import SyncObjConf

from raftchaos.errors import UsageError


@dataclass(frozen=True, slots=True)
class Timings:
    """Timeouts in seconds. The defaults suit a shared machine whose loop may be late by 125 ms."""

    election_min: float = 0.3
    """A follower that hears no leader this long may ask for an election."""
    election_max: float = 0.6
    """... and one that has not asked by now does. The time is drawn between both."""
    append_period: float = 0.06
    """The leader sends at least this often."""
    failover_jitter: float = 0.002
    """After the leader's connection broke: the random part of the wait, so that equals do not stand at once."""
    failover_step: float = 0.015
    """... and the part for each place in the order of names."""

    def __post_init__(self) -> None:
        if self.append_period <= 0 or self.election_min <= 3 * self.append_period:
            raise UsageError(
                f"the election timeout ({self.election_min} s) must be more than three times the period of the "
                f"leader's messages ({self.append_period} s): one lost message must not look like a lost leader"
            )
        if self.election_max <= self.election_min:
            raise UsageError(
                f"the longest election timeout ({self.election_max} s) must exceed the shortest "
                f"({self.election_min} s): peers that wait equally long split the vote"
            )

    @property
    def silence(self) -> float:
        """A connection on which nothing arrived this long is closed."""
        return max(0.5, 2 * self.election_max)

    @property
    def fallback(self) -> float:
        """A leader that a majority has not answered for this long steps down."""
        return 2 * self.election_min

    def configuration(self, log: object) -> SyncObjConf:
        """What PySyncObj is told. Its own checks are bare asserts; ours above speak first."""
        return SyncObjConf(
            autoTick=False,
            useFork=False,
            journalFile=log,
            raftMinTimeout=self.election_min,
            raftMaxTimeout=self.election_max,
            appendEntriesPeriod=self.append_period,
            leaderFallbackTimeout=self.fallback,
            connectionTimeout=max(3.5, self.election_max),
            appendEntriesUseBatch=True,
            appendEntriesBatchSizeBytes=256 * 1024,
            dynamicMembershipChange=False,
        )
