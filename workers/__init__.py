"""The parts of a worker, where the fleet touches the world: settings, Redis, drivers, Celery, the command line."""
