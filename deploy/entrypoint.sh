#!/bin/sh
# A command that starts with a path, or is a shell, is run as it is; everything else is one of `configdrive`.
set -eu
case "${1:-}" in
  /* | sh | configdrive | python3) exec "$@" ;;
  *) exec configdrive "$@" ;;
esac
