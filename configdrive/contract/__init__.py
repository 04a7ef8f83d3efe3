"""The published contract: events, outcomes, and how guest data is sealed. What an orchestrator writes and reads."""
