# ---------------------------------------------------------------- a host that is not a node yet
#
# Run by `rebuild` as root, before there is a kome-node: it stands behind the node script's own parts for
# input, disk and nginx, and speaks the same protocol. Each verb may be repeated; nothing here starts or
# stops nginx, and nothing takes away what somebody else has put on the host.

DEBS=/var/cache/kome-debs
POLICY=/usr/sbin/policy-rc.d
POLICY_MARK='# kome-tui rebuild: packages start nothing while they are installed'

[ "$0" = sh ] || rm -f "$0" # the file that carried this program; the shell has it open

# ---------------------------------------------------------------- look

look() {
    need user "$a_user"
    need script "$a_script"
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

missing() { # packages
    names=
    [ -x "$NGINX" ] || names="$names nginx"
    command -v logrotate >/dev/null 2>&1 || names="$names logrotate"
    command -v nft >/dev/null 2>&1 || names="$names nftables"
    command -v flock >/dev/null 2>&1 || names="$names util-linux"
    printf '%s\n' "${names:- -}"
}

# Names of the programs that listen on PORT, each once.
holders() {
    port=$(printf '%04X' "$PORT")
    names=
    # shellcheck disable=SC2012,SC2013 # numbers only
    for inode in $(awk -v end=":$port\$" '$4 == "0A" && $2 ~ end {print $10}' /proc/net/tcp /proc/net/tcp6 2>/dev/null); do
        pid=$(ls -l /proc/[0-9]*/fd 2>/dev/null | awk -v want="socket:[$inode]" '
            /^\/proc\// {split($0, part, "/"); pid = part[3]}
            $NF == want {print pid; exit}')
        name=unknown
        [ -z "$pid" ] || { read -r name <"/proc/$pid/comm"; } 2>/dev/null
        case " $names " in *" $name "*) ;; *) names="$names $name" ;; esac
    done
    printf '%s\n' "${names:--}" | one_line
}

# What of sshd's rules concerns the user: `-`, or the lines that name who may log in.
sshd_lets_in() {
    [ -d /run/sshd ] || mkdir -p /run/sshd
    rules=$("$(command -v sshd || echo /usr/sbin/sshd)" -T -C "user=$a_user,host=localhost,addr=127.0.0.1" 2>/dev/null |
        awk '/^(allow|deny)(users|groups) / || /^pubkeyauthentication no/ {printf "%s; ", $0}')
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

# ---------------------------------------------------------------- packages

deb() { # one .deb file, for a host without a way out
    need name "$a_name"
    need size "$a_size"
    need sha256 "$a_sha256"
    case $a_name in */* | *[!a-z0-9.]*) end usage 'bad value of name' ;; esac
    mkdir -p "$DEBS" && free_kb_of "$DEBS"
    [ "$free" = - ] || [ "$free" -gt $((a_size / 512)) ] || end refused "the disk is full: $free KB free"
    digest "$DEBS/$a_name"
    if [ "$sum" != "$a_sha256" ]; then
        head -c "$a_size" >"$DEBS/$a_name.part" || end refused 'the package could not be written'
        digest "$DEBS/$a_name.part"
        [ "$sum" = "$a_sha256" ] || end refused 'the package was damaged on its way'
        replace "$DEBS/$a_name.part" "$DEBS/$a_name" || end failed "cannot write in $DEBS"
    fi
    end_ok
}

packages() {
    wanted=$(missing)
    [ "$wanted" != ' -' ] || { rm -rf "$DEBS" && end_ok; }
    command -v apt-get >/dev/null 2>&1 || end refused "it has no apt-get, and lacks:$wanted"
    mkdir -p "$RUN" && log=$RUN/apt.log done=$RUN/apt.done || end failed "cannot write in $RUN"
    : >"$log" && rm -f "$done"
    # On its own: a cut connection must not stop dpkg in the middle of a package.
    # shellcheck disable=SC2086 # $wanted is words
    { install_packages $wanted >"$log" 2>&1 </dev/null; printf '%s\n' $? >"$done.new" && mv -f "$done.new" "$done"; } &
    shown=0
    until [ -e "$done" ]; do
        show_new_lines
        nap 30
    done
    show_new_lines
    read -r code <"$done"
    wanted=$(missing)
    [ "$code" -eq 0 ] && [ "$wanted" = ' -' ] ||
        end failed "packages: $(grep -e '^E: ' -e '^dpkg: error' "$log" | head -n 2 | one_line); lacking:$wanted"
    rm -rf "$DEBS"
    end_ok
}

show_new_lines() {
    lines=$(wc -l <"$log")
    [ "$lines" -gt "$shown" ] || return 0
    sed -n "$((shown + 1)),${lines}p" "$log" | grep -e '^Get:.*]$' -e '^Unpacking ' -e '^Setting up ' |
        while IFS= read -r line; do say "note $(printf '%s' "$line" | cut -c1-100 | one_line)"; done
    shown=$lines
}

install_packages() { # NAME...
    trap '' HUP
    own_policy=no
    if [ ! -e "$POLICY" ] || grep -q -F -e "$POLICY_MARK" "$POLICY"; then
        own_policy=yes
        printf '%s\n' '#!/bin/sh' "$POLICY_MARK" 'exit 101' >"$POLICY" && chmod 755 "$POLICY" || return 1
    fi
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    dpkg --force-confold --configure -a
    if [ -d "$DEBS" ]; then
        local_index && apt_get "$@"
    else
        apt_get "$@" || { apt-get -q -o DPkg::Lock::Timeout=300 update && apt_get "$@"; }
    fi
    code=$?
    [ "$own_policy" = no ] || rm -f "$POLICY"
    return "$code"
}

apt_get() { # NAME...
    # shellcheck disable=SC2086 # $sources is words, or nothing
    apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold \
        -o Dpkg::Use-Pty=0 ${sources:-} install "$@"
}

# The .deb files as a source of packages, the only one: apt then takes what is needed of them and no more.
local_index() {
    mkdir -p "$DEBS/lists/partial" && : >"$DEBS/Packages" || return 1
    for file in "$DEBS"/*.deb; do
        digest "$file"
        size_of "$file"
        dpkg-deb -f "$file" >>"$DEBS/Packages" &&
            printf '%s\n' "Filename: ./${file##*/}" "Size: $size" "SHA256: $sum" '' >>"$DEBS/Packages" || return 1
    done
    printf 'deb [trusted=yes] file:%s ./\n' "$DEBS" >"$DEBS/sources.list"
    sources="-o Dir::Etc::sourcelist=$DEBS/sources.list -o Dir::Etc::sourceparts=- -o Dir::State::lists=$DEBS/lists"
    sources="$sources -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root -o Acquire::Languages=none"
    # shellcheck disable=SC2086 # words
    apt-get -q $sources update
}

# ---------------------------------------------------------------- the account and the script

# The account has no password and one right: the script. Keys that are there already stay as they are.
account() {
    need user "$a_user"
    take_input keys 65536
    ! grep -q -v -E -e '^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com) [A-Za-z0-9+/]+=* [A-Za-z0-9@._-]*$' "$taken" ||
        end usage 'these are no public keys'
    if ! id -u "$a_user" >/dev/null 2>&1; then
        said=$(useradd --create-home --user-group --shell /bin/sh "$a_user" 2>&1 &&
            usermod -p '*' "$a_user" 2>&1) || end failed "useradd: $(printf '%s' "$said" | one_line)"
    fi
    home=$(getent passwd "$a_user" | cut -d: -f6)
    group=$(id -g "$a_user")
    case $home in /*) ;; *) end failed "$a_user has no home folder" ;; esac
    file=$home/.ssh/authorized_keys
    [ ! -L "$home/.ssh" ] && [ ! -L "$file" ] || end refused "$file is a link"
    [ -d "$home/.ssh" ] || { mkdir -m 700 "$home/.ssh" && chown "$a_user:$group" "$home/.ssh"; } ||
        end failed "cannot write in $home"
    new=$home/.ssh/.authorized_keys.new
    rm -f "$new"
    { [ ! -f "$file" ] || cat "$file"; } >"$new" || end failed "cannot write in $home"
    [ ! -s "$new" ] || [ -z "$(tail -c 1 "$new")" ] || printf '\n' >>"$new"
    added=0
    while read -r kind blob comment; do
        ! grep -q -F -e "$blob" "$new" || continue
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
    if [ -e "$RUN/lock" ] && ! flock -n "$RUN/lock" true; then end busy 'a push is under way on this host'; fi
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
        *) end usage 'unknown verb' ;;
    esac
}

bootstrap
exit 1
