"""`make demo`: one VM's whole life, with real parts. Everything is private, on loopback, and taken down at the end."""
