#!/bin/sh
# Writes a random password for each Redis user into deploy/secrets/<user>; existing files are kept.
# Other users of this host cannot open the folder. The files are readable, because the containers' users must read them.
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"
for user in producer relay worker operator; do
    if [ ! -s "$folder/$user" ]; then
        head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n' > "$folder/$user"
        chmod 644 "$folder/$user"
        echo "wrote $folder/$user"
    fi
done
