"""The compose stack on a real engine; `make test-compose` runs it."""
