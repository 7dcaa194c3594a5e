# ---------------------------------------------------------------- the verbs of a push, before the rest is read

# The shell reads this file as it goes; what every push asks for several times a node gets without the
# parts below. A change of the host that was left unfinished, or a token that is not that of the journal,
# goes the long way.
case ${1:-} in
    runner) runner "$2" ;;
    '' | more)
        goes_on=yes
        while :; do # a verb that returns has been asked to wait for the next one
            case $verb in
                ready) end_ok ;; # the shell has read this far before there is anything to do
                stage) [ ! -d "$STATE/host.trial" ] && stage || break ;;
                apply) apply ;;
                confirm) read_journal && [ "$j_token" = "$a_token" ] && decide confirmed || break ;;
                *) break ;;
            esac
            read_header more
        done
        goes_on=no
        ;;
esac

