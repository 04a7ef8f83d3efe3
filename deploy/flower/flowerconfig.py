# ruff: noqa: INP001 - a configuration file, no part of a package
"""Flower's configuration for this fleet: `configdrive flower --conf=deploy/flower/flowerconfig.py`.

The import is what `configdrive flower` does without any file: columns, words, nothing that stops a worker. Add what
your site wants below it, by the names that `flower --help` shows: `url_prefix = "flower"` behind a proxy, `certfile`
and `keyfile` for https without one, `max_tasks` for a longer history, `read_only = False` for buttons that stop workers
(with a login only). The login is best kept out of this file: FLOWER_BASIC_AUTH=user:password in the environment.
"""

from workers.observability.flower import *  # noqa: F403 - Flower looks for its options among this file's names
