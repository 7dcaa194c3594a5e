# ---------------------------------------------------------------- host files: which, and what they move
#
# A bundle is `kome-host 1 VERSION`, then for each file `file MODE LENGTH PATH` and its bytes and a
# newline, then `end`. Paths are those below and no others; everything belongs to root.

UNITS=/etc/systemd/system

# What kind of file this is, in $kind. The list is the whole of what `host` may touch.
host_kind() { # PATH
    case $1 in
        /etc/logrotate.d/nginx) kind=logrotate ;;
        /etc/ssh/sshd_config.d/10-kome.conf) kind=sshd ;;
        /etc/sudoers.d/kome) kind=sudoers ;;
        /etc/tmpfiles.d/kome.conf) kind=tmpfiles ;;
        "$UNITS"/kome-recover.service | "$UNITS"/kome-logs.service) kind=unit ;;
        "$UNITS"/kome-logs.timer) kind=timer ;;
        "$UNITS"/kome-firewall.service) kind=unit ;;
        "$UNITS"/nftables.service.d/kome.conf | "$UNITS"/nginx.service.d/kome.conf) kind=dropin ;;
        "$UNITS/$MOUNT") kind=mount ;;
        "$STATE"/firewall.nft) kind=nft ;;
        "$STATE"/firewall.d/operator.nft) kind=ports ;;
        "$STATE"/host-files) kind=manifest ;;
        *) return 1 ;;
    esac
}

place_of() { # PATH -> $place; a test has a root of its own
    case $1 in "$STATE"/*) place=$1 ;; *) place=$HOST$1 ;; esac
}

# The bundle in $private/bundle cut into $private/new/1, 2, ...; `N MODE KIND PATH` each in $private/files.
cut_bundle() {
    mkdir "$private/new" || end refused 'the upload could not be written'
    bundle=$private/bundle count=0 at=1
    bundle_line
    host_version=${line#kome-host 1 }
    [ "$host_version" != "$line" ] && is_word "$host_version" || end refused 'this is no bundle of host files'
    : >"$private/files"
    while bundle_line && [ "$line" != end ]; do
        IFS=' ' read -r word mode length path <<END
$line
END
        [ "$word" = file ] && is_number "$length" 6 || end refused 'the bundle is damaged'
        case $mode in 440 | 600 | 644) ;; *) end refused "mode $mode is not one of ours" ;; esac
        host_kind "$path" || end refused "$(printf '%s' "$path" | one_line) is no host file of ours"
        ! grep -q -x -F -e "$kind $path" "$private/seen" 2>/dev/null || end refused "$path comes twice"
        printf '%s\n' "$kind $path" >>"$private/seen"
        count=$((count + 1))
        [ "$count" -le 30 ] || end refused 'too many files'
        tail -c "+$at" "$bundle" | head -c "$length" >"$private/new/$count"
        size_of "$private/new/$count"
        [ "$size" -eq "$length" ] || end refused 'the bundle is damaged'
        at=$((at + length + 1))
        printf '%s\n' "$count $mode $kind $path" >>"$private/files"
    done
    [ "$line" = end ] && [ "$count" -gt 0 ] || end refused 'the bundle is damaged'
}

bundle_line() { # the next line of the bundle in $line
    line=$(tail -c "+$at" "$bundle" | head -n 1 | head -c 400)
    at=$((at + ${#line} + 1))
    [ -n "$line" ]
}

# Each file that has a program to judge it is judged before anything is moved in.
host_accepted() {
    while read -r number _ kind path; do
        file=$private/new/$number
        case $kind in
            sudoers) judged visudo -c -q -f "$file" ;;
            sshd) judged_sshd -f "$file" ;;
            nft)
                # nft asks the kernel; our table alone, whatever else the host filters
                ! grep -q -e 'flush ruleset' "$file" || end refused "$path would flush other people's tables"
                judged nft -c -f "$file"
                ;;
            ports)
                ! grep -q -v -x -E 'add element inet kome tcp_ports \{ [0-9]+(, [0-9]+)* \}' "$file" ||
                    end refused "$path says more than ports"
                ;;
        esac
    done <"$private/files"
}

judged() { # PROGRAM ARGUMENTS...
    said=$("$@" 2>&1 9>&- </dev/null) ||
        end refused "$path is not accepted by ${1##*/}: $(printf '%s' "$said" | sed "s|$private/new/[0-9]*|${path##*/}|g" | one_line)"
}

judged_sshd() {
    [ -d /run/sshd ] || mkdir -p /run/sshd 2>/dev/null # it is made when sshd starts; sockets start it later
    judged "$(command -v sshd || echo sshd)" -t "$@"  # sshd wants to be called by its whole path
}

# `N MODE OLDMODE KIND PATH` of each file that differs in $1/list, new and old bytes beside it. OLDMODE -
# means that there was none; MODE - that an older version had it and this one does not.
host_differences() { # FOLDER
    mkdir "$1/new" "$1/old" && : >"$1/list" || return 1
    while read -r number mode kind path; do
        place_of "$path"
        old=$(stat -c %a "$place" 2>/dev/null) || old=-
        ! cmp -s "$private/new/$number" "$place" || [ "$old" != "$mode" ] || continue
        cat "$private/new/$number" >"$1/new/$number" || return 1
        [ "$old" = - ] || cat "$place" >"$1/old/$number" || return 1
        printf '%s\n' "$number $mode $old $kind $path" >>"$1/list" || return 1
    done <"$private/files"
    [ -r "$STATE/host-files" ] || return 0
    number=$count
    while read -r _ _ _ path; do
        number=$((number + 1))
        host_kind "$path" && ! grep -q -x -F -e "$kind $path" "$private/seen" || continue
        place_of "$path"
        old=$(stat -c %a "$place" 2>/dev/null) || continue
        cat "$place" >"$1/old/$number" && printf '%s\n' "$number - $old $kind $path" >>"$1/list" || return 1
    done <"$STATE/host-files"
}

put_file() { # SOURCE MODE PATH: atomic and durable
    place_of "$3"
    into=${place%/*}
    [ -d "$into" ] || mkdir -p "$into" || return 1
    new=$into/.${3##*/}.dpkg-new # a name that sudo, sshd, logrotate and systemd all leave alone
    rm -f "$new"
    cat "$1" >"$new" && chmod "$2" "$new" && { [ "$(id -u)" != 0 ] || chown 0:0 "$new"; } &&
        durable "$new" && replace "$new" "$place" && durable "$into"
}

drop_file() { # PATH
    place_of "$1"
    case $1 in # while systemd still knows it
        "$UNITS"/*.service | "$UNITS"/*.timer | "$UNITS"/*.mount) control disable --now "${1##*/}" >/dev/null 2>&1 ;;
    esac
    [ ! -e "$place" ] || { rm -f "$place" && durable "${place%/*}"; }
}

divert_logrotate() { # the package's own file for the same logs would make logrotate skip one of the two
    command -v dpkg-divert >/dev/null 2>&1 || return 0
    dpkg-divert --quiet --local --rename --divert /etc/logrotate.d/nginx.disabled --add /etc/logrotate.d/nginx \
        </dev/null >/dev/null 2>&1 9>&-
}

# ---------------------------------------------------------------- host files: making them count

has_kind() { # KIND FOLDER: a file of this kind is among the differences
    grep -q "^[0-9]* [0-9-]* [0-9-]* $1 " "$2/list"
}

tell() { # PROGRAM ARGUMENTS...: the reason of a failure in $why
    said=$("$@" 2>&1 </dev/null 8>&- 9>&-) && return 0
    [ "$1" != control ] || { shift && set -- systemctl "$@"; }
    why="${1##*/} $2: $(printf '%s' "$said" | head -n 1 | one_line)"
    return 1
}

control() { # systemctl; at boot nothing may wait for what has to wait for us
    if [ "${a_at:-}" = boot ]; then systemctl --no-block "$@"; else systemctl "$@"; fi </dev/null 8>&- 9>&-
}

# What each changed file is for takes effect. FOLDER has the differences; with `back` the files stand as
# they stood before.
make_count() { # FOLDER forward|back
    if has_kind unit "$1" || has_kind timer "$1" || has_kind mount "$1" || has_kind dropin "$1"; then
        tell control daemon-reload || return 1
        while read -r _ mode old kind path; do
            [ "$2" = forward ] || mode=$old
            [ "$mode" != - ] || continue
            case $kind in unit | timer | mount) unit_counts || return 1 ;; esac
        done <"$1/list"
    fi
    place_of /etc/tmpfiles.d/kome.conf
    if has_kind tmpfiles "$1" && [ -r "$place" ]; then tell systemd-tmpfiles --create "$place" || return 1; fi
    if has_kind nft "$1" || has_kind ports "$1"; then
        if [ -r "$STATE/firewall.nft" ]; then
            tell nft -f "$STATE/firewall.nft" || return 1
        elif nft list table inet kome >/dev/null 2>&1 9>&-; then
            tell nft delete table inet kome || return 1
        fi
    fi
    if has_kind sshd "$1"; then reload_sshd || return 1; fi
}

unit_counts() { # $path has just been written
    unit=${path##*/}
    place_of "$path"
    grep -q '^\[Install\]' "$place" || return 0
    tell control enable "$unit" || return 1
    [ "$kind" = unit ] || tell control start "$unit" || return 1
    [ "$kind" != mount ] || [ "$old" = - ] || tell control reload "$unit"
}

reload_sshd() {
    [ -d /run/sshd ] || mkdir -p /run/sshd 2>/dev/null
    tell "$(command -v sshd || echo sshd)" -t || return 1
    for unit in ssh sshd; do # started by a socket, it reads its files at each login
        control -q is-active "$unit.service" 2>/dev/null || continue
        tell control reload "$unit.service"
        return
    done
}
