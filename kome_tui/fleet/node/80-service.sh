# ---------------------------------------------------------------- upkeep: nobody else may be at work

# The lock is ours, nothing of a push or a change of the host is under way or left over.
at_rest() {
    folders || end failed "cannot write in $STATE and $RUN"
    lock
    sweep_journal
    settle 'an earlier push was left unfinished' || end degraded "an earlier push cannot be taken back: $reason"
    host_settle 'an earlier change of the host was left unfinished'
}

# Standard input, $a_size bytes of it, in $private/NAME; checked. $private is on the memory file system.
take_upload() { # NAME LARGEST
    need size "$a_size"
    need sha256 "$a_sha256"
    [ "$a_size" -le "$2" ] || end refused "an upload of $a_size bytes is too large"
    private_folder
    head -c "$a_size" >"$private/$1" || end refused 'the upload could not be written'
    size_of "$private/$1"
    [ "$size" -eq "$a_size" ] || end refused "the upload was cut short: $size of $a_size bytes"
    digest "$private/$1"
    [ "$sum" = "$a_sha256" ] || end refused 'the upload was damaged: its sha256 differs'
}

# ---------------------------------------------------------------- reach: TCP to an upstream

# shellcheck disable=SC2016 # bash's program, expanded by bash: microseconds to connect, on standard output
BASH_REACH='from=${EPOCHREALTIME/[.,]/}
exec 3<>"/dev/tcp/$1/$2" || exit 1
printf "%s\n" $((${EPOCHREALTIME/[.,]/} - from))'

# Only to the upstreams that the topology names: whoever may run this must not scan ports with it.
reach() {
    need address "$a_address"
    need port "$a_port"
    need timeout "$a_timeout"
    case " $REACH " in
        *" $a_address|$a_port "*) ;;
        *) end refused "$a_address port $a_port is no upstream of the topology" ;;
    esac
    to_cs "$a_timeout"
    [ "$cs" -ge 10 ] && [ "$cs" -le 1000 ] || end usage 'the timeout is 0.1 to 10 s'
    private_folder
    now
    began=$now
    dial_out
    code=$?
    now
    took=$(((now - began) * 10))
    case $code:$(cat "$private/said") in
        0:*) result=ok ;;
        *refused*) result=refused ;;
        *[Nn]'o route'* | *unreachable*) result=no-route ;;
        *) result=timed-out ;;
    esac
    { read -r micros <"$private/micros"; } 2>/dev/null
    if [ "$result" = ok ] && is_number "${micros:-}" 9; then took=$((micros / 1000)); fi
    say "result $result"
    say "ms $took"
    end_ok
}

dial_out() { # to $a_address and $a_port within $a_timeout; what was said in $private/said
    bound=''
    ! command -v timeout >/dev/null 2>&1 || bound="timeout $a_timeout"
    # shellcheck disable=SC2086 # $bound and $netcat are words, or nothing
    if command -v bash >/dev/null 2>&1; then
        $bound bash -c "$BASH_REACH" reach "$a_address" "$a_port" >"$private/micros" 2>"$private/said" 9>&-
    else
        netcat='nc -v'
        command -v nc >/dev/null 2>&1 || netcat='busybox nc'
        $bound $netcat "$a_address" "$a_port" </dev/null >/dev/null 2>"$private/said" 9>&-
    fi
}

# ---------------------------------------------------------------- restart

# A start where nginx is stopped. A running one is stopped first only when that is asked for in so many
# words: it cuts every stream, and whatever a reload can do, a push does without that.
restart() {
    need how "$a_how"
    at_rest
    live_id
    [ -r "$ETC/nginx.conf" ] || end refused "there is no readable $ETC/nginx.conf"
    if master && [ "$a_how" = start ]; then
        http_get / || end refused 'nginx runs and does not answer: only a restart, which cuts its streams, may help'
        end refused 'nginx runs and answers: a push reloads it without cutting a stream'
    fi
    test_conf "$ETC/nginx.conf"
    [ $? -ne 1 ] || end refused "the configuration fails the test: $complaint"
    failed='' old_workers='' old_master=''
    size_of "$LOG/error.log"
    mark=$size
    [ -z "$master" ] || stop || end failed "nginx (process $master) cannot be stopped"
    start
    expected=-
    ! noted "$live" answer || expected=$noted
    prove "$live" "$expected" patient "$PROOF_CS" || end failed "$why"
    how_nginx_is
    say "live $live"
    say "nginx $nginx"
    end_ok
}

stop() { # the master is $master
    if [ "$SERVICE" = systemd ]; then
        systemctl stop nginx >/dev/null 2>&1 9>&-
    else
        kill -TERM "$master" 2>/dev/null
        kill -CONT "$master" 2>/dev/null
    fi
    tries=0
    while title "$master"; do
        tries=$((tries + 1))
        [ "$tries" -ne 100 ] || kill -9 "$master" 2>/dev/null
        [ "$tries" -lt 200 ] || return 1
        nap 5
    done
}

# ---------------------------------------------------------------- purge

# The folder belongs to nginx's workers, so names and links in it are nobody's word: nothing is followed,
# no name is expanded by this shell, and find deletes by open folders. A file that nginx is writing
# (HASH.NUMBER) stays, else its rename fails.
purge() {
    key=''
    if [ -n "$a_size" ]; then
        take_upload key 4096
        key=$(cat "$private/key")
        case $key in /*) ;; *) end usage 'a path begins with /' ;; esac
        [ "$(printf '%s' "$key" | tr -d '[:graph:]' | wc -c)" -eq 0 ] && [ "${#key}" -eq "$a_size" ] ||
            end usage 'a path has neither spaces nor control characters'
    else
        private_folder
    fi
    inside_cache
    if [ -n "$key" ]; then purge_key; else purge_all; fi >"$private/removed" 2>"$private/said"
    code=$?
    say "removed $(tr -cd '\000' <"$private/removed" | wc -c | tr -d ' ')"
    [ "$code" -eq 0 ] || end failed "not all could be removed: $(head -n 1 "$private/said" | one_line)"
    end_ok
}

inside_cache() {
    case $CACHE in /*/*) ;; *) end refused "$CACHE is no folder to empty" ;; esac
    [ ! -L "$CACHE" ] || end refused "$CACHE is a link: purging would leave it"
    [ -d "$CACHE" ] || { say 'removed 0' && end_ok; }
    folder=$(cd -P "${CACHE%/*}" 2>/dev/null && pwd -P) && cd -P "$CACHE" 2>/dev/null || end failed "$CACHE cannot be entered"
    [ "$(pwd -P)" = "$folder/${CACHE##*/}" ] || end refused "$CACHE leads elsewhere: purging would leave it"
}

purge_all() {
    find . -xdev ! -type d ! \( -name "*.$TEN_DIGITS" -mmin -60 \) -delete -print0
}

# A page that varies by a header lies in several files; each of them names its key in its head.
# shellcheck disable=SC2016 # awk's program
purge_key() {
    find . -xdev -type f -name "$HASH" -exec env KEY="KEY: $key" awk '
        $0 == ENVIRON["KEY"] {print FILENAME}
        /^KEY: / || FNR > 40 {nextfile}' {} + >"$private/found" || return 1
    while IFS= read -r file; do
        find . -xdev -path "$file" ! -type d -delete -print0 || return 1
    done <"$private/found"
}

HEX8='[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
HASH=$HEX8$HEX8$HEX8$HEX8
TEN_DIGITS='[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]'

# ---------------------------------------------------------------- gc

# What a push leaves behind when it dies at a bad moment, and releases beyond those to keep.
gc() {
    before=$(kept_count) # the lock's taker sweeps too
    at_rest
    prune
    find "$STATE/releases" -maxdepth 1 -name '.staged-*' -mmin +60 -exec rm -rf {} +
    for folder in "$RUN"/stream.*; do
        [ ! -d "$folder" ] || kill -0 "${folder##*.}" 2>/dev/null || rm -rf "$folder"
    done
    durable "$STATE/releases"
    free_kb
    say "removed $((before - $(kept_count)))"
    say "kept $(kept_ids)"
    say "disk_free $(bytes_of_kb "$free")"
    end_ok
}

kept_count() { find "$STATE/releases" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l | tr -d ' '; }
