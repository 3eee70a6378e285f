"""The process in which analytics runs in a peer, and main's side of it, which imports no numbers."""
