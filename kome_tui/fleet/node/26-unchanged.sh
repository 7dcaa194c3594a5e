# ---------------------------------------------------------------- stage: what is served already

# What most nodes are asked in most pushes, before the shell reads on: the parts below are for a node that has
# something to do, or a transaction to finish first.
stage_asks() {
    need id "$a_id"
    need size "$a_size"
    need sha256 "$a_sha256"
    [ "$a_id" != original ] || end refused 'the name original is taken'
    : "${a_port:=$PORT}"
    [ "$a_port" -le 65535 ] || end usage 'bad value of port'
    [ "$a_size" -le "$MAX_SIZE" ] || end refused "a configuration of $a_size bytes is too large"
    folders || end failed "cannot write in $STATE and $RUN"
}

# Exactly the announced bytes, under the announced id, by the disk and by nginx's own word, and no trial:
# then the upload has nothing to add, and is not read.
serves_it_already() {
    [ "$live" = "$a_id" ] && [ ! -d "$STATE/journal" ] && linked && noted "$live" marked && [ "$noted" = yes ] ||
        return 1
    digest "$STATE/releases/$live/nginx.conf"
    [ "$sum" = "$a_sha256" ] && noted "$live" digest && [ "$sum" = "$noted" ] && master && answers "$live" -
}

say_nothing_to_stage() {
    a_more='' # what is left of the input is no request
    say_staged no yes -
}

say_staged() { # DRIFT UNCHANGED TRIAL
    end_ok "live $live" "drift $1" "unchanged $2" "trial $3"
}

case ${1:-} in
    '' | more)
        read_header "${1:-}"
        if [ "$verb" = stage ] && [ ! -d "$STATE/host.trial" ]; then
            stage_asks
            live_id
            if serves_it_already; then say_nothing_to_stage; fi
        fi
        ;;
esac

