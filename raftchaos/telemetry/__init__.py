"""What a peer says about itself in numbers: the catalogue of metrics, and their exposition for Prometheus."""
