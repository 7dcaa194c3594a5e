# ---------------------------------------------------------------- a host that is not a node yet
#
# Run by `rebuild` as root, before there is a kome-node: it stands behind the node script's own parts for
# input, disk and nginx, and speaks the same protocol. Each verb may be repeated; nothing here starts or
# stops nginx, and nothing takes away what somebody else has put on the host.

[ "$0" = sh ] || rm -f "$0" # the file that carried this program; the shell has it open

# ---------------------------------------------------------------- look

look() {
    need user "$a_user"
    need script "$a_script"
    [ "$(id -u)" != 0 ] || [ -w /etc ] || end refused '/etc cannot be written: its file system is read-only'
    # shellcheck disable=SC1091 # the host's own
    [ ! -r /etc/os-release ] || . /etc/os-release
    say "os $(printf '%s' "${PRETTY_NAME:-an unknown system}" | one_line)"
    say "arch $(dpkg --print-architecture 2>/dev/null || uname -m)"
    say "root $(id -u)"
    say "missing $(missing)"
    say "apt $(if command -v apt-get >/dev/null 2>&1; then echo yes; else echo no; fi)"
    version=$("$NGINX" -v 2>&1) || version=-
    say "nginx $(printf '%s' "${version##*nginx/}" | one_line)"
    say "systemd $(if [ -d /run/systemd/system ]; then echo yes; else echo no; fi)"
    say "holders $(holders)"
    http_get /
    say "page $(printf '%s' "${http_line:--}" | one_line)"
    say "text $(printf '%s' "${http_body:--}" | cut -c1-80 | one_line)"
    live_id
    say "live $live"
    if id -u "$a_user" >/dev/null 2>&1; then say 'account yes'; else say 'account no'; fi
    say "sshd $(sshd_lets_in)"
    say "sudo $(wider_sudo)"
    free_kb_of /
    say "disk_free $free"
    digest "$a_script"
    say "script ${sum:--}"
    end_ok
}

# Names of the programs that listen on PORT, each once; other-nginx is none of the master that PID names.
holders() {
    port=$(printf '%04X' "$PORT")
    names=
    master
    # shellcheck disable=SC2012,SC2013 # numbers only
    for inode in $(awk -v end=":$port\$" '$4 == "0A" && $2 ~ end {print $10}' /proc/net/tcp /proc/net/tcp6 2>/dev/null); do
        pid=$(ls -l /proc/[0-9]*/fd 2>/dev/null | awk -v want="socket:[$inode]" '
            /^\/proc\// {split($0, part, "/"); pid = part[3]}
            $NF == want {print pid; exit}')
        name=unknown
        [ -z "$pid" ] || { read -r name <"/proc/$pid/comm"; } 2>/dev/null
        if [ "$name" = nginx ] && ! of_master "$pid"; then name=other-nginx; fi
        case " $names " in *" $name "*) ;; *) names="$names $name" ;; esac
    done
    printf '%s\n' "${names:--}" | one_line
}

of_master() { # PID: it is the master or one of its workers
    [ -n "$master" ] || return 1
    [ "$1" = "$master" ] || grep -q -s "^PPid:[[:space:]]*$master\$" "/proc/$1/status"
}

# What of sshd's rules concerns the user: `-`, or the lines that name who may log in, with whose keys, and
# where connections may be opened to.
sshd_lets_in() {
    [ -d /run/sshd ] || mkdir -p /run/sshd
    rules=$("$(command -v sshd || echo /usr/sbin/sshd)" -T -C "user=$a_user,host=localhost,addr=127.0.0.1" 2>/dev/null |
        awk '/^(allow|deny)(users|groups) / || /^pubkeyauthentication no/ || /^(authorizedkeysfile|permitopen) / {printf "%s; ", $0}')
    printf '%s' "${rules:--}" | one_line
}

# Commands that the user may run as somebody else, besides the one script.
wider_sudo() {
    rules=$(sudo -n -l -U "$a_user" 2>/dev/null | sed -n 's/^ \{1,\}(/(/p' |
        grep -v -x -F -e "(root) NOPASSWD: $a_script \"\"" | tr '\n' ';')
    printf '%s' "${rules:--}" | one_line
}

free_kb_of() { # FOLDER -> $free
    free=$(df -Pk "$1" | awk 'NR == 2 {print $4}')
    is_number "${free:-}" 18 || free=-
}

# ---------------------------------------------------------------- the account and the script

# The account has no password and one right: the script. Keys that are there already stay as they are.
account() {
    need user "$a_user"
    take_input keys 65536
    ! grep -q -v -E -e '^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com) [A-Za-z0-9+/]+=* [A-Za-z0-9@._-]*$' "$taken" ||
        end usage 'these are no public keys'
    if ! id -u "$a_user" >/dev/null 2>&1; then
        group=--user-group # a group of that name may be left of an earlier account
        ! getent group "$a_user" >/dev/null || group=--gid=$a_user
        said=$(useradd --create-home "$group" --shell /bin/sh "$a_user" 2>&1 &&
            usermod -p '*' "$a_user" 2>&1) || end failed "useradd: $(printf '%s' "$said" | one_line)"
    fi
    home=$(getent passwd "$a_user" | cut -d: -f6)
    shell=$(getent passwd "$a_user" | cut -d: -f7)
    group=$(id -g "$a_user")
    case $home in /*) ;; *) end failed "$a_user has no home folder" ;; esac
    [ -d "$home" ] || end refused "the home folder of $a_user, $home, does not exist: mkhomedir_helper $a_user makes it"
    case $shell in
        */nologin | */false | */true) end refused "$a_user cannot log in with the shell $shell: usermod -s /bin/sh $a_user" ;;
    esac
    trusted "$home"
    file=$home/.ssh/authorized_keys
    [ ! -L "$home/.ssh" ] && [ ! -L "$file" ] || end refused "$file is a link"
    [ -d "$home/.ssh" ] || { mkdir -m 700 "$home/.ssh" && chown "$a_user:$group" "$home/.ssh"; } ||
        end failed "cannot write in $home"
    trusted "$home/.ssh"
    new=$home/.ssh/.authorized_keys.new
    rm -f "$new"
    { [ ! -f "$file" ] || cat "$file"; } >"$new" || end failed "cannot write in $home"
    [ ! -s "$new" ] || [ -z "$(tail -c 1 "$new")" ] || printf '\n' >>"$new"
    added=0
    while read -r kind blob comment; do
        ! grep -v '^[[:space:]]*#' "$new" | grep -q -F -e "$blob" || continue
        printf '%s\n' "restrict,port-forwarding $kind $blob $comment" >>"$new"
        added=$((added + 1))
    done <"$taken"
    if [ "$added" -gt 0 ]; then
        chmod 600 "$new" && chown "$a_user:$group" "$new" && durable "$new" && replace "$new" "$file" ||
            end failed "cannot write $file"
    fi
    rm -f "$new"
    say "added $added"
    end_ok
}

# sshd reads no key below a folder that somebody else owns or may write. An older account may have left one.
trusted() { # FOLDER
    case $(stat -c %u "$1") in
        0 | "$(id -u "$a_user")") ;;
        *) end refused "$1 belongs to somebody else, so sshd would read no key there: chown $a_user $1" ;;
    esac
    [ -z "$(find "$1" -prune -perm -0002)" ] ||
        end refused "everybody may write in $1, so sshd would read no key there: chmod o-w $1"
}

take_input() { # NAME LARGEST: $a_size checked bytes of standard input in $taken, a file of root's alone
    need size "$a_size"
    need sha256 "$a_sha256"
    [ "$a_size" -le "$2" ] || end refused "an upload of $a_size bytes is too large"
    taken=$(mktemp "/run/kome-$1.XXXXXX") || end failed 'cannot write in /run'
    trap 'rm -f "$taken"' EXIT
    head -c "$a_size" >"$taken"
    digest "$taken"
    [ "$sum" = "$a_sha256" ] || end refused 'the upload was cut short or damaged'
}

install_script() {
    need script "$a_script"
    take_input script 524288
    said=$(sh -n "$taken" 2>&1) || end refused "the shell does not read it: $(printf '%s' "$said" | one_line)"
    if [ -e "$RUN/lock" ] && ! flock -n "$RUN/lock" true; then end busy 'a push or a change of the host is under way'; fi
    if cmp -s "$taken" "$a_script" && [ "$(stat -c '%u:%g %a' "$a_script")" = '0:0 755' ]; then
        say 'changed no'
        end_ok
    fi
    folder=${a_script%/*}
    mkdir -p "$folder" || end failed "cannot write in $folder"
    new=$folder/.${a_script##*/}.new
    rm -f "$new"
    cat "$taken" >"$new" && chown 0:0 "$new" && chmod 755 "$new" && durable "$new" && replace "$new" "$a_script" &&
        durable "$folder" || end failed "cannot write $a_script"
    say 'changed yes'
    end_ok
}

# ---------------------------------------------------------------- the next boot

# Somebody may have switched it off. It is not started here: the first push does that.
at_boot() {
    was=$(systemctl is-enabled nginx.service 2>/dev/null)
    case $was in
        masked*) end refused 'nginx.service is masked: systemctl unmask nginx, then try again' ;;
        disabled) said=$(systemctl enable nginx.service 2>&1) || end failed "systemctl enable nginx: $(printf '%s' "$said" | one_line)" ;;
    esac
    say "was ${was:--}"
    end_ok
}

# ---------------------------------------------------------------- which verb

bootstrap() {
    read_header
    [ "$verb" = look ] || [ "$(id -u)" = 0 ] || end refused 'this needs root'
    case $verb in
        look) look ;;
        deb) deb ;;
        packages) packages ;;
        account) account ;;
        install) install_script ;;
        enable) at_boot ;;
        *) end usage 'unknown verb' ;;
    esac
}

bootstrap
exit 1
