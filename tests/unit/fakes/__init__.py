"""Stand-ins that implement the ports in memory: for the logic behind a port, never for the wire in front of it."""
