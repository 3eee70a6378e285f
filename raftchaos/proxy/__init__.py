"""The data plane: a process that relays the node's proxies and does faults to what flows through them.

Nothing is imported here: the reaper uses `raftchaos.proxy.control` alone and must stay tiny.
"""
