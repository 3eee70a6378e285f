"""Faults of the kernel's network: own tables and queues, gated by the lease, in any namespace."""
