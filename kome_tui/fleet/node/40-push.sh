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

