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
REACH=''                                # ADDRESS|PORT of each upstream
MOUNT=var-cache-nginx-kome.mount        # the unit that would have the cache in memory
HOST=''                                 # a test's own root for host files
DIGEST=''
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

say() { printf '%s\n' "$@"; } # lines; one write, and so one packet

# shellcheck disable=SC2120 # bootstrap.sh gives no lines
end_ok() { # LINES before it
    say "$@" 'end ok'
    [ "${a_more:-}" = yes ] || exit 0 # else the next request comes on the same input
    [ "${goes_on:-no}" = no ] || return 0
    exec "$SH" "$SELF" more 6>&- 7>&- 8>&- 9>&-
}

end() { # CODE TEXT...
    printf 'end %s\n' "$*"
    exit 1
}

one_line() { # text on stdin; one printable line of at most 300 bytes
    tr -c '[:print:]' ' ' | cut -c1-300 | sed 's/  */ /g; s/ $//'
}

# Named points where a test kills this process, or holds it still. Only a test's copy has KOME_TEST=1.
fp() {
    [ "$KOME_TEST" = 1 ] || return 0
    [ "${KOME_FP:-}" = "$ROLE.$1" ] || return 0
    { read -r own_pid _ </proc/self/stat; } 2>/dev/null || own_pid=$$ # of a subshell, too
    kill "-${KOME_FP_SIGNAL:-9}" "$own_pid"
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
    a_more='' a_id='' a_token='' a_trial='' a_by='' a_to='' a_size='' a_sha256='' a_interval=''
    a_inode='' a_offset='' a_bytes='' a_at='' a_how='' a_address='' a_port='' a_timeout=''
    a_user='' a_script='' a_name=''
    if ! IFS= read -r header; then
        [ "${1:-}" != more ] || exit 0 # there is none
        end usage 'no header line'
    fi
    [ "${#header}" -le 2000 ] || end usage 'the header is too long'
    case $header in *[!A-Za-z0-9._:/=\ -]*) end usage 'the header has characters that are not allowed' ;; esac
    set -f
    # shellcheck disable=SC2086 # split into words on purpose
    set -- $header
    set +f
    [ "${1:-}" = kome/1 ] || end usage 'this script speaks kome/1'
    verb=${2:-}
    case $verb in '' | *[!a-z]*) end usage 'no verb' ;; esac
    greeting="kome-node 1 $verb"
    case $verb in stage | status) greeting=$greeting${DIGEST:+${NL}digest $DIGEST} ;; esac
    say "$greeting"
    shift 2
    for pair in "$@"; do
        value=${pair#*=}
        # shellcheck disable=SC2034 # user, script and name are bootstrap.sh's
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
            more=yes) a_more=yes ;;
            how=start | how=restart) a_how=$value ;;
            address=*) is_word "$value" && a_address=$value ;;
            port=*) is_number "$value" 5 && a_port=$value ;;
            timeout=*) is_seconds "$value" && a_timeout=$value ;;
            user=*) is_word "$value" && a_user=$value ;;
            script=/*) is_word "$value" && a_script=$value ;;
            name=*) is_word "$value" && a_name=$value ;;
            *) end usage "unknown key ${pair%%=*}" ;;
        esac || end usage "bad value of ${pair%%=*}"
    done
}

need() { # NAME VALUE: the verb cannot do without it
    [ -n "$2" ] || end usage "$verb needs $1="
}

