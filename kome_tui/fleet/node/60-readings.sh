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
    finished
    [ ! -d "$RUN" ] || chmod 700 "$RUN" 2>/dev/null # an earlier script has left it to everybody
    live_id
    drift
    how_nginx_is
    linked_id "$STATE/previous"
    free_kb
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
    say "host $(host_version)"
    say "kept $(kept_ids)"
    say "disk_free $(bytes_of_kb "$free")"
    say "inodes_free $inodes"
    if busy_by && ! lock_is_free; then say "busy $busy"; else say 'busy -'; fi
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
    run_folder
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

