#!/bin/sh
# Publishes a stop or a destroy to a configdrive fleet with redis-cli alone, and prints its outcome. (Other events may carry
# secrets, which have to be sealed: see examples/go-client.)
#
#   publish.sh stop|destroy VM-UUID INSTANCE-NAME HYPERVISOR HOST SEQUENCE
#
# REDIS_HOST, REDIS_PORT, REDIS_USER and REDISCLI_AUTH (the password) say where Redis is. Exit code 1: not applied, 3: no
# outcome within a minute; nothing is lost then.
set -eu
[ $# -eq 6 ] || { sed -n '5p' "$0" >&2; exit 2; }

redis() {
  redis-cli -h "${REDIS_HOST:-127.0.0.1}" -p "${REDIS_PORT:-6379}" ${REDIS_USER:+--user "$REDIS_USER"} --no-auth-warning -e --raw "$@"
}

id=$(cat /proc/sys/kernel/random/uuid)
key=$(printf 'publish.sh\n%s' "$id" | openssl dgst -sha256 -binary | base64 | tr '+/' '-_' | cut -c 1-22)
event=$(printf '{"specversion":"1.0","id":"%s","source":"publish.sh","time":"%s","type":"configdrive.vm.%s.v1","data":{"sequence":%s,"vm":{"uuid":"%s","instance_name":"%s"},"hypervisor":"%s","host":"%s"}}' \
  "$id" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$6" "$2" "$3" "$4" "$5")

position=$(redis XREVRANGE configdrive:outcomes + - COUNT 1 | head -n 1) # before publishing: an outcome may come at once
redis LPUSH configdrive:intake "$event" >/dev/null

ends=$(($(date +%s) + 60))
while [ "$(date +%s)" -lt "$ends" ]; do
  found=$(redis XREAD BLOCK 1000 COUNT 100 STREAMS configdrive:outcomes "${position:-0}")
  # Each entry is five lines: position, "event", key, "outcome", JSON.
  outcome=$(printf '%s\n' "$found" | grep -F -x -A 2 -- "$key" | tail -n 1) || true
  if [ -n "$outcome" ]; then
    printf '%s\n' "$outcome"
    case $outcome in *'"status":"applied"'*) exit 0 ;; *) exit 1 ;; esac
  fi
  newest=$(printf '%s\n' "$found" | grep -x '[0-9]*-[0-9]*' | tail -n 1) || true
  position=${newest:-$position}
done
exit 3
