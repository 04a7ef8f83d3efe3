#!/bin/sh
# Makes what the compose stack keeps secret, once: what is there already stays, so it may run again at any time.
#
#   SECRETS        a directory with one for each role: redis, worker, publisher, intake, cloudstack, flower
#   REDIS_ADDRESS  where the roles find Redis, host:port
#   KEY_PREFIX     the setting key_prefix; "configdrive:" when it is not set
#   TEMPLATE       deploy/redis/users.acl.template, in which @role@ stands for the SHA-256 of a password, and @prefix@ for the prefix
set -eu
umask 077

prefix=${KEY_PREFIX-configdrive:}

password() { # 64 hexadecimal digits
  head -c 32 /dev/urandom | sha256sum | cut -d ' ' -f 1
}

put() { # whole or not at all: from standard input to a file, with a mode
  cat >"$1.new"
  chmod "$2" "$1.new"
  mv "$1.new" "$1"
}

acl=$(sed "s/@prefix@/$prefix/g" "$TEMPLATE")
for role in publisher intake cloudstack worker flower; do
  secret=$SECRETS/$role/redis.password
  [ -s "$secret" ] || password | put "$secret" 600
  printf 'redis_url = "redis://%s:%s@%s/0"\nkey_prefix = "%s"\n' "$role" "$(cat "$secret")" "$REDIS_ADDRESS" "$prefix" \
    | put "$SECRETS/$role/settings.toml" 600
  digest=$(printf %s "$(cat "$secret")" | sha256sum | cut -d ' ' -f 1)
  acl=$(printf '%s\n' "$acl" | sed "s/@$role@/$digest/")
done
# Digests of 256 random bits give away no password; Redis runs as another user than this script.
printf '%s\n' "$acl" | put "$SECRETS/redis/users.acl" 644

login=$SECRETS/flower/login
[ -s "$login" ] || printf 'admin:%s\n' "$(password)" | put "$login" 600

# Workers open what is sealed with it, publishers need its public half only.
export CONFIGDRIVE_KEYS_FILE="$SECRETS/worker/keys.json"
[ -s "$CONFIGDRIVE_KEYS_FILE" ] || configdrive keys generate
public=$(configdrive keys public)
for role in publisher intake cloudstack; do
  printf 'public_key = "%s"\n' "$public" >>"$SECRETS/$role/settings.toml"
done
