"""Where the fleet touches the world: settings, Redis, secrets, hypervisor drivers, the Celery app and the command line."""
