"""The decisions of the cluster, pure: no clock, no randomness, no input or output."""
