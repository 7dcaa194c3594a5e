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

