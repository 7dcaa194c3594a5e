# ---------------------------------------------------------------- a change of the host, commit-confirmed
#
# STATE/host.trial is the transaction, as STATE/journal is a push's: it arrives and leaves whole by one
# rename, and `decision` in it is a link that can be made once. What may lock the operator out (firewall,
# sshd, sudoers) stays only once a connection that was opened after the change has confirmed it.

host() {
    [ "$SERVICE" = systemd ] || [ -n "$HOST" ] || end refused 'a node without systemd has no host files'
    need token "$a_token"
    need trial "$a_trial"
    need by "$a_by"
    at_rest
    room 512
    take_upload bundle 262144
    cut_bundle
    host_accepted
    write_host_journal || end refused "the journal cannot be written in $STATE"
    if [ "$changed" -eq 0 ]; then
        rm -rf "$STATE/.host.new"
        say "version $host_version"
        say 'changed 0'
        say 'trial -'
        end_ok
    fi
    fp journaled
    rm -f "$RUN/phase" "$RUN/reason" "$RUN/guard"
    [ -p "$RUN/wake" ] || mkfifo -m 600 "$RUN/wake" || end failed "cannot write in $RUN"
    setsid "$SH" "$SELF" hostguard "$a_token" </dev/null >>"$RUN/log" 2>&1 9>&- &
    guard_is_there
    replace "$STATE/.host.new" "$STATE/host.trial" && durable "$STATE" || end refused "cannot write in $STATE"
    setsid "$SH" "$SELF" hostrunner </dev/null >>"$RUN/log" 2>&1 &
    exec 9>&- # the runner has inherited it
    wait_for_host
}

guard_is_there() {
    tries=0
    until { read -r token <"$RUN/guard"; } 2>/dev/null && [ "$token" = "$a_token" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 400 ] || end failed 'the guard does not start'
        blink
    done
}

write_host_journal() { # $changed is the number of files that differ
    new=$STATE/.host.new
    rm -rf "$new"
    trap 'rm -rf "$private" "$STATE/.host.new"' EXIT
    mkdir "$new" && host_differences "$new" || return 1
    changed=$(wc -l <"$new/list" | tr -d ' ')
    asks=no
    for kind in sshd sudoers nft ports; do ! has_kind "$kind" "$new" || asks=yes; done
    since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    printf '%s\n' "token=$a_token" "by=$a_by" "since=$since" "trial=$a_trial" "asks=$asks" \
        "version=$host_version" >"$new/txn" &&
        find "$new" -type f -exec sync {} + 2>/dev/null && durable "$new" "$new/new" "$new/old"
}

read_host() {
    j_token='' j_by='' j_since='' j_trial='' h_asks=''
    [ -r "$STATE/host.trial/txn" ] || return 1
    while IFS='=' read -r key value; do
        case $key in
            token) j_token=$value ;;
            by) j_by=$value ;;
            since) j_since=$value ;;
            trial) j_trial=$value ;;
            asks) h_asks=$value ;;
        esac
    done <"$STATE/host.trial/txn"
    is_word "$j_token" && is_seconds "$j_trial"
}

wait_for_host() {
    trap 'rm -rf "$private"' EXIT
    tries=0
    until read_phase "$a_token" && [ -n "$p_state" ]; do
        tries=$((tries + 1))
        if [ "$tries" -lt 50 ]; then nap 2; else nap 10; fi
        [ $((tries % 25)) -ne 0 ] || host_settle_if_alone
        [ "$tries" -lt 400 ] || end failed 'the node does not answer; it goes back by itself'
    done
    say "version $host_version"
    say "changed $changed"
    case $p_state in
        proved)
            say "trial $host_version"
            end_ok
            ;;
        confirmed)
            say 'trial -'
            end_ok
            ;;
        *) end "$p_state" "$p_text" ;;
    esac
}

host_settle_if_alone() {
    open_lock
    if flock -n 9; then host_settle 'the processes that ran the trial died'; fi
    exec 9>&-
}

# ---------------------------------------------------------------- a change of the host: runner and guard

host_runner() {
    ROLE=hostrunner
    read_host || exit 1
    exec 8<>"$RUN/wake"
    fp start
    why=''
    host_put && fp placed && make_count "$STATE/host.trial" forward || {
        host_back "${why:-the files cannot be written}"
        exit
    }
    fp counts
    if [ "$h_asks" = no ]; then
        ln -s confirmed "$STATE/host.trial/decision" && durable "$STATE/host.trial"
        host_settle ''
        exit
    fi
    to_cs "$j_trial"
    deadline=$cs
    now
    deadline=$((now + deadline))
    phase proved "$now"
    until [ -L "$STATE/host.trial/decision" ]; do
        now
        [ "$now" -lt "$deadline" ] || ln -s rolled-back "$STATE/host.trial/decision" 2>/dev/null
        pause=$((deadline - now))
        [ "$pause" -lt 50 ] || pause=50
        [ "$pause" -le 0 ] || woken "$pause"
    done
    host_settle 'not confirmed over a new connection in time'
    exit
}

host_put() { # the list is read whole before anything moves, and the manifest is its last line
    while read -r number mode old kind path; do
        [ "$kind" != logrotate ] || divert_logrotate || { why='dpkg-divert does not move the old logrotate file'; return 1; }
        if [ "$mode" = - ]; then drop_file "$path"; else put_file "$STATE/host.trial/new/$number" "$mode" "$path"; fi ||
            { why="$path cannot be written"; return 1; }
    done <"$STATE/host.trial/list"
}

host_restore() {
    restored=yes
    while read -r number mode old kind path; do
        place_of "$path"
        if [ "$old" = - ]; then
            drop_file "$path"
        elif ! cmp -s "$STATE/host.trial/old/$number" "$place" || [ "$(stat -c %a "$place" 2>/dev/null)" != "$old" ]; then
            put_file "$STATE/host.trial/old/$number" "$old" "$path"
        fi || restored=no
    done <"$STATE/host.trial/list"
    [ "$restored" = yes ]
}

host_guard() { # TOKEN
    ROLE=hostguard
    exec 9>>"$RUN/lock"
    printf '%s\n' "$1" >"$RUN/guard"
    flock 9
    fp start
    read_host && [ "$j_token" = "$1" ] || exit 0
    host_settle 'the process that ran the trial died'
    exit 0
}

# Finish whatever change is there, forward or back. Needs the lock. Repeating it is harmless.
host_settle() { # REASON for going back
    [ ! -d "$STATE/.host.done" ] || rm -rf "$STATE/.host.done"
    [ -d "$STATE/host.trial" ] || return 0
    if ! read_host; then # never whole: nothing was changed
        rm -rf "$STATE/host.trial"
    elif [ "$(readlink "$STATE/host.trial/decision")" = confirmed ]; then
        # a firewall that was only loaded so far becomes the boot's business
        place_of "$UNITS/kome-firewall.service"
        if has_kind nft "$STATE/host.trial" && [ -r "$place" ]; then
            control start kome-firewall.service >/dev/null 2>&1
        fi
        host_ended confirmed -
    else
        host_back "$1"
    fi
}

host_back() { # REASON
    reason=$1
    { read -r token text <"$RUN/reason"; } 2>/dev/null && [ "$token" = "$j_token" ] && reason=$text
    ln -s rolled-back "$STATE/host.trial/decision" 2>/dev/null
    if [ "$(readlink "$STATE/host.trial/decision")" = confirmed ]; then
        host_settle ''
        return
    fi
    fp back
    why=''
    if ! host_restore; then # stays, so that every next contact tries again
        phase degraded "$reason; the old files cannot be put back"
        return 1
    fi
    make_count "$STATE/host.trial" back || reason="$reason; and then: $why"
    host_ended rolled-back "$reason"
}

host_ended() { # DECISION REASON
    { printf '%s\n' "$j_token $1 $2" >"$STATE/host.last.new"; } 2>/dev/null && durable "$STATE/host.last.new" &&
        replace "$STATE/host.last.new" "$STATE/host.last"
    replace "$STATE/host.trial" "$STATE/.host.done"
    durable "$STATE"
    rm -rf "$STATE/.host.done"
    phase "$1" "$2"
}

# ---------------------------------------------------------------- a change of the host: the decision

host_has() { # TOKEN: it is that of a change of the host, now or the last one
    [ -n "$1" ] || return 1
    if read_host && [ "$j_token" = "$1" ]; then return 0; fi
    { read -r token _ <"$STATE/host.last"; } 2>/dev/null && [ "$token" = "$1" ]
}

host_decide() { # confirmed|rolled-back
    folders || end failed "cannot write in $STATE and $RUN"
    open_lock
    if cd "$STATE/host.trial" 2>/dev/null && read_host && [ "$j_token" = "$a_token" ]; then
        if flock -n 9; then
            host_settle 'the processes that ran the trial died'
        else
            [ "$1" = rolled-back ] || may_confirm_host
            [ "$1" = confirmed ] || printf '%s\n' "$j_token cancelled by the console" >"$RUN/reason"
            ln -s "$1" decision 2>/dev/null
            [ -L decision ] || [ ! -d "$STATE/host.trial" ] || end refused 'the decision cannot be written'
            durable .
            wake
            host_until_settled
        fi
    fi
    cd /
    decision='' text=''
    { read -r token decision text <"$STATE/host.last"; } 2>/dev/null && [ "$token" = "$a_token" ] ||
        end degraded 'the old files cannot be put back'
    live_id
    say "decision $decision"
    say "live $live"
    say 'degraded no'
    say "reason ${text:--}"
    end_ok
}

# A connection that was open before proves nothing about the next login.
may_confirm_host() {
    read_phase "$a_token" && [ "$p_state" = proved ] || end refused 'the change is not complete yet'
    connected_at
    [ "$since_cs" = - ] || [ "$since_cs" -ge "$p_text" ] ||
        end refused 'this connection is older than the change: confirm over a new one'
}

connected_at() { # when the sshd process of this connection began, in $since_cs; - where there is none
    since_cs=- pid=$$
    ticks=$(getconf CLK_TCK 2>/dev/null)
    while is_number "${pid:-}" 10 && [ "$pid" -gt 1 ]; do
        { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || return 0
        name=${stat#*\(}
        # shellcheck disable=SC2086 # fields
        set -- ${stat##*) }
        pid=$2
        case ${name%)*} in
            sshd*)
                since_cs=$((${20} * 100 / ${ticks:-100}))
                return
                ;;
        esac
    done
}

host_until_settled() {
    tries=0
    while read_host && [ "$j_token" = "$a_token" ]; do
        tries=$((tries + 1))
        if [ "$tries" -lt 50 ]; then nap 2; else nap 10; fi
        [ $((tries % 10)) -ne 0 ] || host_settle_if_alone
        [ "$tries" -lt 250 ] || break
    done
}

host_version() { # what status tells
    told=-
    { read -r _ _ told _ <"$STATE/host-files"; } 2>/dev/null
    is_word "${told:-}" || told=-
    printf '%s\n' "$told"
}

# What is left of a change whose processes have died is finished by whoever comes next.
host_left_over() {
    [ -d "$STATE/host.trial" ] || return 0
    folders && host_settle_if_alone
}
