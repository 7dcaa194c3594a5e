#!/bin/sh
# Prepares this checkout: setup.sh run | setup.sh test
#
# run   .venv with what the console and the practice fleet need
# test  the same with what the tests need; on Debian as root also the system packages
#
# A package installed here must not start a service on someone's machine: see install_packages.
set -u

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

cd "$(dirname "$0")/.." || exit 2
mode=${1:-run}
case $mode in
    run) extras=lab,web ;;
    test) extras=lab,web,dev ;;
    *) die "usage: setup.sh run|test" ;;
esac

is_debian_root() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }

apt_try() {
    # The lists may be missing or old, and a mirror may be slow once: three tries.
    for attempt in 1 2 3; do
        apt-get -qq -o DPkg::Lock::Timeout=120 update >/dev/null 2>&1
        if DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 \
            -o Dpkg::Options::=--force-confold \
            install --no-install-recommends "$@" >.venv-apt.log 2>&1; then
            rm -f .venv-apt.log
            return 0
        fi
        say "apt-get install $* failed (try $attempt of 3)"
    done
    tail -n 20 .venv-apt.log >&2
    return 1
}

# Installs Debian packages without letting any of them start a service: policy-rc.d says no while
# dpkg runs, and a unit that arrived with them is disabled, so that the next boot does not start it.
install_packages() {
    policy=/usr/sbin/policy-rc.d
    made_policy=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made_policy=yes
    fi
    say "installing $*"
    apt_try "$@"
    status=$?
    [ -z "$made_policy" ] || rm -f "$policy"
    if [ "$status" = 0 ] && [ -d /run/systemd/system ]; then
        for pair in nginx:nginx redis-server:redis-server openssh-server:ssh logrotate:logrotate.timer; do
            case " $* " in *" ${pair%%:*} "*) systemctl disable "${pair#*:}" >/dev/null 2>&1 ;; esac
        done
    fi
    return "$status"
}

find_python() {
    for candidate in "${PYTHON:-python3}" python3 python3.14 python3.13 python3.12 python3.11; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

make_venv() {
    python=$(find_python) || die "Python 3.11 or newer is needed; found: $(python3 --version 2>&1). Install one, or say PYTHON=/path/to/python3"
    if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
        rm -rf .venv
        if ! "$python" -m venv .venv >/dev/null 2>&1; then
            rm -rf .venv
            version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
            is_debian_root || die "this Python has no venv module; on Debian or Ubuntu: apt install python3-venv"
            install_packages "python$version-venv" || install_packages python3-venv || die "python3-venv could not be installed"
            "$python" -m venv .venv || die "the virtual environment .venv could not be made"
        fi
    fi
    # Installed again only when what it was made from has changed.
    wanted="$extras $(cksum <pyproject.toml) $PWD"
    have=$(cat .venv/kome-installed 2>/dev/null)
    if [ "$wanted" != "$have" ] && [ "lab,web,dev ${wanted#* }" != "$have" ]; then
        say "installing kome-tui[$extras] into .venv"
        for attempt in 1 2 3; do
            if .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extras]"; then
                printf '%s' "$wanted" >.venv/kome-installed
                return 0
            fi
            say "pip failed (try $attempt of 3)"
        done
        die "the Python packages could not be installed"
    fi
}

# What the tests run for real, as command:package.
test_packages() {
    for pair in nginx:nginx redis-server:redis-server ssh:openssh-client ps:procps tmux:tmux \
        shellcheck:shellcheck busybox:busybox faketime:faketime logrotate:logrotate nft:nftables \
        ip:iproute2 sudo:sudo sshd:openssh-server systemd-analyze:systemd nsenter:util-linux \
        mkfs.ext4:e2fsprogs debootstrap:debootstrap systemd-nspawn:systemd-container; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null 2>&1 || printf '%s ' "${pair#*:}"
    done
}

make_venv
if [ "$mode" = test ]; then
    missing=$(test_packages)
    if [ -n "$missing" ]; then
        if is_debian_root; then
            # shellcheck disable=SC2086 # a list of package names
            install_packages $missing || die "these packages could not be installed: $missing"
        else
            say "not installed, so the tests that need them are skipped and say so: $missing"
        fi
    fi
fi
if [ "$mode" = test ]; then
    # Where these can't be had, the tests that need them are skipped and say so.
    sh scripts/fetch-nginx-1.26.sh >&2 || say "nginx 1.26 could not be fetched"
    if is_debian_root; then
        sh scripts/machine-image.sh >&2 || say "the image of the test machines could not be made"
    fi
fi
