"""The agent of a peer: keeps its lease, leads the cluster while its replica leads, and makes the world match the state.

Every part has `async def run()`, which ends only by cancellation or by a fatal error; the composition root runs them
all in one task group, so that a peer whose part has failed stops and its reaper takes back what it did.
"""
