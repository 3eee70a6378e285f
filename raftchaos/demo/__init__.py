"""The demonstration: a small real shop, a load on it, and an experiment that survives the loss of its leader."""
