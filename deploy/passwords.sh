#!/bin/sh
# Makes a random password for each Redis user in deploy/secrets/<user>, where there is none yet.
# The folder is closed to other users of this host; the files are readable, because the containers' users must read them.
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"
for user in producer relay worker operator; do
    if [ ! -s "$folder/$user" ]; then
        head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n' > "$folder/$user"
        chmod 644 "$folder/$user"
        echo "made $folder/$user"
    fi
done
