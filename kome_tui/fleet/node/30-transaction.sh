# ---------------------------------------------------------------- the transaction on the disk
#
# STATE/journal is the transaction: it counts from the moment that txn is in it, whole and last of all, and
# leaves by one rename. In it: txn (what was begun), previous (the link to what served before, which a rollback
# or a confirmation only has to rename), last and taken-back (ready-made outcomes, for a full disk) and
# decision, a link that can be made once: confirmed or rolled-back.

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
    [ ! -d "$STATE/.journal.done" ] || rm -rf "$STATE/.journal.done"
    [ ! -d "$STATE/journal" ] || read_journal || rm -rf "$STATE/journal"
}

# All of it is on the disk before anything is switched, the release too: stage leaves that to us. Until then
# nothing was changed, and a half-made or lost journal is none.
write_journal() { # ID
    new=$STATE/journal to=$1
    set -- "$new/last" "$new/taken-back" "$new/txn" "$new" "$STATE/releases" "$STATE"
    for kept in "$STATE/releases/$to/nginx.conf" "$STATE/releases/$to/.kome" "$STATE/releases/$to"; do
        [ ! -e "$kept" ] || set -- "$@" "$kept"
    done
    boot_id
    now
    mkdir "$new" && ln -s "releases/$live" "$new/previous" &&
        printf '%s\n' "$a_token confirmed $to $since $a_by -" >"$new/last" &&
        printf '%s\n' "$a_token rolled-back $to $since $a_by taken back" >"$new/taken-back" &&
        printf '%s\n' "id=$to" "previous=$live" "token=$a_token" "by=$a_by" "since=$since" \
            "trial=$a_trial" "boot=$boot" "uptime_cs=$now" "ran=$ran" "before=$before" >"$new/txn" &&
        durable "$@"
}

clear_journal() {
    [ ! -d "$STATE/.journal.done" ] || rm -rf "$STATE/.journal.done"
    replace "$STATE/journal" "$STATE/.journal.done" || rm -rf "$STATE/journal"
    durable "$STATE"
    rm -rf "$STATE/.journal.done"
}

write_last() { # OUTCOME REASON...
    outcome=$1
    shift
    { printf '%s\n' "$j_token $outcome $j_id $j_since $j_by $*" >"$STATE/last.new"; } 2>/dev/null &&
        durable "$STATE/last.new" && replace "$STATE/last.new" "$STATE/last" && return 0
    case $outcome in
        confirmed) replace "$STATE/journal/last" "$STATE/last" ;;
        rolled-back) replace "$STATE/journal/taken-back" "$STATE/last" ;;
    esac
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
    fp forward
    set -- "$STATE/journal/previous" "$STATE/journal/last"
    [ "$j_previous" != "$j_id" ] || shift
    # Ready-made, and on the disk, since the journal was written; done before where they are not there.
    if ! mv -f "$@" "$STATE/" 2>/dev/null; then
        [ "$j_previous" = "$j_id" ] || link_to "releases/$j_previous" "$STATE/previous"
        write_last confirmed -
    fi
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
        replace "$STATE/journal/previous" "$STATE/current" || link_to "releases/$j_previous" "$STATE/current" || return 1
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
    for folder in "$STATE"/releases/.in.*; do # of an upload that died
        [ ! -d "$folder" ] || kill -0 "${folder##*.}" 2>/dev/null || rm -rf "$folder"
    done
    set -- "$STATE"/releases/*
    [ $# -gt "$KEEP" ] || return 0
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
}

# ---------------------------------------------------------------- the lock

open_lock() {
    [ -w "$RUN/lock" ] || (: >>"$RUN/lock") 2>/dev/null || end failed "cannot write in $RUN"
    exec 9>>"$RUN/lock"
}

# A guard that ends, or a status, may hold it for a moment, and whoever finishes what was decided; a push
# holds it for its whole trial.
lock() {
    open_lock
    tries=0
    until flock -n 9; do
        [ "$tries" -lt 50 ] && [ -L "$STATE/journal/decision" ] || ! read_journal || end busy "$j_by since $j_since"
        tries=$((tries + 1))
        [ "$tries" -lt 50 ] || { busy_by && end busy "$busy"; } || end busy 'another command is at work on this node'
        nap 2
    done
}

# What was decided is done within a moment: a verb that tells how the node stands waits for that.
finished() {
    [ -L "$STATE/journal/decision" ] && [ -w "$RUN/lock" ] || return 0
    open_lock
    flock -w 2 9
    exec 9>&-
}

# Who holds the lock for a trial, of a release or of host files, in $busy.
busy_by() {
    if read_journal; then
        busy="$j_by since $j_since"
    else
        h_by='' h_since=''
        [ -r "$STATE/host.trial/txn" ] || return 1
        while IFS='=' read -r key value; do
            case $key in by) h_by=$value ;; since) h_since=$value ;; esac
        done <"$STATE/host.trial/txn"
        [ -n "$h_by" ] || return 1
        busy="$h_by since $h_since, who changes host files"
    fi
}

lock_is_free() { (open_lock && flock -n 9) >/dev/null 2>&1; }

# ---------------------------------------------------------------- what the node served before

# Make what nginx is told to use now a release, byte for byte, so that there is a way back to it:
# the first time as `original` with its whole folder, later (a file somebody changed) under its own digest.
keep_what_serves() {
    live_id
    drift
    as_staged
    [ "$live" = - ] || [ "$drift" = yes ] || return 0
    digest "$ETC/nginx.conf"
    was=$live held=$sum
    keep=$(printf '%s' "$held" | cut -c1-12)
    if [ -z "$held" ]; then # it was removed, or cannot be read
        [ "$live" != - ] && verified "$live" || end refused "there is no readable $ETC/nginx.conf to go back to"
        keep=$live
    elif [ "$live" != - ] && verified "$live" && cmp -s "$ETC/nginx.conf" "$STATE/releases/$live/nginx.conf"; then
        keep=$live
    elif [ ! -d "$STATE/releases/original" ] || cmp -s "$ETC/nginx.conf" "$STATE/releases/original/nginx.conf"; then
        keep=original
    fi
    [ "$keep" = original ] || [ ! -d "$STATE/releases/$keep" ] || verified "$keep" || rm -rf "${STATE:?}/releases/$keep"
    if [ ! -d "$STATE/releases/$keep" ] && ! archive "$keep"; then
        rm -rf "$private"
        end failed "cannot keep what $ETC holds"
    fi
    sums=
    fp archived
    # What nginx refuses is kept to be read. The way back is then the release before, which nginx still runs.
    [ "$live" = - ] || ! verified "$live" || loadable "$ETC/nginx.conf" || keep=$live
    link_to "releases/$keep" "$STATE/current" && durable "$STATE" || end failed "cannot write in $STATE"
    fp adopted
    linked || { link_to "$STATE/current/nginx.conf" "$ETC/nginx.conf" && durable "$ETC"; } ||
        end failed "cannot make $ETC/nginx.conf a link"
    [ "$was" = - ] || [ "$was" = original ] || verified "$was" || rm -rf "${STATE:?}/releases/$was"
    live=$keep
}

# Whoever asked for this switch decided by what stage, the same process, told a moment ago.
as_staged() {
    [ -n "${staged_live:-}" ] || return 0
    [ "$live" = "$staged_live" ] || end refused "another push came between: release $live serves, a moment ago it was $staged_live"
    [ "$drift" = no ] || [ "$staged_drift" = yes ] ||
        end refused 'changed by hand while this push waited; look with plan, then --accept-drift'
}

loadable() { # FILE
    test_conf "$1"
    [ $? -ne 1 ]
}

archive() { # NAME; $held is the digest of the file
    private=$STATE/releases/.in.$$
    rm -rf "$private"
    mkdir "$private" || return 1
    if [ "$1" = original ]; then cp -Rp "$ETC/." "$private" || return 1; fi
    rm -f "$private/nginx.conf"
    cat "$ETC/nginx.conf" >"$private/nginx.conf" || return 1
    http_get /
    printf '%s\n' "digest=$held" "port=$port" "answer=$(printf '%s' "${http_line:--}" | one_line)" >"$private/.kome" || return 1
    find "$private" \( -type f -o -type d \) -exec sync {} + 2>/dev/null || return 1
    replace "$private" "$STATE/releases/$1" && durable "$STATE/releases"
}

