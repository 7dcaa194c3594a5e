# ---------------------------------------------------------------- packages of a host that is not a node yet
#
# A part of bootstrap.sh. apt works on its own: what cuts the connection or kills the shell must not stop dpkg
# in the middle of a package, and whatever was cut short is finished by the next run.

DEBS=/var/cache/kome-debs
POLICY=/usr/sbin/policy-rc.d
POLICY_MARK='# kome-tui rebuild: packages start nothing while they are installed'
AGAIN='--- another attempt'

missing() { # packages, also those that a power cut has left unpacked and not set up
    names=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 'nginx*' 'libnginx-mod-*' logrotate nftables util-linux 2>/dev/null |
        awk '/^(half-installed|unpacked|half-configured) / {printf " %s", $2}')
    [ -x "$NGINX" ] || case "$names " in *' nginx '*) ;; *) names="$names nginx" ;; esac
    command -v logrotate >/dev/null 2>&1 || names="$names logrotate"
    command -v nft >/dev/null 2>&1 || names="$names nftables"
    command -v flock >/dev/null 2>&1 || names="$names util-linux"
    printf '%s\n' "${names:- -}"
}

deb() { # one .deb file, for a host without a way out
    need name "$a_name"
    need size "$a_size"
    need sha256 "$a_sha256"
    case $a_name in */* | *[!a-z0-9.]*) end usage 'bad value of name' ;; esac
    mkdir -p "$DEBS" && free_kb_of "$DEBS"
    [ "$free" = - ] || [ "$free" -gt $((a_size / 512)) ] || end refused "the disk is full: $free KB free"
    digest "$DEBS/$a_name"
    if [ "$sum" != "$a_sha256" ]; then
        head -c "$a_size" >"$DEBS/$a_name.part" || end refused 'the package could not be written'
        digest "$DEBS/$a_name.part"
        [ "$sum" = "$a_sha256" ] || end refused 'the package was damaged on its way'
        replace "$DEBS/$a_name.part" "$DEBS/$a_name" || end failed "cannot write in $DEBS"
    fi
    end_ok
}

packages() { # of the files sent, the last of which is NAME; none: of the host's own sources
    need name "$a_name"
    wanted=$(missing)
    [ "$wanted" != ' -' ] || { tidy && end_ok; }
    command -v apt-get >/dev/null 2>&1 || end refused "it has no apt-get, and lacks:$wanted"
    only_sent "$a_name" || end failed "cannot write in $DEBS"
    run_folder && log=$RUN/apt.$$ && rm -f "$log".* && : >"$log" || end failed "cannot write in $RUN"
    # On its own: a cut connection must not stop dpkg in the middle of a package.
    # shellcheck disable=SC2086 # $wanted is words
    { install_packages $wanted >"$log" 2>&1 </dev/null; printf '%s\n' $? >"$log.new" && mv -f "$log.new" "$log.done"; } &
    shown=0 noted='' tries=0
    until [ -e "$log.done" ]; do
        show_new_lines
        tries=$((tries + 1))
        [ $((tries % 10)) -ne 0 ] || say 'note -' # the operator may want to stop waiting
        nap 30
    done
    show_new_lines
    read -r code <"$log.done"
    mv -f "$log" "$RUN/apt.log" # to be read when something went wrong
    rm -f "$log".*
    wanted=$(missing)
    [ "$wanted" = ' -' ] || end failed "$(apt_reason "$RUN/apt.log"); lacking:$wanted"
    [ "$code" -eq 0 ] || say "note all there, but: $(apt_reason "$RUN/apt.log")" # about other packages
    tidy
    end_ok
}

only_sent() { # LAST: an earlier run may have sent others, and more
    [ "$1" != none ] || { rm -rf "$DEBS" && return; }
    past=no
    for file in "$DEBS"/*.deb; do
        [ "$past" = no ] || rm -f "$file" || return 1
        [ "${file##*/}" != "$1" ] || past=yes
    done
    [ "$past" = yes ]
}

tidy() { # what a power cut may have left of an installation that is complete by now
    ! grep -q -s -F -e "$POLICY_MARK" "$POLICY" || rm -f "$POLICY"
    rm -rf "$DEBS"
}

show_new_lines() {
    lines=$(wc -l <"$log")
    [ "$lines" -gt "$shown" ] || return 0
    sed -n "$((shown + 1)),${lines}p" "$log" |
        grep -e '^Get:.*]$' -e '^Err:[0-9]* http' -e '^Unpacking ' -e '^Setting up ' -e ' Could not get lock ' >"$log.show"
    shown=$lines
    while IFS= read -r line; do
        case $line in *' Could not get lock '*) line="waiting for another apt to end: ${line##*' It is '}" ;; esac
        [ "$line" = "$noted" ] || say "note $(printf '%s' "$line" | cut -c1-100 | one_line)"
        noted=$line
    done <"$log.show"
}

# Why not, in one line: the first complaint of the last attempt. What could not be fetched comes before
# what that has led to, and what dpkg says goes on in the next line.
apt_reason() { # LOG
    awk -v again="$AGAIN" '
        $0 == again {first = fetch = unmet = absent = ""; next}
        goes_on {first = first $0; goes_on = 0}
        /^The following packages have unmet dependencies/ {getline; unmet = $0; next}
        /^[EW]: Failed to fetch / {if (!fetch) fetch = substr($0, 4); next}
        /^E: Unable to locate package |^E: Package .* has no installation candidate/ {absent = $0; next}
        /^E: (Unable to fetch some|Some index files)/ {next}
        /^E: |^dpkg: error/ && !first {first = $0; goes_on = /:$/}
        END {
            sub(/^E: /, "", first)
            if (unmet) print "apt:" unmet
            else if (first) print "apt: " first
            else if (fetch) print "apt: " fetch "; a host without a way out gets .deb files by --packages DIR"
            else if (absent) print "apt: its package sources do not have it; name a folder of .deb files by --packages DIR"
            else print "apt gives no reason"
        }' "$1" | one_line
}

install_packages() { # NAME...
    trap '' HUP
    own_policy=no
    if [ ! -e "$POLICY" ] || grep -q -F -e "$POLICY_MARK" "$POLICY"; then
        own_policy=yes
        printf '%s\n' '#!/bin/sh' "$POLICY_MARK" 'exit 101' >"$POLICY" && chmod 755 "$POLICY" || return 1
    fi
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    dpkg --force-confold --configure -a
    printf '%s\n' "$AGAIN"
    if [ -d "$DEBS" ]; then
        local_index && apt_get "$@"
    else
        apt_get "$@" || { printf '%s\n' "$AGAIN" && fresh_lists; apt_get "$@"; }
    fi
    code=$?
    [ "$own_policy" = no ] || rm -f "$POLICY"
    return "$code"
}

apt_get() { # NAME...
    # shellcheck disable=SC2086 # $sources is words, or nothing
    apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold \
        -o Dpkg::Use-Pty=0 ${sources:-} install "$@"
}

# apt waits by itself for dpkg's lock only. At boot and once a day another one reads the lists.
fresh_lists() {
    tries=0
    until apt-get -q update; do
        tail -n 2 "$log" | grep -q ' Could not get lock .*/lists/lock' && [ "$tries" -lt 150 ] || return 1
        tries=$((tries + 1))
        printf '%s\n' "$AGAIN"
        nap 200
    done
}

# The .deb files as a source of packages, the only one: apt then takes what is needed of them and no more.
local_index() {
    mkdir -p "$DEBS/lists/partial" && : >"$DEBS/Packages" || return 1
    for file in "$DEBS"/*.deb; do
        digest "$file"
        size_of "$file"
        dpkg-deb -f "$file" >>"$DEBS/Packages" &&
            printf '%s\n' "Filename: ./${file##*/}" "Size: $size" "SHA256: $sum" '' >>"$DEBS/Packages" || return 1
    done
    printf 'deb [trusted=yes] file:%s ./\n' "$DEBS" >"$DEBS/sources.list"
    sources="-o Dir::Etc::sourcelist=$DEBS/sources.list -o Dir::Etc::sourceparts=- -o Dir::State::lists=$DEBS/lists"
    sources="$sources -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root -o Acquire::Languages=none"
    # shellcheck disable=SC2086 # words
    apt-get -q $sources update
}

