#!/bin/sh
# The command `receiver` of an installed service: runs as the service's user, with the service's settings. Link it into
# /usr/local/bin.
cd /var/lib/bandwidth-receiver || exit 1
exec runuser -u receiver -- /opt/bandwidth-receiver/.venv/bin/receiver --env-file /etc/bandwidth-receiver/receiver.env "$@"
