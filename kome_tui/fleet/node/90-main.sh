# ---------------------------------------------------------------- which verb

main() {
    case ${1:-} in
        hostrunner) host_runner ;;
        hostguard) host_guard "$2" ;;
        '' | more) ;;
        *) end usage 'it takes no arguments: verb and data come on standard input' ;;
    esac
    case $verb in stage | status) host_left_over ;; esac
    case $verb in
        stage) stage ;;
        apply) apply ;;
        confirm) if host_has "$a_token"; then host_decide confirmed; else decide confirmed; fi ;;
        cancel) if host_has "$a_token"; then host_decide rolled-back; else decide rolled-back; fi ;;
        rollback) rollback ;;
        recover)
            host_left_over
            recover
            ;;
        status) status ;;
        live) live ;;
        facts) facts ;;
        follow) follow ;;
        readlog) readlog ;;
        reach) reach ;;
        restart) restart ;;
        purge) purge ;;
        gc) gc ;;
        host) host ;;
        upgrade) upgrade ;;
        *) end usage 'unknown verb' ;;
    esac
}

main "$@"
exit 1
