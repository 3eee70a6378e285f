"""toxiproxy's HTTP API, for the clients that people already have: its routes, words and texts, on our proxies."""
