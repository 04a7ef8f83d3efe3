"""Where the fleet touches the world: settings, Redis, secrets, hypervisor drivers, the Celery app, the command line."""
