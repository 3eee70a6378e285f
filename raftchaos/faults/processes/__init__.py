"""Faults of processes: finding those that are meant, guarding those that are not, signals that meet nobody else."""
