#!/bin/sh
# kome-node: nginx releases on one node, commit-confirmed: switch, prove, wait for a yes, or go back.
# One header line on standard input says what to do; it takes no arguments from the console.
# Careless changes break this: every step that others rely on is on the disk (durable) before the
# next one begins, and no process that outlives the runner may inherit the lock (9>&-).
# shellcheck disable=SC2015 # A && B || C is used where C is right after a failure of either
# No `set -e`, no `trap '' PIPE`: a step that fails must lead to the way back, not to an exit.

# --- layout: the console fills this in from topology.yaml; as it stands it is Debian's ---
SH=/bin/sh
ETC=/etc/nginx
STATE=/etc/kome
RUN=/run/kome
LOG=/var/log/nginx
CACHE=/var/cache/nginx/kome
NGINX=/usr/sbin/nginx
PID=/run/nginx.pid
ADDRESS=127.0.0.1
PORT=80
SERVICE=systemd
KEEP=5
KOME_TEST=0
# --- end of the layout ---

SCRIPT_VERSION=1
MARKER=/.kome/release
PROOF_CS=500  # a bind is retried 5 x 500 ms; a reload that has not taken by then will not take
WRONG_CS=150  # new workers that answer wrong for so long will not come right
BACK_CS=800   # the way back may have to wait for those retries first
MAX_SIZE=1048576
NGINX_FLAGS='daemon on; master_process on;' # the unit's own test uses them; a conf may fail only there

LC_ALL=C
export LC_ALL
unset CDPATH ENV BASH_ENV
IFS=' 	
'
umask 022
case $0 in /*) SELF=$0 ;; *) SELF=$PWD/$0 ;; esac
case $SERVICE in
    systemd) PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ;;
    *) PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin ;; # a practice node brings stand-ins in front
esac
export PATH
ROLE=verb
private=
NL='
'

# ---------------------------------------------------------------- answers

say() { printf '%s\n' "$*"; }

end_ok() {
    printf 'end ok\n'
    exit 0
}

end() { # CODE TEXT...
    printf 'end %s\n' "$*"
    exit 1
}

one_line() { # text on stdin; one printable line of at most 300 bytes
    tr -c '[:print:]' ' ' | cut -c1-300 | sed 's/  */ /g; s/ $//'
}

# Named points where a test kills this process. Only a test's copy has KOME_TEST=1.
fp() {
    [ "$KOME_TEST" = 1 ] || return 0
    [ "${KOME_FP:-}" = "$ROLE.$1" ] || return 0
    kill -9 $$
}

# ---------------------------------------------------------------- input, by allow-list

is_id() { case $1 in original) return 0 ;; *[!0-9a-f]*) return 1 ;; ????????????) return 0 ;; esac; return 1; }

is_number() { # WHOLE-NUMBER MAX-DIGITS
    case $1 in '' | *[!0-9]* | 0?*) return 1 ;; esac
    [ "${#1}" -le "$2" ]
}

is_seconds() { # 30 or 0.5
    case $1 in *.*) is_number "${1%%.*}" 4 && case ${1#*.} in '' | *[!0-9]* | ????*) return 1 ;; esac ;; *) is_number "$1" 4 ;; esac
}

is_word() { # a token or a name
    case $1 in '' | -* | .* | *[!A-Za-z0-9._:/-]*) return 1 ;; esac
    [ "${#1}" -le 200 ]
}

read_header() {
    a_id='' a_token='' a_trial='' a_by='' a_to='' a_size='' a_sha256='' a_interval=''
    a_inode='' a_offset='' a_bytes='' a_at=''
    IFS= read -r header || end usage 'no header line'
    [ "${#header}" -le 2000 ] || end usage 'the header is too long'
    case $header in *[!A-Za-z0-9._:/=\ -]*) end usage 'the header has characters that are not allowed' ;; esac
    set -f
    # shellcheck disable=SC2086 # split into words on purpose
    set -- $header
    set +f
    [ "${1:-}" = kome/1 ] || end usage 'this script speaks kome/1'
    verb=${2:-}
    case $verb in '' | *[!a-z]*) end usage 'no verb' ;; esac
    say "kome-node 1 $verb"
    shift 2
    for pair in "$@"; do
        value=${pair#*=}
        case $pair in
            id=*) is_id "$value" && a_id=$value ;;
            to=*) { [ "$value" = - ] || is_id "$value"; } && a_to=$value ;;
            token=*) is_word "$value" && [ "${#value}" -le 64 ] && a_token=$value ;;
            by=*) is_word "$value" && a_by=$value ;;
            trial=*) is_seconds "$value" && a_trial=$value ;;
            interval=*) is_seconds "$value" && a_interval=$value ;;
            size=*) is_number "$value" 8 && a_size=$value ;;
            bytes=*) is_number "$value" 9 && a_bytes=$value ;;
            offset=*) is_number "$value" 15 && a_offset=$value ;;
            inode=*) { [ "$value" = - ] || is_number "$value" 18; } && a_inode=$value ;;
            sha256=*) case $value in *[!0-9a-f]*) false ;; *) [ "${#value}" -eq 64 ] && a_sha256=$value ;; esac ;;
            at=boot) a_at=boot ;;
            *) end usage "unknown key ${pair%%=*}" ;;
        esac || end usage "bad value of ${pair%%=*}"
    done
}

need() { # NAME VALUE: the verb cannot do without it
    [ -n "$2" ] || end usage "$verb needs $1="
}

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

# ---------------------------------------------------------------- the disk

durable() { sync "$@" 2>/dev/null; } # fsync of each file and folder, with its error

# Rename over whatever is there, a link to a folder included. BSD's mv spells it -h.
replace() { mv -fT "$1" "$2" 2>/dev/null || mv -fh "$1" "$2" 2>/dev/null; }

link_to() { # TARGET LINK: atomic, not yet durable
    rm -f "$2.new" && ln -s "$1" "$2.new" && replace "$2.new" "$2"
}

linked_id() { # LINK -> $id, or - when there is none
    id=-
    [ -L "$1" ] || return 0
    id=$(readlink "$1")
    id=${id##*/}
    is_id "$id" || id=-
}

live_id() {
    linked_id "$STATE/current"
    live=$id
}

digest() { # FILE -> $sum
    sum=$(sha256sum 2>/dev/null <"$1") || sum=
    sum=${sum%% *}
}

# Does releases/ID hold what its id stands for? `original` and kept foreign files have a digest beside.
verified() {
    conf=$STATE/releases/$1/nginx.conf
    [ -r "$conf" ] || return 1
    if noted "$1" digest; then
        digest "$conf"
        [ "$sum" = "$noted" ]
    else
        sum=$(sed "s/$1/@ID@/g" "$conf" 2>/dev/null | sha256sum)
        case $sum in "$1"*) return 0 ;; *) return 1 ;; esac
    fi
}

noted() { # ID KEY -> $noted, from the note beside a release that has no marker
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

free_kb() {
    free=$(df -Pk "$STATE" 2>/dev/null | {
        read -r _
        read -r _ _ _ value _
        printf '%s' "$value"
    })
    is_number "$free" 18 || free=-
}

free_inodes() { # - where the file system does not count them
    inodes=$(df -Pi "$STATE" 2>/dev/null | {
        read -r _
        read -r _ total _ value _
        [ "$total" = 0 ] || printf '%s' "$value"
    })
    is_number "$inodes" 18 || inodes=-
}

room() { # KILOBYTES: refuse before anything is written
    free_kb
    free_inodes
    [ "$free" = - ] || [ "$free" -ge "$1" ] || end refused "the disk is full: $free KB free, $1 KB needed"
    [ "$inodes" = - ] || [ "$inodes" -ge 32 ] || end refused "the disk is full: $inodes inodes free, 32 needed"
}

folders() {
    [ -d "$CACHE" ] || mkdir -p "$CACHE" 2>/dev/null # nginx makes only the last component of its cache path
    [ -d "$STATE/releases" ] && [ -d "$RUN" ] || mkdir -p "$STATE/releases" "$RUN" 2>/dev/null || return 1
    [ -w "$RUN" ]
}

# ---------------------------------------------------------------- nginx: processes

title() { # PID -> $title, the command line
    title=
    if [ -r /proc/uptime ]; then
        { read -r title <"/proc/$1/cmdline"; } 2>/dev/null
    else
        title=$(ps -o args= -p "$1" 2>/dev/null)
    fi
    [ -n "$title" ]
}

# The master's pid in $master, empty when nginx does not run. A pid file alone is no proof.
master() {
    master=
    { read -r pid <"$PID"; } 2>/dev/null
    if ! is_number "${pid:-}" 10 && [ "$SERVICE" = systemd ]; then
        pid=$(systemctl show -p MainPID --value nginx 2>/dev/null)
    fi
    is_number "${pid:-}" 10 && title "$pid" || return 1
    case $title in "nginx: master"*) master=$pid ;; *) return 1 ;; esac
}

children() { # PID -> $kids
    kids=
    if { read -r kids <"/proc/$1/task/$1/children"; } 2>/dev/null || [ -r "/proc/$1/task/$1/children" ]; then
        return 0
    elif [ -r /proc/uptime ]; then
        for folder in /proc/[0-9]*; do
            { read -r stat <"$folder/stat"; } 2>/dev/null || continue
            stat=${stat##*) ? }
            [ "${stat%% *}" != "$1" ] || kids="$kids ${folder#/proc/}"
        done
    else
        kids=$(ps -ax -o pid= -o ppid= | awk -v parent="$1" '$2 == parent {print $1}')
    fi
}

# Workers that accept connections in $workers, those that only finish their streams in $leaving.
workers() {
    workers='' leaving=''
    [ -n "$master" ] || return 0
    children "$master"
    for kid in $kids; do
        title "$kid" || continue
        case $title in
            "nginx: worker process is shutting"*) leaving="$leaving $kid" ;;
            "nginx: worker"*) workers="$workers $kid" ;;
        esac
    done
}

# A master that was killed leaves workers that hold the port and serve on for ever. They are ours when
# they have our logs open. systemd does this by itself, by the unit's cgroup.
quit_orphans() {
    [ "$SERVICE" = direct ] && [ -r /proc/uptime ] || return 0
    for folder in /proc/[0-9]*; do
        title "${folder#/proc/}" || continue
        case $title in "nginx: worker"* | "nginx: cache"*) ;; *) continue ;; esac
        { read -r stat <"$folder/stat"; } 2>/dev/null || continue
        stat=${stat##*) ? }
        title "${stat%% *}"
        case $title in "nginx: master"*) continue ;; esac
        case $(ls -l "$folder/fd" 2>/dev/null) in
            *" $LOG/"*) kill -QUIT "${folder#/proc/}" 2>/dev/null ;;
        esac
    done
}

# ---------------------------------------------------------------- nginx: what it answers

# shellcheck disable=SC2016 # bash's program, expanded by bash: status line, then the body's first line
BASH_GET='exec 3<>"/dev/tcp/$1/$2" || exit 1
printf "GET %s HTTP/1.0\r\nHost: %s\r\nUser-Agent: kome-node\r\nConnection: close\r\n\r\n" "$3" "$1" >&3
n=0 body=
while IFS= read -r -t 3 line <&3 || [ -n "$line" ]; do
    line=${line%[[:cntrl:]]}
    if [ -n "$body" ]; then printf "%s\n" "$line"; exit 0; fi
    [ -n "$line" ] || body=1
    [ $n -gt 0 ] || printf "%s\n" "$line"
    n=$((n + 1))
    [ $n -lt 200 ] || exit 0
done'

# GET PATH over one new connection, without curl, which nodes often lack. The status line in $http_line,
# its code in $http_status, the first line of the body in $http_body.
http_get() {
    http_line='' http_status='' http_body=''
    bound=''
    ! command -v timeout >/dev/null 2>&1 || bound='timeout 3'
    # shellcheck disable=SC2086 # $bound and $netcat are words, or nothing
    if command -v bash >/dev/null 2>&1; then
        reply=$($bound bash -c "$BASH_GET" get "$ADDRESS" "$PORT" "$1" 2>/dev/null 9>&-)
    else
        netcat=nc
        command -v nc >/dev/null 2>&1 || netcat='busybox nc'
        reply=$(printf 'GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n' "$1" "$ADDRESS" |
            $bound $netcat "$ADDRESS" "$PORT" 2>/dev/null 9>&- | tr -d '\r' |
            awk 'NR == 1 {print} body {print; exit} /^$/ {body = 1}')
    fi
    http_line=${reply%%"$NL"*}
    case $http_line in
        HTTP/1.[01]\ [1-9][0-9][0-9] | HTTP/1.[01]\ [1-9][0-9][0-9]\ *) ;;
        *) http_line='' && return 1 ;;
    esac
    http_status=${http_line#* }
    http_status=${http_status%% *}
    case $reply in *"$NL"*) http_body=${reply#*"$NL"} ;; esac
}

# A release made by the console answers its id; `original` and kept foreign files do not.
marked() { [ "$1" != original ] && grep -q -e "$1" "$STATE/releases/$1/nginx.conf" 2>/dev/null; }

# Does nginx answer like release ID? Without a marker: with the status line EXPECTED (- for any).
answers() { # ID EXPECTED; says why not in $why
    if marked "$1"; then
        http_get "$MARKER"
        [ "$http_status" != 200 ] || [ "$http_body" != "$1" ] || return 0
        seen=${http_status:-nothing}
        [ "$seen" != 200 ] || seen=$(printf '%s' "$http_body" | cut -c1-40 | one_line)
        why="$ADDRESS:$PORT$MARKER answers $seen, expected $1"
    else
        http_get /
        [ -z "$http_line" ] || [ "${2:--}" != - ] && [ "$http_line" != "$2" ] || return 0
        why="$ADDRESS:$PORT answers ${http_line:-nothing}, before it was ${2:--}"
    fi
    return 1
}

# ---------------------------------------------------------------- nginx: test, start, reload, prove

# `nginx -t` with the unit's flags; its complaint on one line in $complaint. Passing with a warning is 2.
test_conf() { # FILE
    folder=${1%/*}
    output=$("$NGINX" -t -q -c "$1" -g "$NGINX_FLAGS" 2>&1 9>&-)
    code=$?
    complaint=$(printf '%s\n' "$output" | grep -e '\[emerg\]' -e '\[warn\]' | head -n 1 |
        sed -e 's/^[^[]*//' -e 's/\] [0-9]*#[0-9]*: /] /' -e "s|$folder/||g" | one_line)
    if [ "$code" -ne 0 ]; then
        [ -n "$complaint" ] || complaint=$(printf '%s' "$output" | one_line)
        return 1
    fi
    case $complaint in '[warn]'*) return 2 ;; esac
}

size_of() { # FILE -> $size
    size=$(wc -c 2>/dev/null <"$1")
    size=$((${size:-0} + 0))
}

# The first [emerg] since the mark in error.log, in $emerg; with a pid, only that process's.
emerg() { # [PID#]
    size_of "$LOG/error.log"
    [ "$size" -ge "$mark" ] || mark=0
    [ "$size" -gt "$mark" ] || return 1
    emerg=$(tail -c "+$((mark + 1))" "$LOG/error.log" | first_emerg "$1")
    [ -n "$emerg" ]
}

first_emerg() { grep -e "\[emerg\] $1" | head -n 1 | sed 's/^.*\[emerg\] \([0-9]*#[0-9]*: \)\{0,1\}//' | one_line; }

start() {
    quit_orphans
    if [ "$SERVICE" = systemd ]; then # by hand it would live in ssh's cgroup
        systemctl reset-failed nginx 2>/dev/null
        systemctl start nginx
    else
        "$NGINX" -c "$ETC/nginx.conf" -g "$NGINX_FLAGS"
    fi </dev/null >"$RUN/start" 2>&1 8>&- 9>&- && return 0
    failed=$(first_emerg '' <"$RUN/start")
    [ -n "$failed" ] || ! emerg '' || failed=$emerg
    [ -n "$failed" ] || failed=$(tail -n 1 "$RUN/start" | one_line)
    failed=${failed:-nginx does not start}
}

# Make nginx read its configuration, by HUP, or by a start where it does not run.
reload() {
    failed=''
    size_of "$LOG/error.log"
    mark=$size
    master
    workers
    old_workers=" $workers "
    old_master=$master
    if [ -n "$master" ]; then
        kill -HUP "$master" || failed='nginx cannot be signalled'
    else
        start
    fi
}

# Only the new workers serve, and they serve ID. One good answer is no proof: old workers answer on for
# up to 0.1 s after the signal, so they must be gone first.
served() { # ID EXPECTED; says why not in $why
    answered=no
    master || { why='nginx is not running' && return 1; }
    workers
    for worker in $workers; do
        case $old_workers in *" $worker "*) why='the old workers still accept connections' && return 1 ;; esac
    done
    [ -n "$workers" ] || { why='nginx has no worker' && return 1; }
    answers "$1" "$2" && return 0
    [ -z "$http_line" ] || answered=yes
    return 1
}

prove() { # ID EXPECTED judge|patient LIMIT_CS: the reason of a failure in $why
    now
    limit=$((now + $4)) tries=0 wrong_since=''
    why=$failed
    [ -z "$failed" ] || return 1
    while :; do
        good=no
        ! served "$1" "$2" || good=yes
        if [ "$3" = judge ] && [ -n "$old_master" ] && { [ "$good" = yes ] || [ $((tries % 3)) -eq 2 ]; } &&
            emerg "$old_master#"; then
            why=$emerg
            return 1
        fi
        [ "$good" = no ] || return 0
        if [ -n "$old_master" ] && [ "$master" != "$old_master" ]; then
            why='nginx died during the reload'
            return 1
        fi
        now
        [ "$now" -lt "$limit" ] || break
        if [ "$3" = judge ] && [ "$answered" = yes ]; then # new workers that go on answering wrong
            : "${wrong_since:=$now}"
            [ $((now - wrong_since)) -lt "$WRONG_CS" ] || break
        fi
        tries=$((tries + 1))
        if [ "$tries" -lt 20 ]; then nap 2; else nap 5; fi
    done
    ! emerg '' || why="$why; error.log: $emerg"
    return 1
}

# ---------------------------------------------------------------- the transaction on the disk
#
# STATE/journal is the transaction: it arrives whole by one rename and leaves whole by one. In it:
# txn (what was begun), back (the link that a rollback only has to rename), last.* (ready-made outcomes,
# for a full disk) and decision, a link that can be made once: confirmed or rolled-back.

read_txn() { # FILE -> $j_*
    j_token='' j_id='' j_previous='' j_by='' j_since='' j_before='' j_ran='' j_trial=''
    [ -r "$1" ] || return 1
    while IFS='=' read -r key value; do
        case $key in
            token) j_token=$value ;;
            id) j_id=$value ;;
            previous) j_previous=$value ;;
            by) j_by=$value ;;
            since) j_since=$value ;;
            before) j_before=$value ;;
            ran) j_ran=$value ;;
            trial) j_trial=$value ;;
        esac
    done <"$1"
    is_id "$j_id" && is_id "$j_previous" && is_word "$j_token" && is_seconds "$j_trial"
}

read_journal() { [ -d "$STATE/journal" ] && read_txn "$STATE/journal/txn"; }

# What a half-made, half-removed or unreadable journal leaves is no transaction: nothing was changed yet.
sweep_journal() {
    [ ! -d "$STATE/.journal.new" ] || rm -rf "$STATE/.journal.new"
    [ ! -d "$STATE/.journal.done" ] || rm -rf "$STATE/.journal.done"
    [ ! -d "$STATE/journal" ] || read_journal || rm -rf "$STATE/journal"
}

write_journal() { # ID; everything is on the disk before it is in place
    new=$STATE/.journal.new
    boot_id
    now
    mkdir "$new" &&
        printf '%s\n' "id=$1" "previous=$live" "token=$a_token" "by=$a_by" "since=$since" \
            "trial=$a_trial" "boot=$boot" "uptime_cs=$now" "ran=$ran" "before=$before" >"$new/txn" &&
        printf '%s\n' "$a_token confirmed $1 $since $a_by -" >"$new/last.confirmed" &&
        printf '%s\n' "$a_token rolled-back $1 $since $a_by taken back" >"$new/last.rolled-back" &&
        ln -s "releases/$live" "$new/back" &&
        durable "$new/txn" "$new/last.confirmed" "$new/last.rolled-back" "$new" &&
        replace "$new" "$STATE/journal" && durable "$STATE"
}

clear_journal() {
    rm -rf "$STATE/.journal.done"
    replace "$STATE/journal" "$STATE/.journal.done" || rm -rf "$STATE/journal"
    durable "$STATE"
    rm -rf "$STATE/.journal.done"
}

write_last() { # OUTCOME REASON...
    outcome=$1
    shift
    { printf '%s\n' "$j_token $outcome $j_id $j_since $j_by $*" >"$STATE/last.new"; } 2>/dev/null &&
        durable "$STATE/last.new" && replace "$STATE/last.new" "$STATE/last" && return 0
    [ "$outcome" = degraded ] || replace "$STATE/journal/last.$outcome" "$STATE/last"
}

read_last() {
    l_token='' l_outcome='' l_reason='' l_text=''
    { read -r l_token l_text <"$STATE/last"; } 2>/dev/null || return 1
    read -r l_outcome _ _ _ l_reason <<END
$l_text
END
    [ -n "$l_outcome" ]
}

phase() { # STATE TEXT...: tells the verb that waits; on a memory file system
    printf '%s\n' "$j_token $*" >"$RUN/phase"
}

read_phase() { # TOKEN -> $p_state $p_text
    p_state=''
    { read -r p_token p_state p_text <"$RUN/phase"; } 2>/dev/null && [ "$p_token" = "$1" ]
}

# Finish a confirmed release. Repeating it is harmless.
forward() {
    live_id
    [ "$live" = "$j_id" ] || link_to "releases/$j_id" "$STATE/current"
    [ "$j_previous" = "$j_id" ] || link_to "releases/$j_previous" "$STATE/previous"
    fp forward
    write_last confirmed -
    durable "$STATE"
    prune
    clear_journal
    phase confirmed
}

# Take a release back. Repeating it is harmless; nothing in it needs room on the disk.
back() { # REASON
    reason=$1
    { read -r token text <"$RUN/reason"; } 2>/dev/null && [ "$token" = "$j_token" ] && reason=$text
    ln -s rolled-back "$STATE/journal/decision" 2>/dev/null
    if [ "$(readlink "$STATE/journal/decision")" = confirmed ]; then
        forward
        return
    fi
    printf '%s\n' "$j_token $reason" >"$RUN/reason"
    fp decided
    restored=no
    for _ in 1 2 3; do
        restore_link && restored=yes && break
        nap 30
    done
    fp restored
    wrong=''
    [ "${a_at:-}" = boot ] || [ "$restored" = no ] || serve_again
    if [ "$restored" = no ]; then # the journal stays, so that every next contact tries again
        phase degraded "$reason; the disk cannot be changed back"
        return 1
    elif [ -n "$wrong" ]; then
        write_last degraded "$reason; $wrong"
        clear_journal
        phase degraded "$reason; $wrong"
        return 1
    fi
    write_last rolled-back "$reason"
    fp told
    clear_journal
    phase rolled-back "$reason"
}

restore_link() {
    live_id
    if [ "$live" != "$j_previous" ]; then
        replace "$STATE/journal/back" "$STATE/current" || link_to "releases/$j_previous" "$STATE/current" || return 1
        live_id
        [ "$live" = "$j_previous" ] || return 1
    fi
    durable "$STATE"
}

# Always a reload: one that was sent just before a crash may still be on its way with the new release.
serve_again() {
    for _ in 1 2; do
        reload
        prove "$j_previous" "$j_before" patient "$BACK_CS" && return 0
    done
    [ "$j_ran" = no ] || wrong="the old release does not serve: $why"
}

# Finish whatever transaction is there, forward or back. Needs the lock.
settle() { # REASON for going back
    read_journal || return 0
    if [ "$(readlink "$STATE/journal/decision")" = confirmed ]; then forward; else back "$1"; fi
}

# Newest KEEP releases stay, and those that something points at.
prune() {
    linked_id "$STATE/previous"
    previous=$id
    live_id
    kept=0
    # shellcheck disable=SC2012 # names are ids by is_id
    ls -1t "$STATE/releases" | while read -r name; do
        is_id "$name" || continue
        kept=$((kept + 1))
        case $name in original | "$live" | "$previous") continue ;; esac
        [ "$kept" -le "$KEEP" ] || rm -rf "$STATE/releases/$name"
    done
    for folder in "$STATE"/releases/.in.*; do # of an upload that died
        [ ! -d "$folder" ] || kill -0 "${folder##*.}" 2>/dev/null || rm -rf "$folder"
    done
}

# ---------------------------------------------------------------- the lock

open_lock() {
    (: >>"$RUN/lock") 2>/dev/null || end failed "cannot write in $RUN"
    exec 9>>"$RUN/lock"
}

# A guard that ends, or a status, may hold it for a moment; a push holds it for its whole trial.
lock() {
    open_lock
    tries=0
    until flock -n 9; do
        ! read_journal || end busy "$j_by since $j_since"
        tries=$((tries + 1))
        [ "$tries" -lt 50 ] || end busy 'another command is at work on this node'
        nap 2
    done
}

lock_is_free() { (open_lock && flock -n 9) >/dev/null 2>&1; }

# ---------------------------------------------------------------- what the node served before

# Make what nginx is told to use now a release, byte for byte, so that there is a way back to it:
# the first time as `original` with its whole folder, later (a file somebody changed) under its own digest.
keep_what_serves() {
    live_id
    drift
    [ "$live" = - ] || [ "$drift" = yes ] || return 0
    [ -r "$ETC/nginx.conf" ] || end refused "there is no $ETC/nginx.conf to go back to"
    digest "$ETC/nginx.conf"
    was=$live held=$sum
    keep=$(printf '%s' "$held" | cut -c1-12)
    if [ "$live" != - ] && verified "$live" && cmp -s "$ETC/nginx.conf" "$STATE/releases/$live/nginx.conf"; then
        keep=$live
    elif [ ! -d "$STATE/releases/original" ] || cmp -s "$ETC/nginx.conf" "$STATE/releases/original/nginx.conf"; then
        keep=original
    fi
    [ -d "$STATE/releases/$keep" ] || archive "$keep" || end failed "cannot keep what $ETC holds"
    fp archived
    link_to "releases/$keep" "$STATE/current" && durable "$STATE" || end failed "cannot write in $STATE"
    fp adopted
    linked || { link_to "$STATE/current/nginx.conf" "$ETC/nginx.conf" && durable "$ETC"; } ||
        end failed "cannot make $ETC/nginx.conf a link"
    [ "$was" = - ] || [ "$was" = original ] || verified "$was" || rm -rf "${STATE:?}/releases/$was"
    live=$keep
}

archive() { # NAME; $held is the digest of the file
    private=$STATE/releases/.in.$$
    rm -rf "$private"
    mkdir "$private" || return 1
    if [ "$1" = original ]; then cp -Rp "$ETC/." "$private" || return 1; fi
    rm -f "$private/nginx.conf"
    cat "$ETC/nginx.conf" >"$private/nginx.conf" || return 1
    http_get /
    printf '%s\n' "digest=$held" "answer=$(printf '%s' "${http_line:--}" | one_line)" >"$private/.kome" || return 1
    find "$private" \( -type f -o -type d \) -exec sync {} + 2>/dev/null || return 1
    replace "$private" "$STATE/releases/$1" && durable "$STATE/releases"
}

# ---------------------------------------------------------------- a push: stage

stage() {
    need id "$a_id"
    need size "$a_size"
    need sha256 "$a_sha256"
    [ "$a_id" != original ] || end refused 'the name original is taken'
    [ "$a_size" -le "$MAX_SIZE" ] || end refused "a configuration of $a_size bytes is too large"
    folders || end failed "cannot write in $STATE and $RUN"
    room $((a_size * 3 / 1024 + 64))
    private=$STATE/releases/.in.$$
    trap 'rm -rf "$private"' EXIT
    trap 'exit 1' HUP INT TERM PIPE
    rm -rf "$private"
    mkdir "$private" || end refused "cannot write in $STATE"
    fp receiving
    head -c "$a_size" >"$private/nginx.conf" || end refused 'the upload could not be written'
    fp received
    check_upload
    live_id
    drift
    put_in_place
    fp staged
    unchanged=no
    if [ "$live" = "$a_id" ] && [ "$drift" = no ] && master && answers "$a_id" -; then unchanged=yes; fi
    say "live $live"
    say "drift $drift"
    say "unchanged $unchanged"
    say "trial $(trial_id)"
    end_ok
}

check_upload() {
    size_of "$private/nginx.conf"
    [ "$size" -eq "$a_size" ] || end refused "the upload was cut short: $size of $a_size bytes"
    digest "$private/nginx.conf"
    [ "$sum" = "$a_sha256" ] || end refused 'the upload was damaged: its sha256 differs'
    sum=$(sed "s/$a_id/@ID@/g" "$private/nginx.conf" | sha256sum)
    case $sum in "$a_id"*) ;; *) end refused "these bytes are not release $a_id" ;; esac
}

# The bytes are what the id stands for. A folder of that id with other bytes was changed by hand; it may
# be what serves now, so it is repaired by apply, which first keeps it.
put_in_place() {
    place=$STATE/releases/$a_id
    if cmp -s "$private/nginx.conf" "$place/nginx.conf"; then
        [ "$live" = "$a_id" ] || accepted "$place/nginx.conf"
        return
    fi
    accepted "$private/nginx.conf"
    durable "$private/nginx.conf" "$private" || end refused 'the upload could not be written'
    [ ! -d "$place" ] || place=$STATE/releases/.staged-$a_id
    rm -rf "$STATE/releases/.staged-$a_id"
    replace "$private" "$place" && durable "$STATE/releases" || end refused 'the upload could not be put in place'
}

accepted() { # FILE: a warning counts too: a conflicting server name means that ours may be the ignored one
    test_conf "$1" || end refused "$complaint"
    new_ports_are_free "$1"
}

# nginx -t accepts a port that another program holds, and the switch would only fail on it. A port that the
# live file has too is ours, or apply's business where nginx is stopped.
new_ports_are_free() { # FILE
    ours=$(listens "$ETC/nginx.conf" | tr '\n' ' ')
    for address in $(listens "$1"); do
        case " $ours" in *" $address "*) continue ;; esac
        ! taken "$address" ||
            end refused "bind() to $address would fail (98: Address already in use): another program has this port"
    done
}

listens() { # FILE: host:port of each listen line, without IPv6, which shares its port with IPv4 here
    sed -n 's/^[[:space:]]*listen[[:space:]]\{1,\}\([0-9.:]*\)[; ].*/\1/p' "$1" 2>/dev/null |
        sed "s/^[0-9]*\$/$ADDRESS:&/" | sort -u
}

taken() { # HOST:PORT: something accepts connections there
    bound=''
    ! command -v timeout >/dev/null 2>&1 || bound='timeout 3'
    # shellcheck disable=SC2016,SC2086 # bash's program; $bound and $netcat are words, or nothing
    if command -v bash >/dev/null 2>&1; then
        $bound bash -c 'exec 3<>"/dev/tcp/$1/$2"' ask "${1%:*}" "${1##*:}" 2>/dev/null
    else
        netcat=nc
        command -v nc >/dev/null 2>&1 || netcat='busybox nc'
        $bound $netcat "${1%:*}" "${1##*:}" </dev/null >/dev/null 2>&1
    fi
}

trial_id() { if read_journal; then printf '%s\n' "$j_id"; else printf '%s\n' -; fi; }

# ---------------------------------------------------------------- a push: apply and rollback

apply() {
    need id "$a_id"
    [ "$a_id" != original ] || end usage 'original is reached by rollback'
    begin "$a_id"
}

rollback() {
    need to "$a_to"
    begin "$a_to"
}

begin() { # ID, or - for the previous one
    need token "$a_token"
    need trial "$a_trial"
    need by "$a_by"
    folders || end failed "cannot write in $STATE and $RUN"
    lock
    sweep_journal
    settle 'an earlier push was left unfinished' || end degraded "an earlier push cannot be taken back: $reason"
    read_last && [ "$l_token" = "$a_token" ] && end refused 'this token was used before'
    room 256
    keep_what_serves
    target "$1"
    since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    rm -f "$RUN/phase" "$RUN/reason" "$RUN/guard"
    [ -p "$RUN/wake" ] || mkfifo "$RUN/wake" || end failed "cannot write in $RUN"
    setsid "$SH" "$SELF" guard "$a_token" </dev/null >>"$RUN/log" 2>&1 9>&- &
    as_before
    guard_is_there
    fp guarded
    write_journal "$id" || end refused "the journal cannot be written in $STATE"
    fp journaled
    setsid "$SH" "$SELF" runner </dev/null >>"$RUN/log" 2>&1 &
    exec 9>&- # the runner has inherited it
    wait_for_proof
}

target() { # ID or - -> $id
    id=$1
    if [ "$id" = - ]; then
        linked_id "$STATE/previous"
        [ "$id" != - ] || end refused 'there is no previous release'
    fi
    if [ -f "$STATE/releases/.staged-$id/nginx.conf" ]; then
        mkdir -p "$STATE/releases/$id"
        replace "$STATE/releases/.staged-$id/nginx.conf" "$STATE/releases/$id/nginx.conf" &&
            durable "$STATE/releases/$id" || end refused "release $id cannot be written"
        rm -rf "$STATE/releases/.staged-$id"
    fi
    [ -d "$STATE/releases/$id" ] || end refused "release $id is not on this node"
    verified "$id" || end refused "release $id was changed on the node"
    [ "$verb" = apply ] || passes_again "$id"
}

# An older release is tested where it will be read: relative includes are found beside the -c path.
passes_again() { # ID
    link_to "$STATE/releases/$1/nginx.conf" "$ETC/.kome-test.conf" || end refused "cannot write in $ETC"
    test_conf "$ETC/.kome-test.conf"
    code=$?
    rm -f "$ETC/.kome-test.conf"
    [ "$code" -ne 1 ] || end refused "release $1 fails the test: $complaint"
}

# How nginx answers before anything changes: what going back has to bring again.
as_before() {
    ran=no before=-
    ! master || ran=yes
    marked "$live" || ! http_get / || before=$(printf '%s' "$http_line" | one_line)
}

guard_is_there() {
    tries=0
    until { read -r token <"$RUN/guard"; } 2>/dev/null && [ "$token" = "$a_token" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || end failed 'the guard does not start'
        nap 1
    done
}

wait_for_proof() {
    tries=0
    until read_phase "$a_token" && [ -n "$p_state" ]; do
        tries=$((tries + 1))
        if [ "$tries" -lt 50 ]; then nap 2; else nap 10; fi
        [ $((tries % 25)) -ne 0 ] || settle_if_alone
        [ "$tries" -lt 400 ] || end failed 'the node does not answer; it goes back by itself'
    done
    live_id
    trial=- text=$p_text
    [ "$p_state" != proved ] || { trial=$(trial_id) && text=-; }
    say "live $live"
    say "trial $trial"
    say "reason $text"
    case $p_state in
        proved | confirmed) end_ok ;;
        *) end "$p_state" "$text" ;;
    esac
}

# Runner and guard both gone: nobody else will finish it.
settle_if_alone() {
    open_lock
    if flock -n 9; then settle 'the processes that ran the trial died'; fi
    exec 9>&-
}

# ---------------------------------------------------------------- a push: runner and guard

# Owns the transaction and, by inheritance, the lock. It has no tie to the ssh connection.
runner() {
    ROLE=runner
    read_journal || exit 1
    exec 8<>"$RUN/wake"
    fp start
    if ! link_to "releases/$j_id" "$STATE/current" || ! durable "$STATE"; then
        back 'the link cannot be switched'
        exit
    fi
    fp switched
    reload
    fp reloaded
    expected=-
    ! noted "$j_id" answer || expected=$noted
    if ! prove "$j_id" "$expected" judge "$PROOF_CS"; then
        back "$why"
        exit
    fi
    fp proved
    wait_for_decision
    exit
}

wait_for_decision() {
    to_cs "$j_trial"
    deadline=$cs
    now
    deadline=$((now + deadline))
    phase proved "$deadline"
    while :; do
        if [ -L "$STATE/journal/decision" ]; then
            fp decision
            settle 'cancelled by the console'
            return
        fi
        now
        if [ "$now" -ge "$deadline" ]; then
            back 'not confirmed in time'
            return
        fi
        if ! title "$master" || [ "${title#nginx: master}" = "$title" ]; then
            back 'nginx died during the trial'
            return
        fi
        pause=$((deadline - now))
        [ "$pause" -lt 50 ] || pause=50
        woken "$pause"
    done
}

woken() { # CENTISECONDS at most, less when a verb has written to the pipe
    if command -v timeout >/dev/null 2>&1; then
        part=$1
        [ "$part" -gt 9 ] || part=0$part
        timeout "0.$part" head -c 1 <&8 >/dev/null 2>&1 9>&-
    else
        nap 5
    fi
}

# Blocked in flock until the runner ends, however it ends; then finishes what the runner left.
guard() { # TOKEN
    ROLE=guard
    exec 9>>"$RUN/lock"
    printf '%s\n' "$1" >"$RUN/guard"
    flock 9
    fp start
    read_journal && [ "$j_token" = "$1" ] || exit 0
    settle 'the process that ran the trial died'
    exit 0
}

# ---------------------------------------------------------------- a push: the decision

# Made in the journal's own folder, entered before it is read: whatever happens to its name, the link can
# only land in the transaction that has our token, and only the first link can be made.
decide() { # confirmed|rolled-back
    need token "$a_token"
    folders || end failed "cannot write in $STATE and $RUN"
    open_lock
    if cd "$STATE/journal" 2>/dev/null && read_txn ./txn && [ "$j_token" = "$a_token" ]; then
        if flock -n 9; then # runner and guard are gone: only a decision on the disk counts
            settle 'the processes that ran the trial died'
        else
            [ "$1" = rolled-back ] || may_confirm
            fp deciding
            ln -s "$1" decision 2>/dev/null
            [ -L decision ] || [ ! -d "$STATE/journal" ] || undecided "$1"
            durable . || end failed 'the decision cannot be written'
            fp decided
            wake
            until_settled
        fi
    fi
    cd /
    say_decision
}

undecided() { # confirmed|rolled-back: the disk takes nothing any more, and the runner cannot go back either
    [ "$1" = rolled-back ] || end refused 'the decision cannot be written: the disk takes nothing'
    live_id
    l_outcome=degraded l_reason='the decision cannot be written: the disk takes nothing'
    say_outcome
}

may_confirm() {
    read_phase "$a_token" && [ "$p_state" = proved ] || end refused 'the release is not proved'
    now
    [ "$now" -lt "$p_text" ] || return 0 # the runner decides, and is about to
    expected=-
    ! noted "$j_id" answer || expected=$noted
    answers "$j_id" "$expected" && return 0
    why="not serving: $why"
    printf '%s\n' "$j_token $why" >"$RUN/reason"
    ln -s rolled-back decision 2>/dev/null # why wait: the console has no better news to come
    wake
    until_settled
    end refused "$why"
}

wake() { { printf x 1<>"$RUN/wake"; } 2>/dev/null; }

until_settled() {
    tries=0
    while read_journal && [ "$j_token" = "$a_token" ]; do
        tries=$((tries + 1))
        if [ "$tries" -lt 50 ]; then nap 1; else nap 10; fi
        [ $((tries % 10)) -ne 0 ] || settle_if_alone
        [ "$tries" -lt 250 ] || break
    done
}

say_decision() {
    live_id
    if read_journal && [ "$j_token" = "$a_token" ]; then # decided, durable, not finished yet
        decision=$(readlink "$STATE/journal/decision")
        l_outcome=degraded l_reason='the disk cannot be changed back'
        [ "$decision" != confirmed ] || l_outcome=confirmed
    elif ! read_last || [ "$l_token" != "$a_token" ]; then
        ! read_journal || end refused "the trial belongs to $j_by since $j_since"
        end refused 'there is no trial with this token'
    fi
    say_outcome
}

say_outcome() {
    case $l_outcome in
        confirmed) say 'decision confirmed' ;;
        *) say 'decision rolled-back' ;;
    esac
    say "live $live"
    case $l_outcome in
        degraded) say 'degraded yes' ;;
        *) say 'degraded no' ;;
    esac
    say "reason ${l_reason:--}"
    end_ok
}

recover() {
    folders || end failed "cannot write in $STATE and $RUN"
    lock
    sweep_journal
    if read_journal; then
        settle 'an earlier push was left unfinished'
        live_id
        read_last && [ "$l_token" = "$j_token" ] || { l_outcome=degraded && l_reason=$reason; }
        say_outcome
    fi
    live_id
    why=-
    degraded=no
    if [ "$a_at" != boot ] && [ "$live" != - ] && master && ! answers "$live" -; then
        reload
        prove "$live" - patient "$BACK_CS" && why=- || degraded=yes
    fi
    say 'decision -'
    say "live $live"
    say "degraded $degraded"
    say "reason $why"
    end_ok
}

# ---------------------------------------------------------------- readings

# serving, stopped or unknown in $nginx; what the marker answers in $running.
how_nginx_is() {
    running=-
    master
    if http_get "$MARKER"; then
        nginx=serving
        [ -n "$master" ] || nginx=unknown # somebody else's, or workers without a master
        [ "$http_status" != 200 ] || ! is_id "$http_body" || running=$http_body
    elif [ -n "$master" ]; then
        nginx=unknown
    else
        nginx=stopped
    fi
}

status() {
    live_id
    drift
    how_nginx_is
    linked_id "$STATE/previous"
    free_kb
    free_inodes
    version=$("$NGINX" -v 2>&1)
    version=${version##*nginx/}
    say "live $live"
    say "running $running"
    say "previous $id"
    say "nginx $nginx"
    say "drift $drift"
    say "trial $(trial_id)"
    say "last $(last_text)"
    say "version ${version%% *}"
    say "script $SCRIPT_VERSION"
    say "kept $(kept_ids)"
    say "disk_free $(bytes_of_kb "$free")"
    say "inodes_free $inodes"
    if read_journal && ! lock_is_free; then say "busy $j_by since $j_since"; else say 'busy -'; fi
    end_ok
}

# A transaction that cannot be finished, on a disk that cannot be written, has no entry in `last` yet.
last_text() {
    if read_journal && read_phase "$j_token" && [ "$p_state" = degraded ]; then
        printf '%s' "degraded $j_id $j_since $j_by $p_text" | one_line
    elif read_last; then
        printf '%s' "$l_text" | one_line
    else
        printf '%s' -
    fi
}

bytes_of_kb() { if [ "$1" = - ]; then echo -; else echo $(($1 * 1024)); fi; }

kept_ids() {
    # shellcheck disable=SC2012 # names are ids by is_id
    ls -1t "$STATE/releases" 2>/dev/null | {
        ids=
        while read -r name; do ! is_id "$name" || ids="$ids${ids:+ }$name"; done
        printf '%s\n' "${ids:--}"
    }
}

live() {
    [ -r "$ETC/nginx.conf" ] || end failed "there is no readable $ETC/nginx.conf"
    private_folder
    cat "$ETC/nginx.conf" >"$private/bytes" || end failed "$ETC/nginx.conf cannot be read"
    size_of "$private/bytes"
    send conf 0 0 || exit 1
    end_ok
}

# A folder on the memory file system, gone when this process ends.
private_folder() {
    mkdir -p "$RUN" 2>/dev/null
    private=$RUN/stream.$$
    rm -rf "$private"
    mkdir "$private" 2>/dev/null || end failed "cannot write in $RUN"
    trap 'rm -rf "$private"' EXIT
    trap 'exit 1' HUP INT TERM PIPE
}

# The length is told before the bytes, so they are first taken aside: a log may be cut meanwhile.
send() { # KEY INODE OFFSET: the $size bytes of $private/bytes
    printf 'data %s %s %s %s\n' "$1" "$2" "$3" "$size" && cat "$private/bytes" && printf '\n'
}

# The far end closes standard input when it goes away; this notices it without a write.
watch_input() {
    exec 3<&0 </dev/null
    { cat <&3 >/dev/null; printf x >"$private/gone"; } >/dev/null 2>&1 &
}

# Sleep CENTISECONDS in parts; false as soon as the far end is gone.
wait_watching() {
    left=$1
    while [ "$left" -gt 0 ]; do
        [ ! -e "$private/gone" ] || return 1
        if [ "$left" -gt 100 ]; then nap 100; else nap "$left"; fi
        left=$((left - 100))
    done
    [ ! -e "$private/gone" ]
}

facts() {
    need interval "$a_interval"
    to_cs "$a_interval"
    interval=$cs
    [ "$interval" -ge 10 ] || end usage 'the interval is at least 0.1 s'
    private_folder
    watch_input
    ticks=$(getconf CLK_TCK 2>/dev/null)
    walked=-100000
    while :; do
        frame || exit 1
        wait_watching "$interval" || end_ok
    done
}

frame() {
    live_id
    drift
    master
    workers
    processes
    connections
    free_kb
    walk_cache
    # shellcheck disable=SC2086 # counts the words
    set -- $leaving
    now
    part=$((now % 100))
    [ "$part" -gt 9 ] || part=0$part
    printf '%s\n' "live $live" "drift $drift" "nginx $nginx" "connections $connections" "cpu_ticks $cpu" \
        "clock_ticks_per_s ${ticks:--}" "uptime_s $((now / 100)).$part" "memory $memory" \
        "cache_bytes $cache_bytes" "cache_files $cache_files" "disk_free $(bytes_of_kb "$free")" \
        "old_workers $#" frame
}

# CPU ticks and memory of the master and all its children. Pss counts shared pages once.
processes() {
    cpu=- memory=-
    [ -n "$master" ] && [ -r /proc/uptime ] || return 0
    cpu=0 memory=0
    for member in $master $kids; do
        { read -r stat <"/proc/$member/stat"; } 2>/dev/null || continue
        # shellcheck disable=SC2086 # fields
        set -- ${stat##*) }
        cpu=$((cpu + ${12} + ${13}))
        while read -r key value _; do
            case $key in Pss:) memory=$((memory + value * 1024)) && break ;; esac
        done 2>/dev/null <"/proc/$member/smaps_rollup"
    done
    [ "$memory" -gt 0 ] || memory=-
}

# stub_status says the connections where nginx has it; any answer says that nginx serves.
connections() {
    connections=-
    if http_get /.kome/status; then
        nginx=serving
        [ -n "$master" ] || nginx=unknown
        case $http_body in "Active connections: "*) connections=${http_body#*: } && connections=${connections% } ;; esac
        is_number "$connections" 9 || connections=-
    elif [ -n "$master" ]; then
        nginx=unknown
    else
        nginx=stopped
    fi
}

# Walking a big cache costs an SD card: at most every 15 s.
walk_cache() {
    now
    [ $((now - walked)) -ge 1500 ] || return 0
    walked=$now
    cache_bytes=- cache_files=-
    [ -d "$CACHE" ] || return 0
    # shellcheck disable=SC2012 # only sizes are read
    sums=$(ls -lnR "$CACHE" 2>/dev/null | awk '/^-/ {bytes += $5; files++} END {printf "%.0f %d", bytes, files}')
    cache_bytes=${sums% *} cache_files=${sums#* }
}

# ---------------------------------------------------------------- the access log

look_at() { # FILE -> $l_inode $l_size; false when it is not there
    l_inode='' l_size=0
    # shellcheck disable=SC2046 # fields
    set -- $(ls -niL "$1" 2>/dev/null)
    [ $# -ge 6 ] || return 1
    l_inode=$1 l_size=$6
}

# From an inode and offset on, across rotations: the renamed file stays open and is read to its end, until
# nginx has begun to write the new one.
follow() {
    need inode "$a_inode"
    need offset "$a_offset"
    private_folder
    watch_input
    log=$LOG/access.log
    inode='' told=0
    start_of_follow
    while :; do
        if [ -n "$inode" ]; then follow_once; elif look_at "$log"; then open_log "$log" 0; fi || exit 1
        now
        if [ $((now - told)) -ge 300 ]; then
            say tick || exit 1
            told=$now
        fi
        wait_watching 40 || end_ok
    done
}

start_of_follow() {
    if [ "$a_inode" = - ]; then
        ! look_at "$log" || open_log "$log" "$l_size"
        return
    fi
    if log_with "$a_inode"; then
        [ "$l_size" -ge "$a_offset" ] || a_offset=0
        open_log "$found" "$a_offset"
    fi
}

log_with() { # INODE -> $found among the log and its rotated files
    for found in "$log" "$log".[1-9] "$log".[1-9][0-9]; do
        ! look_at "$found" || [ "$l_inode" != "$1" ] || return 0
    done
    return 1
}

open_log() { # FILE OFFSET; says where it begins, so that the far end can come back to it
    quiet=0 inode=''
    command exec 5<"$1" || return 0
    inode=$l_inode position=$2
    [ "$2" -eq 0 ] || dd bs=1 skip="$(($2 - 1))" count=1 <&5 >/dev/null 2>&1
    printf 'data log %s %s 0\n\n' "$inode" "$position"
}

follow_once() {
    look_at "$log"
    if [ "$l_inode" = "$inode" ]; then
        [ "$l_size" -ge "$position" ] || open_log "$log" 0
        [ "$l_size" -le "$position" ] || send_new || return 1
        return 0
    fi
    new_size=$l_size
    before=$position
    send_new || return 1
    [ "$position" -eq "$before" ] && [ "$new_size" -gt 0 ] || { quiet=0 && return 0; }
    quiet=$((quiet + 1))
    [ "$quiet" -lt 2 ] || next_log
}

send_new() {
    size=1
    while [ "$size" -gt 0 ]; do
        head -c 262144 <&5 >"$private/bytes"
        size_of "$private/bytes"
        [ "$size" -eq 0 ] || send log "$inode" "$position" || return 1
        position=$((position + size))
        told=$now
        [ "$size" -eq 262144 ] || return 0
    done
}

# The file that came after the one we have finished: two rotations may have passed.
next_log() {
    next=$log
    if log_with "$inode"; then
        case ${found#"$log".} in
            1) ;;
            *) next=$log.$((${found#"$log".} - 1)) ;;
        esac
    fi
    ! look_at "$next" || open_log "$next" 0
}

# The last BYTES from a line start; what the current file lacks comes from the rotated one first.
readlog() {
    need bytes "$a_bytes"
    private_folder
    log=$LOG/access.log
    current=0
    ! look_at "$log" || current=$l_size
    if [ "$current" -lt "$a_bytes" ] && look_at "$log.1"; then
        send_tail "$log.1" $((a_bytes - current))
    fi
    if look_at "$log"; then send_tail "$log" "$a_bytes"; fi
    end_ok
}

send_tail() { # FILE BYTES; $l_inode and $l_size are the file's
    offset=$((l_size - $2))
    [ "$offset" -ge 0 ] || offset=0
    tail -c "+$((offset + 1))" "$1" | head -c $((l_size - offset)) >"$private/bytes"
    if [ "$offset" -gt 0 ]; then
        size_of "$private/bytes"
        whole=$size
        sed 1d "$private/bytes" >"$private/lines" && mv -f "$private/lines" "$private/bytes"
        size_of "$private/bytes"
        offset=$((offset + whole - size))
    fi
    size_of "$private/bytes"
    send log "$l_inode" "$offset" || exit 1
}

# ---------------------------------------------------------------- which verb

main() {
    case ${1:-} in
        runner) runner ;;
        guard) guard "$2" ;;
        '') ;;
        *) end usage 'it takes no arguments: verb and data come on standard input' ;;
    esac
    read_header
    case $verb in
        stage) stage ;;
        apply) apply ;;
        confirm) decide confirmed ;;
        cancel) decide rolled-back ;;
        rollback) rollback ;;
        recover) recover ;;
        status) status ;;
        live) live ;;
        facts) facts ;;
        follow) follow ;;
        readlog) readlog ;;
        *) end usage 'unknown verb' ;;
    esac
}

main "$@"
exit 1
