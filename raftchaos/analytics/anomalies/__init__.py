"""What anomalies are looked for: a detector of any metric, six types with their own statistics, and their incidents."""
