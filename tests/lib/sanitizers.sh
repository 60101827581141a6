# shellcheck shell=sh
# sanitizers.sh - how programs built with sanitizers are to behave in tests; `make check` and the scenario tests' harness
# source it.
#
#   PWC_REPORTS   folder that anybody may write to, where reports go, whatever process they come from: most of what a stage
#                 says on its stderr is never shown. The default is stderr.
#
# Deaths by signals are deaths by signals, with an obituary, not reports of the run-time.
san_common=print_stacktrace=1${PWC_REPORTS:+:log_path=$PWC_REPORTS/san}
export ASAN_OPTIONS="handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_abort=0:handle_sigill=0:$san_common"
export UBSAN_OPTIONS="$san_common"
unset san_common

# a_report FOLDER: the name of one, if there is any. No report: empty (killed before it could say anything), or that the search
# for leaks itself came to nothing: a thread ended as it began, or it read, as it reads everything, what lay behind a file's end;
# or that a thread left a signal's stack, whose bounds the run-time does not know, for good.
a_report() {
    grep -rslvE '^(==[0-9]+==(Unable to get registers from thread [0-9]+\.|LeakSanitizer has encountered a fatal error\.|HINT: .*|WARNING: ASan is ignoring requested __asan_handle_no_return: .*)|Tracer caught signal 7: .*|False positive error reports may follow|For details see https://github.com/google/sanitizers/issues/189)$' \
        "$1" | head -n 1 || : # grep finds none, where pipes fail as their first command does
}
