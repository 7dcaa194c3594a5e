#!/bin/sh
# Fetches Debian 13's nginx 1.26 for the tests, beside the machine's own: fetch-nginx-1.26.sh
#
# Its packages come by apt from the mirror this machine already uses, with Debian's signature
# checked, and are unpacked (never installed) into a cache folder. Prints one line; exit 1: not had.
set -u

root=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/kome-tui-tests/nginx-1.26
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# nginx, and the libraries it is linked with: the machine's own may be too old for it.
packages="nginx nginx-common libc6 libcrypt1 libpcre2-8-0 libssl3t64 libzstd1 zlib1g"

cannot() {
    printf 'nginx 1.26: not here: %s\n' "$*"
    exit 1
}

works() { "$1/nginx" -v 2>&1 | grep -q 'nginx/1\.26\.'; }

if works "$root"; then
    printf 'nginx 1.26: %s/nginx\n' "$root"
    exit 0
fi
for tool in apt-get dpkg dpkg-deb; do
    command -v "$tool" >/dev/null 2>&1 || cannot "$tool is missing (only Debian's apt can fetch it)"
done
[ -r "$keyring" ] || cannot "$keyring is missing (apt install debian-archive-keyring)"
# A wrong guess does no harm: nothing is taken that Debian's key has not signed.
# shellcheck disable=SC2016 # apt's own variables
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    grep '/debian/*$' | head -n 1)
[ -n "$mirror" ] || cannot "apt's sources name no mirror of Debian"

mkdir -p "${root%/*}" 2>/dev/null || cannot "no cache folder"
work=$(mktemp -d "${root%/*}/fetch.XXXXXX") || cannot "no room in ${root%/*}"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# An apt of its own: the machine's lists, state and caches stay as they are.
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/debs" "$work/tree" || cannot "no room"
: >"$work/status"
printf 'deb [signed-by=%s] %s trixie main\n' "$keyring" "$mirror" >"$work/sources.list"
apt_own() {
    apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State="$work" -o Dir::State::status="$work/status" -o Dir::State::Lists="$work/lists" \
        -o Dir::Cache="$work" -o Dir::Cache::archives="$work/archives" -o APT::Sandbox::User=root \
        -o Acquire::Languages=none -o Acquire::Retries=3 -o Acquire::http::Timeout=20 -o APT::Update::Error-Mode=any \
        -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false "$@" \
        >>"$work/apt.log" 2>&1
}
apt_own update || cannot "apt-get update for trixie: $(grep '^[WE]:' "$work/apt.log" | head -n 1)"
# shellcheck disable=SC2086 # a list of package names
(cd "$work/debs" && apt_own download $packages) ||
    cannot "apt-get download: $(grep '^E:' "$work/apt.log" | head -n 1)"
for deb in "$work"/debs/*.deb; do
    dpkg-deb -x "$deb" "$work/tree" || cannot "$deb cannot be unpacked"
done

# The packages' own loader and libraries; a merged /usr has no /lib of its own in a package.
loader=$(find "$work/tree" -name 'ld-linux*.so.*' ! -type l | head -n 1)
[ -n "$loader" ] || cannot "libc6 holds no loader"
libraries=${loader%/*}
for library in "$work"/tree/lib/*-linux-gnu* "$work"/tree/usr/lib/*-linux-gnu*; do
    [ -d "$library" ] && libraries=$libraries:$library
done
# Moved into its place in one step.
place() { printf '%s' "$1" | sed "s#$work/tree#$root/tree#g"; }
mkdir "$work/new" || cannot "no room"
mv "$work/tree" "$work/new/tree" || cannot "no room"
cat >"$work/new/nginx" <<END
#!/bin/sh
exec '$(place "$loader")' --library-path '$(place "$libraries")' '$root/tree/usr/sbin/nginx' "\$@"
END
chmod 755 "$work/new/nginx" || cannot "no room"
rm -rf "$root"
mv "$work/new" "$root" || cannot "no room in ${root%/*}"
works "$root" || cannot "it does not run here: $("$root/nginx" -v 2>&1 | tail -n 1)"
printf 'nginx 1.26: %s/nginx\n' "$root"
