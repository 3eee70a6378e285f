"""The command line: one file a noun. Nothing here decides; it asks peers, and shows what they say."""
