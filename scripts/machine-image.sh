#!/bin/sh
# Builds the disks of tests/machines: machine-image.sh [CACHE]; prints the folder that holds them.
#
# bare/      Debian 12 with sshd and sudo; users debian (sudo with a password) and kome (no sudo)
# serving/   the same with Debian's nginx-light
# packages/  nginx-light and what it needs, as .deb files
#
# CACHE is $XDG_CACHE_HOME/kome-tui-tests or ~/.cache/kome-tui-tests. The folder is named after a
# digest of this file, so a changed recipe is built anew; a build that was killed leaves nothing
# that is used. Exit: 0 ready, 2 not possible on this machine, 3 the packages could not be fetched.
set -u

SUITE=bookworm
BASE=systemd,systemd-sysv,libpam-systemd,dbus,openssh-server,sudo,iproute2,nftables,logrotate
SERVER=nginx-light
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
# Units that only cost time here. The apt ones would also hold dpkg's lock at a random moment.
IDLE='apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
    e2scrub_reap.service console-getty.service systemd-pstore.service'

say() { printf 'machine-image: %s\n' "$*" >&2; }
die() { code=$1; shift; say "$*"; exit "$code"; }

# The Debian mirror of this machine's own apt.
mirror() {
    [ -z "${KOME_DEBIAN_MIRROR:-}" ] || { printf '%s\n' "$KOME_DEBIAN_MIRROR"; return; }
    # shellcheck disable=SC2016 # apt's variables
    apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT) $(LABEL)' \
        'Created-By: Packages' |
        awk -v suite="$SUITE" '$2 == suite && $3 == "main" && $4 == "Debian" { print $1; exit }'
}

try() {
    for attempt in 1 2 3; do
        "$@" >>"$log" 2>&1 && return 0
        say "failed (try $attempt of 3): $1"
    done
    tail -n 15 "$log" >&2
    return 1
}

bootstrap() {
    rm -rf --one-file-system "$work/bare"
    debootstrap --variant=minbase --include="$BASE" "$SUITE" "$work/bare" "$from"
}

# This machine's apt for the image's dpkg: its own lists and archives, nothing of this machine's.
image_apt() {
    apt-get -q -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=- \
        -o Dir::State="$work/apt" -o Dir::State::status="$work/bare/var/lib/dpkg/status" \
        -o Dir::Cache="$work/apt" -o APT::Sandbox::User=root "$@"
}

fetch_server() {
    mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial" "$work/packages" &&
        printf 'deb [signed-by=%s] %s %s main\n' "$KEYRING" "$from" "$SUITE" \
            >"$work/apt/sources.list" &&
        image_apt update &&
        image_apt install -y --no-install-recommends --download-only "$SERVER" &&
        cp "$work"/apt/archives/*.deb "$work/packages/"
}

finish_bare() {
    root=$work/bare
    rm -f "$root"/etc/ssh/ssh_host_* "$root"/var/cache/apt/archives/*.deb "$root"/etc/resolv.conf
    rm -rf "$root"/var/lib/apt/lists/*
    # Empty, not missing: missing means a first boot, at which systemd resets every unit.
    : >"$root/etc/machine-id"
    for unit in $IDLE; do ln -sf /dev/null "$root/etc/systemd/system/$unit" || return; done
    chroot "$root" useradd --create-home --shell /bin/bash --groups sudo debian &&
        printf 'debian:%s\n' tramontana-41 | chroot "$root" chpasswd &&
        chroot "$root" useradd --create-home --shell /bin/bash kome
}

# Packages of an image start nothing: there is no systemd in a chroot, and policy-rc.d says no.
install_server() {
    root=$work/serving
    cp -a --reflink=auto "$work/bare" "$root" &&
        printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" &&
        chmod 755 "$root/usr/sbin/policy-rc.d" &&
        mkdir "$root/packages" && cp "$work"/packages/*.deb "$root/packages/" &&
        DEBIAN_FRONTEND=noninteractive chroot "$root" sh -c 'dpkg --install /packages/*.deb' &&
        rm -r "$root/packages" "$root/usr/sbin/policy-rc.d"
}

# In namespaces of its own that end with this script, so that a killed build leaves no mount and no
# process behind.
build() {
    export LC_ALL=C
    try bootstrap || return 3
    try fetch_server || return 3
    finish_bare >>"$log" 2>&1 && install_server >>"$log" 2>&1 && rm -r "$work/apt" && return 0
    tail -n 15 "$log" >&2
    return 2
}

if [ "${1:-}" = --build ]; then
    work=$2 from=$3 log=$2.log
    build
    exit
fi

umask 022
cache=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/kome-tui-tests}
key=$(sha256sum <"$0" | cut -c1-12)
mkdir -p "$cache" || die 2 "$cache cannot be made"
exec 9>"$cache/machines.lock" || die 2 "$cache cannot be written"
flock 9 || die 2 "$cache/machines.lock cannot be locked"
images=$cache/machines-$key
if [ -d "$images" ]; then
    printf '%s\n' "$images"
    exit 0
fi
[ "$(id -u)" = 0 ] || die 2 "building the images needs root"
for command in debootstrap apt-get unshare setpriv chroot; do
    command -v "$command" >/dev/null 2>&1 || die 2 "$command is not installed"
done
from=$(mirror)
[ -n "$from" ] || die 2 "this machine's apt sources have no Debian $SUITE; name one in KOME_DEBIAN_MIRROR"

say "building Debian machines for the tests in $cache: one to two minutes, once"
rm -rf --one-file-system "$cache"/machines-building.*
work=$(mktemp -d "$cache/machines-building.XXXXXX") || die 2 "no room in $cache"
chmod 755 "$work"
trap 'rm -rf --one-file-system "$work" "$work.log"' EXIT
trap 'exit 2' INT TERM HUP
setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child=KILL --mount-proc \
    sh "$0" --build "$work" "$from" ||
    die $? "the images could not be built"
mv -T "$work" "$images" || die 2 "$images cannot be made"
# Images of older recipes, unless a test run holds one.
for old in "$cache"/machines-????????????; do
    [ "$old" = "$images" ] || [ ! -d "$old" ] ||
        flock --nonblock "$old.lock" rm -rf --one-file-system "$old"
done
printf '%s\n' "$images"
