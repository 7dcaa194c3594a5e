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
    workers='' leaving='' kids=''
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

# A GET over one new connection, without curl, which nodes often lack. The status line in $http_line,
# its code in $http_status, the first line of the body in $http_body.
http_get() { # PATH [ID]: at the port where release ID answers, else the live one
    http_line='' http_status='' http_body=''
    noted "${2:-${live:--}}" port && port=$noted || port=$PORT
    bound=''
    ! command -v timeout >/dev/null 2>&1 || bound='timeout 3'
    # shellcheck disable=SC2086 # $bound and $netcat are words, or nothing
    if command -v bash >/dev/null 2>&1; then
        reply=$($bound bash -c "$BASH_GET" get "$ADDRESS" "$port" "$1" 2>/dev/null 7>&- 9>&-)
    else
        netcat=nc
        command -v nc >/dev/null 2>&1 || netcat='busybox nc'
        reply=$(printf 'GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n' "$1" "$ADDRESS" |
            $bound $netcat "$ADDRESS" "$port" 2>/dev/null 7>&- 9>&- | tr -d '\r' |
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
marked() { # ID
    [ "$1" != original ] || return 1
    if noted "$1" marked; then [ "$noted" = yes ]; else grep -q -e "$1" "$STATE/releases/$1/nginx.conf" 2>/dev/null; fi
}

# Does nginx answer like release ID? Without a marker: with the status line EXPECTED (- for any).
answers() { # ID EXPECTED; says why not in $why
    if marked "$1"; then
        http_get "$MARKER" "$1"
        [ "$http_status" != 200 ] || [ "$http_body" != "$1" ] || return 0
        seen=${http_status:-nothing}
        [ "$seen" != 200 ] || seen=$(printf '%s' "$http_body" | cut -c1-40 | one_line)
        why="$ADDRESS:$port$MARKER answers $seen, expected $1"
    else
        http_get / "$1"
        [ -z "$http_line" ] || [ "${2:--}" != - ] && [ "$http_line" != "$2" ] || return 0
        why="$ADDRESS:$port answers ${http_line:-nothing}, before it was ${2:--}"
    fi
    return 1
}

# ---------------------------------------------------------------- nginx: test, start, reload, prove

# `nginx -t` with the unit's flags; its complaint on one line in $complaint. Passing with a warning is 2.
# nginx takes and gives back 1.2 MB for each `map`; glibc keeps that with a large MALLOC_TOP_PAD_, which
# halves the CPU time of the test (measured: 16 ms and 7 for a frontend). Other libraries ignore it.
test_conf() { # FILE
    folder=${1%/*}
    output=$(MALLOC_TOP_PAD_=4194304 "$NGINX" -t -q -c "$1" -g "$NGINX_FLAGS" 2>&1 4>&- 5>&- 6>&- 7>&- 9>&-)
    code=$?
    complaint=
    [ -n "$output" ] || return "$((code != 0))"
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
    fi </dev/null >"$RUN/start" 2>&1 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- && return 0
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
    old_kids=" ${kids:-} "
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
    why='the old workers still accept connections'
    old_ones_accept && return 1
    master || { why='nginx is not running' && return 1; }
    workers
    for worker in $workers; do
        case $old_workers in *" $worker "*) return 1 ;; esac
    done
    [ -n "$workers" ] || { why='nginx has no worker' && return 1; }
    answers "$1" "$2" && return 0
    [ -z "$http_line" ] || answered=yes
    return 1
}

# For the time of waiting, by as few titles as will do: the kernel gives them a byte at a time.
old_ones_accept() {
    [ -n "$old_master" ] || return 1
    children "$old_master"
    stale=
    for worker in $old_workers; do
        case " $kids " in *" $worker "*) title "$worker" || continue ;; *) continue ;; esac
        case $title in "nginx: worker process is shutting"*) ;; *) stale="$stale $worker" ;; esac
    done
    [ -n "$stale" ] || return 1
    hasten
}

# Once the new workers are there, nginx waits 0.1 s before it tells the old ones to quit. Telling them
# the same now saves that: they stop accepting and finish what they have, what has not been accepted yet
# waits in the socket that they share with the new ones, and the master, which does not start a worker
# again that it was about to end, goes on as soon as one is gone.
hasten() {
    for kid in $kids; do
        case $old_kids in *" $kid "*) continue ;; esac
        title "$kid" || continue
        case $title in "nginx: worker process is shutting"*) continue ;; "nginx: worker"*) ;; *) continue ;; esac
        old_kids=" $kids " # once is enough
        # shellcheck disable=SC2086 # pids
        kill -QUIT $stale 2>/dev/null
        return 0
    done
    return 0
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
        if [ "$tries" -eq 1 ]; then nap 2; elif [ "$tries" -lt 10 ]; then blink; elif [ "$tries" -lt 30 ]; then nap 2; else nap 5; fi
    done
    ! emerg '' || why="$why; error.log: $emerg"
    return 1
}

