#!/bin/sh
# Turns the build's operating system into the image's: takes away what only the build needed, makes the user.
#
# KEEP_CERTIFICATES=1 leaves the extra CA certificates in, for everything that runs in the image.
set -eu
export DEBIAN_FRONTEND=noninteractive

apt-get purge -qq -y --auto-remove python3.11-venv >/dev/null

rm -rf /etc/apt && mv /build/apt.orig /etc/apt
rm -f /etc/dpkg/dpkg.cfg.d/90build

mkdir -p /etc/berth
if [ "${KEEP_CERTIFICATES:-0}" = 1 ]; then
    # berth-start tells everything that speaks TLS of this file; a deployment may mount another one over it.
    cp /build/ca.pem /etc/berth/ca-bundle.pem
fi

# /srv/shared is where the deployment mounts its read-only data.
useradd --uid 1000 --user-group --create-home --shell /bin/bash jovyan
mkdir -p /srv/shared

apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /tmp/* /var/tmp/* /root/.cache /build
rm -f /etc/machine-id /var/lib/dbus/machine-id /etc/.pwd.lock /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- \
    /etc/subuid- /etc/subgid-
