"""What analytics says about a cluster and its targets: validated data, one file a kind of finding."""
