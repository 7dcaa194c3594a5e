# ---------------------------------------------------------------- which verb

main() {
    case ${1:-} in
        runner) runner ;;
        guard) guard "$2" ;;
        '') ;;
        *) end usage 'it takes no arguments: verb and data come on standard input' ;;
    esac
    read_header
    case $verb in
        stage) stage ;;
        apply) apply ;;
        confirm) decide confirmed ;;
        cancel) decide rolled-back ;;
        rollback) rollback ;;
        recover) recover ;;
        status) status ;;
        live) live ;;
        facts) facts ;;
        follow) follow ;;
        readlog) readlog ;;
        *) end usage 'unknown verb' ;;
    esac
}

main "$@"
exit 1
