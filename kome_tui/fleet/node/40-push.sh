# ---------------------------------------------------------------- a push: stage

WAIT_CS=3600 # for the runner: a proof, and twice the way back
APPLY_KB=256 # and a good deal of it is reserve
ROLLBACK_KB=64 # a journal, and no release

stage() {
    stage_asks
    sums=
    finished
    live_id
    if serves_it_already; then say_nothing_to_stage; fi
    room $((a_size * 3 / 1024 + 64 + APPLY_KB)) # else apply refuses, when other nodes have switched already
    private=$STATE/releases/.in.$$
    trap '[ ! -d "$private" ] || rm -rf "$private"' EXIT
    trap 'exit 1' HUP INT TERM PIPE
    [ ! -d "$private" ] || rm -rf "$private"
    mkdir "$private" || end refused "cannot write in $STATE"
    fp receiving
    head -c "$a_size" >"$private/nginx.conf" || end refused 'the upload could not be written'
    fp received
    check_upload
    drift
    put_in_place
    [ ! -d "$private" ] || rm -rf "$private"
    fp staged
    unchanged=no
    if [ "$live" = "$a_id" ] && [ "$drift" = no ] && master && answers "$a_id" -; then unchanged=yes; fi
    trial=- staged_live=$live staged_drift=$drift
    ! read_journal || { trial=$j_id && staged_live=''; } # apply ends that first
    say_staged "$drift" "$unchanged" "$trial"
}

# The digest of the bytes, and the digest of which the id is a part; by the same processes the digests of the
# files that they will be compared with, and where the new one listens.
check_upload() {
    arrived=$private/nginx.conf pipe=/dev/fd/3
    [ -e /dev/fd/0 ] || pipe=/dev/null
    sums=$({
        sed -e "s/$a_id/@ID@/g" -e h -e "${LISTEN}w $pipe" -e g "$arrived" |
            sha256sum - "$arrived" "$STATE/releases/$a_id/nginx.conf" "$STATE/releases/$live/nginx.conf"
    } 3>&1 2>/dev/null)
    sum_of "$arrived"
    if [ "$sum" != "$a_sha256" ]; then
        size_of "$arrived"
        [ "$size" -eq "$a_size" ] || end refused "the upload was cut short: $size of $a_size bytes"
        end refused 'the upload was damaged: its sha256 differs'
    fi
    sum_of -
    case $sum in "$a_id"*) ;; *) end refused "these bytes are not release $a_id" ;; esac
    marked=yes
    [ "$sum" != "$a_sha256" ] || marked=no
    listens=
    while read -r key value; do
        [ "$key" != listen ] || listens="$listens $value"
    done <<END
$sums
END
    [ "$pipe" = /dev/fd/3 ] || listens=$(sed -n "${LISTEN}p" "$arrived")
}

# The bytes are what the id stands for. A folder of that id with other bytes was changed by hand; it may
# be what serves now, so it is repaired by apply, which first keeps it.
put_in_place() {
    place=$STATE/releases/$a_id
    if [ -d "$place" ] && noted "$a_id" digest && [ "$noted" = "$a_sha256" ] && verified "$a_id"; then
        [ "$live" = "$a_id" ] || accepted "$place/nginx.conf"
        return
    fi
    accepted "$arrived"
    # The digest comes last: a note that has it is whole. Not durable yet, as nothing relies on it before apply.
    printf '%s\n' "marked=$marked" "port=$a_port" "listen=${listens# }" "digest=$a_sha256" >"$private/.kome" ||
        end refused 'the upload could not be written'
    [ ! -d "$place" ] || place=$STATE/releases/.staged-$a_id
    [ ! -d "$STATE/releases/.staged-$a_id" ] || rm -rf "$STATE/releases/.staged-$a_id"
    fp accepted
    replace "$private" "$place" || there_already || end refused 'the upload could not be put in place'
}

there_already() { # another console has put the same bytes there meanwhile
    digest "$place/nginx.conf"
    [ "$sum" = "$a_sha256" ]
}

accepted() { # FILE: a warning counts too: a conflicting server name means that ours may be the ignored one
    test_conf "$1" || end refused "$complaint"
    same_pid_file "$1"
    new_ports_are_free
}

# nginx moves its pid file on the reload, and we would not find it any more: no later push, and no way back.
same_pid_file() { # FILE
    while IFS=' ;' read -r key value _; do
        case $key in
            pid) [ "$value" = "$PID" ] || end refused "nginx's pid file would be $value, and kome-node here looks for $PID: rebuild the node" ;;
            events) return 0 ;;
        esac
    done <"$1"
}

# nginx -t accepts a port that another program holds, and the switch would only fail on it. A port that the
# live file has too is ours, or apply's business where nginx is stopped.
new_ports_are_free() {
    with_address "$listens"
    wanted=$addresses
    live_listens
    for address in $wanted; do
        case " $addresses " in *" $address "*) continue ;; esac
        ! taken "$address" || included "$address" ||
            end refused "bind() to $address would fail (98: Address already in use): another program has this port"
    done
}

# What a listen line of nginx says, without IPv6, which shares its port with IPv4 here.
LISTEN='s/^[[:space:]]*listen[[:space:]]\{1,\}\([0-9.:]*\)[; ].*/listen \1/'

# Where the live file listens, in $addresses: by the note of its release, or read where that says nothing or
# is not what nginx is told to use. The live release counts too: nginx still runs it where somebody has put
# another file in place of the link.
live_listens() {
    if [ "$drift" = no ] && noted "$live" listen; then
        with_address "$noted"
    else
        with_address "$(sed -n "${LISTEN}p" "$STATE/current/nginx.conf" "$ETC/nginx.conf" 2>/dev/null)"
    fi
}

with_address() { # PORTS AND ADDRESSES -> $addresses, host:port each
    addresses=
    for address in $1; do
        case $address in
            listen) continue ;;
            *:*) ;;
            *) address=$ADDRESS:$address ;;
        esac
        addresses="$addresses $address"
    done
}

# Does nginx listen there by a file that the live one includes, as Debian's own does?
included() { # HOST:PORT
    "$NGINX" -T -q -c "$ETC/nginx.conf" -g "$NGINX_FLAGS" 2>/dev/null 9>&- |
        sed -n 's/^[[:space:]]*listen[[:space:]]\{1,\}\([0-9.:*]*\)[; ].*/\1/p' | {
        while read -r held; do
            case $held in "$1" | "${1##*:}" | "*:${1##*:}" | "0.0.0.0:${1##*:}") exit 0 ;; esac
        done
        exit 1
    }
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
    if [ "$verb" = rollback ]; then room "$ROLLBACK_KB"; elif [ -z "${staged_live:-}" ]; then room "$APPLY_KB"; fi
    for name in phase reason; do printf '' >"$RUN/$name" || end failed "cannot write in $RUN"; done
    for name in wake go told proof; do
        [ -p "$RUN/$name" ] || mkfifo -m 600 "$RUN/$name" || end failed "cannot write in $RUN"
    done
    start_runner
    live_id
    digests "$STATE/releases/$live/nginx.conf" "$STATE/releases/$1/nginx.conf"
    keep_what_serves
    target "$1"
    since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    as_before
    until_told guard <&4 || end failed 'the guard does not start'
    fp guarded
    if ! write_journal "$id"; then
        rm -rf "$STATE/journal/txn" "$STATE/journal" # in this order
        end refused "the journal cannot be written in $STATE"
    fi
    fp journaled
    printf '%s\n' "$a_token" >&5
    exec 4<&- 5>&- 9>&- # the runner has the lock now
    wait_for_proof
    exec 6<&-
}

# It is ready when it is asked for: it inherits the lock, and a word on the pipe `go` begins its work; where
# none comes before we are gone, it leaves. The guard's word comes by the pipe `told`, the runner's by `proof`:
# the end of a pipe means that its process is gone, so nobody else keeps a writing end. What is opened for both
# directions does not wait for the other side.
start_runner() {
    exec 5<>"$RUN/go" 7<>"$RUN/proof" 8<>"$RUN/told"
    exec 4<"$RUN/told" 6<"$RUN/proof"
    setsid "$SH" "$SELF" runner "$a_token" <"$RUN/go" >>"$RUN/log" 2>&1 4<&- 5>&- 6<&- &
    exec 7>&- 8>&-
}

# Until the guard, or the runner, has said this word on standard input; fails when it has let go of its pipe.
until_told() { # WORD
    while read -r token told; do
        [ "$token $told" != "$a_token $1" ] || return 0
    done
    return 1
}

target() { # ID or - -> $id
    id=$1
    if [ "$id" = - ]; then
        linked_id "$STATE/previous"
        [ "$id" != - ] || end refused 'there is no previous release'
    fi
    if [ -f "$STATE/releases/.staged-$id/nginx.conf" ]; then
        mkdir -p "$STATE/releases/$id"
        sums=
        durable "$STATE/releases/.staged-$id/.kome" "$STATE/releases/.staged-$id/nginx.conf" &&
            replace "$STATE/releases/.staged-$id/.kome" "$STATE/releases/$id/.kome" &&
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

# A runner that hangs holds us as well, no longer than itself; the console has a limit of its own.
wait_for_proof() {
    now
    limit=$((now + WAIT_CS))
    until read_phase "$a_token" && [ -n "$p_state" ]; do
        now
        [ "$now" -lt "$limit" ] || end failed 'the node does not answer; it goes back by itself'
        ! until_told phase <&6 || continue
        read_phase "$a_token" && [ -n "$p_state" ] && break
        nap 30 # the guard is at work, or else we have to be
        read_phase "$a_token" && [ -n "$p_state" ] || settle_if_alone
    done
    live_id
    trial=- text=$p_text
    if [ "$p_state" = proved ]; then
        text=-
        ! read_journal || trial=$j_id
    fi
    set -- "live $live" "trial $trial" "reason $text"
    [ "$p_state" != proved ] || marked "$live" || set -- "$@" "shows $(shown)"
    case $p_state in
        proved | confirmed) end_ok "$@" ;;
        *) say "$@" && end "$p_state" "$text" ;;
    esac
}

# What a release without a marker of its own answers in its place: the id it was made of, or -. The console
# expects the same from outside.
shown() {
    http_get "$MARKER" "$live"
    if [ "$http_status" = 200 ] && is_id "$http_body"; then printf '%s\n' "$http_body"; else echo -; fi
}

# Runner and guard both gone: nobody else will finish it.
settle_if_alone() {
    open_lock
    if flock -n 9; then settle 'the processes that ran the trial died'; fi
    exec 9>&-
}

