"""Who is who: certificates, join tokens, API tokens, TLS contexts, and the place of the local user's socket."""
