"""What runs the fleet somewhere: units, charts, compose files, packages."""
