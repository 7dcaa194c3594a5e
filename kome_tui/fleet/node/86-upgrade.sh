# ---------------------------------------------------------------- upgrade: this script itself

# The new script is checked and has answered once before it takes this one's place, by one rename.
upgrade() {
    at_rest
    take_upload script 524288
    head -n 1 "$private/script" | grep -q -x '#!/bin/sh' || end refused 'this is no kome-node'
    said=$("$SH" -n "$private/script" 2>&1) || end refused "$SH does not read it: $(printf '%s' "$said" | one_line)"
    new=${SELF%/*}/.${SELF##*/}.new
    trap 'rm -rf "$private" "$new"' EXIT
    rm -f "$new"
    cat "$private/script" >"$new" && chmod 755 "$new" && { [ "$(id -u)" != 0 ] || chown 0:0 "$new"; } &&
        durable "$new" || end refused "cannot write in ${SELF%/*}"
    answers_status "$new" || end refused "it does not answer: $(head -n 3 "$private/answer" | one_line)"
    fp tested
    replace "$new" "$SELF" && durable "${SELF%/*}" || end failed "$SELF cannot be replaced"
    say "live $live"
    end_ok
}

answers_status() { # SCRIPT: it tells the same live release as this one
    bound=''
    ! command -v timeout >/dev/null 2>&1 || bound='timeout 20'
    # shellcheck disable=SC2086 # $bound is words, or nothing
    printf 'kome/1 status\n' | KOME_FP='' $bound "$SH" "$1" >"$private/answer" 2>&1 9>&- || return 1
    live_id
    [ "$(head -n 1 "$private/answer")" = 'kome-node 1 status' ] && grep -q -x -e "live $live" "$private/answer" &&
        [ "$(tail -n 1 "$private/answer")" = 'end ok' ]
}
