"""The fleet's Celery: the app, the worker's boot steps, and the transport that lets in only what the fleet sends."""
