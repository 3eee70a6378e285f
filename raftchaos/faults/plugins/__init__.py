"""Faults that others write: executables in a folder of the operator, and Python packages."""
