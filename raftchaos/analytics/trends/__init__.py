"""Trends: whether a series goes somewhere, how fast, how sure that is, and where it changed."""
