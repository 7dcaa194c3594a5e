# ---------------------------------------------------------------- a push: runner and guard

# Owns the transaction and, by inheritance, the lock. It has no tie to the ssh connection.
runner() { # TOKEN
    ROLE=runner
    guard "$1" &
    exec 8>&- # its alone
    read -r word && [ "$word" = "$1" ] || exit 0 # the push was refused, or has died
    exec </dev/null
    read_journal && [ "$j_token" = "$1" ] || exit 1
    read_last
    own=$j_token before_us=$l_token
    exec 8<>"$RUN/wake"
    fp start
    # Not yet durable: until a decision is, whoever finds the journal goes back; forward() makes it so.
    if ! link_to "releases/$j_id" "$STATE/current"; then
        go_back 'the link cannot be switched'
        exit
    fi
    fp switched
    reload
    [ "$j_ran" = no ] || [ -n "$old_master" ] || failed='nginx died during the switch'
    fp reloaded
    expected=-
    ! noted "$j_id" answer || expected=$noted
    if ! prove "$j_id" "$expected" judge "$PROOF_CS"; then
        go_back "$why"
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
    { printf '%s\n' "$own phase" >&7; } 2>/dev/null
    exec 7>&- # the verb that waits goes on
    while :; do
        ! superseded || return
        if [ -L "$STATE/journal/decision" ]; then
            fp decision
            settle 'cancelled by the console'
            return
        fi
        now
        if [ "$now" -ge "$deadline" ]; then
            go_back 'not confirmed in time'
            return
        fi
        if ! title "$master" || [ "${title#nginx: master}" = "$title" ]; then
            go_back 'nginx died during the trial'
            return
        fi
        pause=$((deadline - now))
        [ "$pause" -lt 50 ] || pause=50
        woken "$pause"
    done
}

# Where somebody has removed the file of the lock, others may have ended this trial, and have confirmed a
# release since, which is not ours to take back. A journal that is just gone is no such news.
superseded() {
    told=''
    { read -r told _ <"$STATE/last"; } 2>/dev/null
    [ "$told" = "$before_us" ] || return 0
    while IFS='=' read -r key value; do
        [ "$key" != token ] || [ "$value" = "$own" ] || return 0
    done 2>/dev/null <"$STATE/journal/txn"
    return 1
}

go_back() { # REASON
    ! superseded || exit 0
    back "$1"
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

# Blocked in flock until the runner ends, however it ends; then finishes what the runner left. A child of the
# runner's, so that it has all of this in memory already.
guard() { # TOKEN
    ROLE=guard
    exec 9>>"$RUN/lock" # its own, in place of the one that it has inherited
    exec 7>&-
    printf '%s\n' "$1 guard" >&8
    exec 8>&-
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
            ours=$?
            [ -L decision ] || [ ! -d "$STATE/journal" ] || undecided "$1"
            durable . || end failed 'the decision cannot be written'
            fp decided
            wake
            # Ours and on the disk: nothing can take it back any more, and the runner does the rest, or the
            # guard, or the next contact.
            if [ "$1" = confirmed ] && [ "$ours" -eq 0 ]; then
                exec 9>&-
                live_id
                l_outcome=confirmed l_reason=-
                say_outcome
                return
            fi
            until_settled
        fi
    fi
    cd /
    exec 9>&-
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

# Until the runner has done what was decided, or the guard, or else we.
until_settled() {
    now
    limit=$((now + WAIT_CS))
    while read_journal && [ "$j_token" = "$a_token" ]; do
        now
        [ "$now" -lt "$limit" ] || break
        flock -w 1 9
        code=$?
        if [ "$code" -eq 0 ]; then
            settle 'the processes that ran the trial died'
            break
        elif [ "$code" -ne 1 ]; then
            nap 5
        fi
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
        confirmed) set -- confirmed no ;;
        degraded) set -- rolled-back yes ;;
        *) set -- rolled-back no ;;
    esac
    end_ok "decision $1" "live $live" "degraded $2" "reason ${l_reason:--}"
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
    end_ok 'decision -' "live $live" "degraded $degraded" "reason $why"
}

