# ---------------------------------------------------------------- time that no clock change moves

# Centiseconds since boot in $now.
now() {
    if { read -r up _ </proc/uptime; } 2>/dev/null; then :; else up=$(uptime-s); fi
    to_cs "$up"
    now=$cs
}

to_cs() { # SECONDS with or without a fraction -> $cs
    fraction=${1#*.}
    [ "$fraction" != "$1" ] || fraction=0
    fraction=${fraction}00
    fraction=${fraction%"${fraction#??}"}
    cs=$((${1%%.*} * 100 + ${fraction#0}))
}

boot_id() {
    { read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null || boot=none
}

nap() { # CENTISECONDS
    part=$(($1 % 100))
    [ "$part" -gt 9 ] || part=0$part
    sleep "$(($1 / 100)).$part" 9>&-
}

blink() { sleep 0.003 9>&-; }

# ---------------------------------------------------------------- the disk

durable() { sync "$@" 2>/dev/null; } # fsync of each file and folder, with its error

# Rename over whatever is there, a link to a folder included. BSD's mv spells it -h.
replace() { mv -fT "$1" "$2" 2>/dev/null || mv -fh "$1" "$2" 2>/dev/null; }

link_to() { # TARGET LINK: atomic, not yet durable
    [ ! -L "$2.new" ] && [ ! -e "$2.new" ] || rm -rf "$2.new"
    ln -s "$1" "$2.new" && replace "$2.new" "$2"
}

linked_id() { # LINK -> $id, or - when there is none
    id=-
    [ -L "$1" ] || return 0
    id=$(readlink "$1")
    id=${id##*/}
    is_id "$id" || id=-
}

# The release that `current` names, in $live. Entering its folder needs no process of its own; a link that
# leads nowhere is read. Leaves the shell in /.
live_id() {
    live=-
    if cd -P "$STATE/current" 2>/dev/null; then
        case $PWD in */releases/*) live=${PWD##*/} ;; esac
        cd /
        is_id "$live" && return 0
    fi
    linked_id "$STATE/current"
    live=$id
}

digest() { # FILE -> $sum
    sum=$(sha256sum 2>/dev/null <"$1") || sum=
    sum=${sum%% *}
}

# The digests of several files by one process, for sum_of() to find. Whoever changes one of them empties it.
sums=
digests() { sums=$(sha256sum "$@" 2>/dev/null); }

sum_of() { # FILE -> $sum: as digests() has seen it, else as it is now
    case "$NL$sums$NL" in
        *"  $1$NL"*) sum="$NL$sums$NL" && sum=${sum%%"  $1$NL"*} && sum=${sum##*"$NL"} ;;
        *) digest "$1" ;;
    esac
}

# Does releases/ID hold what its id stands for? Its note has the digest of the file; what an earlier script
# has staged has no note.
verified() {
    conf=$STATE/releases/$1/nginx.conf
    [ -r "$conf" ] || return 1
    if noted "$1" digest; then
        sum_of "$conf"
        [ "$sum" = "$noted" ]
    else
        sum=$(sed "s/$1/@ID@/g" "$conf" 2>/dev/null | sha256sum)
        case $sum in "$1"*) return 0 ;; *) return 1 ;; esac
    fi
}

# digest; marked: yes where the file names its id; port: where this release answers; answer: the status line
# of one that has no marker.
noted() { # ID KEY -> $noted, from the note beside a release
    noted=
    [ -r "$STATE/releases/$1/.kome" ] || return 1
    while IFS='=' read -r key value; do
        [ "$key" != "$2" ] || noted=$value
    done <"$STATE/releases/$1/.kome"
    [ -n "$noted" ]
}

linked() { [ -L "$ETC/nginx.conf" ] && [ "$(readlink "$ETC/nginx.conf")" = "$STATE/current/nginx.conf" ]; }

# yes when what nginx is told to use is not the release that `current` names.
drift() {
    drift=no
    [ "$live" != - ] || return 0
    linked && verified "$live" || drift=yes
}

# Free kilobytes in $free, free inodes in $inodes; - where the file system does not count them. The one
# process is the same on GNU and busybox; elsewhere df is asked twice.
free_kb() {
    free=- inodes=-
    # shellcheck disable=SC2046 # numbers
    set -- $(stat -f -c '%a %S %d %c' "$STATE" 2>/dev/null)
    if [ $# -eq 4 ] && is_number "$1" 15 && is_number "$2" 9 && is_number "$3" 18; then
        free=$(($1 * $2 / 1024))
        [ "$4" = 0 ] || inodes=$3
        return
    fi
    free=$(df -Pk "$STATE" 2>/dev/null | {
        read -r _
        read -r _ _ _ value _
        printf '%s' "$value"
    })
    is_number "$free" 18 || free=-
    inodes=$(df -Pi "$STATE" 2>/dev/null | {
        read -r _
        read -r _ total _ value _
        [ "$total" = 0 ] || printf '%s' "$value"
    })
    is_number "$inodes" 18 || inodes=-
}

room() { # KILOBYTES: refuse before anything is written
    free_kb
    [ "$free" = - ] || [ "$free" -ge "$1" ] || end refused "the disk is full: $free KB free, $1 KB needed"
    [ "$inodes" = - ] || [ "$inodes" -ge 32 ] || end refused "the disk is full: $inodes inodes free, 32 needed"
}

folders() {
    [ -d "$CACHE" ] || mkdir -p "$CACHE" 2>/dev/null # nginx makes only the last component of its cache path
    [ -d "$STATE/releases" ] || mkdir -p "$STATE/releases" 2>/dev/null || return 1
    run_folder && [ -w "$RUN" ]
}

# Tokens, pipes and the lock are in it: nobody else's to read.
# shellcheck disable=SC2174 # it alone is private, not the folders above it
run_folder() { [ -d "$RUN" ] || mkdir -p -m 700 "$RUN" 2>/dev/null; }
