#!/bin/sh
# Installs the image's operating system packages, Python 3.9 from Debian 11 among them.
#
# Takes from the environment: DEBIAN_MIRROR (optional), the proxies; and extra CA certificates from
# /build/certificates. Nothing of these stays: /build is not part of the image, and clean.sh puts the package
# sources back as the base had them.
set -eu
export DEBIAN_FRONTEND=noninteractive

cp -a /etc/apt /build/apt.orig

# The base's own sources tell where Debian is to be had. Both notations exist: deb822 (the registry's base)
# and one line (debootstrap's).
uris() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -n 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\([a-z+]*:[^ ]*\).*/\2/p'
    cat /etc/apt/sources.list.d/*.sources 2>/dev/null | sed -n 's/^URIs: *//p' | tr ' ' '\n'
}
main=${DEBIAN_MIRROR:-$(uris | grep -v -m1 -e '-security/*$')}
main=${main%/}
# A mirror's security updates lie beside it, as at Debian's own address; else where the base has them from.
beside=${main%/*}/debian-security
elsewhere=$(uris | grep -m1 -e '-security/*$' || true)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
for suite in bookworm bullseye; do
    echo "deb [signed-by=$keyring] $main $suite main" > /etc/apt/sources.list.d/$suite.list
done
# Debian 11 serves nothing but Python 3.9 and what that needs.
printf 'Package: *\nPin: release n=bullseye*\nPin-Priority: 100\n' > /etc/apt/preferences.d/bullseye

# One file that every client below is told to trust: the base's own certificates and the extra ones.
cat /etc/ssl/certs/ca-certificates.crt /build/certificates/*.crt > /build/ca.pem 2>/dev/null || true
cat > /etc/apt/apt.conf.d/90build <<'C'
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
Dpkg::Use-Pty "0";
C
[ ! -s /build/ca.pem ] || echo 'Acquire::https::CAInfo "/build/ca.pem";' >> /etc/apt/apt.conf.d/90build
# Documentation in many languages serves nobody in a container.
printf 'path-exclude /usr/share/%s\n' 'doc/*' 'man/*' 'info/*' 'locale/*' > /etc/dpkg/dpkg.cfg.d/90build
printf 'path-include /usr/share/doc/*/copyright\n' >> /etc/dpkg/dpkg.cfg.d/90build

update() {
    apt-get update -qq -o APT::Update::Error-Mode=any
}
security() {
    for suite in bookworm ${2:-}; do
        echo "deb [signed-by=$keyring] $1 $suite-security main" > /etc/apt/sources.list.d/$suite-security.list
    done
    update
}
# Old suites' security updates move to Debian's archive some day; the main suite has Python 3.9 all the same.
if ! security "$beside" bullseye && ! security "$beside"; then
    rm -f /etc/apt/sources.list.d/*-security.list
    if [ -z "$elsewhere" ] || ! security "$elsewhere"; then
        rm -f /etc/apt/sources.list.d/*-security.list
        echo "W: no security updates from $beside${elsewhere:+ nor $elsewhere}" >&2
        update
    fi
fi
apt-get upgrade -qq -y
apt-get install -qq -y \
    bash-completion ca-certificates curl git less nano openssh-client procps tini unzip \
    python3.11 python3.11-venv python3.9
# Debian 12 says that its own python3-distutils replaces Debian 11's, so 3.9's half is unpacked by hand.
cd /tmp
apt-get download -qq python3-distutils/bullseye
dpkg-deb -x python3-distutils_*.deb distutils
cp -a distutils/usr/lib/python3.9/distutils /usr/lib/python3.9/
rm -rf distutils python3-distutils_*.deb

cat /etc/ssl/certs/ca-certificates.crt /build/certificates/*.crt > /build/ca.pem 2>/dev/null || true
