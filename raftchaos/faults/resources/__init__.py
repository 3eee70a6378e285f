"""Faults of resources: loads are borne by child processes that end with main, with the lease, or by their undo step."""
