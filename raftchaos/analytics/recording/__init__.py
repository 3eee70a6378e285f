"""What was recorded: events and readings in time buckets of bounded memory."""
