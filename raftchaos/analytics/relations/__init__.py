"""How numbers hang together: correlations, the impact of an experiment, the comparison of two."""
