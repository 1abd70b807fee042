#!/bin/sh
# Starts Redis with users.acl, where each `>change-me-<user>` is replaced by the hash of that user's password.
# A password is the first line of $SECRETS/<user>. Without one Redis does not start, so a placeholder is never a password.
# All arguments go to redis-server.
set -eu
here=$(dirname "$0")
secrets=${SECRETS:-/run/secrets}
acl=${ACL:-/tmp/users.acl} # the path in --aclfile

umask 077
cp "$here/users.acl" "$acl"
for user in $(sed -n 's/^user .* >change-me-\([^ ]*\) .*/\1/p' "$here/users.acl"); do
    password=
    if [ -f "$secrets/$user" ]; then
        password=$(head -n 1 "$secrets/$user" | tr -d '\r')
    fi
    if [ -z "$password" ]; then
        echo "no password for $user: run deploy/passwords.sh, or write one into the file $secrets/$user" >&2
        exit 1
    fi
    hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
    sed "s/ >change-me-$user / #$hash /" "$acl" > "$acl.new"
    mv "$acl.new" "$acl"
done
exec redis-server "$@"
