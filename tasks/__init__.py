"""What the queue carries: the Celery task of a lifecycle event, the retry policy, the publisher and the sweep.

Knows Celery, knows no hypervisor.
"""
