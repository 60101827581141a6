/* error.c - codes as words, and the text of the last failure, one buffer a thread. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/internal.h"

/* The public numbers are the protocol's. */
#define SAME(a, b) _Static_assert((int)PWC_##a == (int)PWC__CODE__CODE_##b, #a)
SAME(OK, OK);
SAME(UNKNOWN_MESSAGE, UNKNOWN_MESSAGE);
SAME(VERSION, VERSION);
SAME(MALFORMED, MALFORMED);
SAME(STATE, STATE);
SAME(UNSUPPORTED, UNSUPPORTED);
SAME(NO_SUCH_OP, NO_SUCH_OP);
SAME(NO_SUCH_PARAM, NO_SUCH_PARAM);
SAME(BAD_PARAM, BAD_PARAM);
SAME(NO_SUCH_ROLE, NO_SUCH_ROLE);
SAME(BAD_FORMAT, BAD_FORMAT);
SAME(NO_SUCH_JOB, NO_SUCH_JOB);
SAME(DENIED, DENIED);
SAME(BUSY, BUSY);
SAME(BAD_DESCRIPTOR, BAD_DESCRIPTOR);
SAME(BAD_INPUT, BAD_INPUT);
SAME(BUDGET, BUDGET);
SAME(OUTPUT, OUTPUT);
SAME(NO_MEMORY, NO_MEMORY);
SAME(OP, OP);
SAME(CRASH, CRASH);
SAME(EXIT, EXIT);
SAME(TIMEOUT, TIMEOUT);
SAME(STALLED, STALLED);
SAME(OOM, OOM);
SAME(SANDBOX, SANDBOX);
SAME(INPUT_SHRANK, INPUT_SHRANK);
SAME(INPUT_IO, INPUT_IO);
SAME(STAGE_PROTOCOL, PROTOCOL);
SAME(CANCELLED, CANCELLED);
SAME(CLIENT_GONE, CLIENT_GONE);
SAME(SHUTDOWN, SHUTDOWN);
SAME(INTERNAL, INTERNAL);
SAME(START, START);

static const struct {
    int code;
    const char *name;
} names[] = {
    {PWC_OK, "ok"},
    {PWC_UNKNOWN_MESSAGE, "unknown-message"},
    {PWC_VERSION, "version"},
    {PWC_MALFORMED, "malformed"},
    {PWC_STATE, "state"},
    {PWC_UNSUPPORTED, "unsupported"},
    {PWC_NO_SUCH_OP, "no-such-op"},
    {PWC_NO_SUCH_PARAM, "no-such-param"},
    {PWC_BAD_PARAM, "bad-param"},
    {PWC_NO_SUCH_ROLE, "no-such-role"},
    {PWC_BAD_FORMAT, "bad-format"},
    {PWC_NO_SUCH_JOB, "no-such-job"},
    {PWC_DENIED, "denied"},
    {PWC_BUSY, "busy"},
    {PWC_BAD_DESCRIPTOR, "bad-descriptor"},
    {PWC_BAD_INPUT, "bad-input"},
    {PWC_BUDGET, "budget"},
    {PWC_OUTPUT, "output"},
    {PWC_NO_MEMORY, "no-memory"},
    {PWC_OP, "op"},
    {PWC_CRASH, "crash"},
    {PWC_EXIT, "exit"},
    {PWC_TIMEOUT, "timeout"},
    {PWC_STALLED, "stalled"},
    {PWC_OOM, "oom"},
    {PWC_SANDBOX, "sandbox"},
    {PWC_INPUT_SHRANK, "input-shrank"},
    {PWC_INPUT_IO, "input-io"},
    {PWC_STAGE_PROTOCOL, "protocol"},
    {PWC_CANCELLED, "cancelled"},
    {PWC_CLIENT_GONE, "client-gone"},
    {PWC_SHUTDOWN, "shutdown"},
    {PWC_INTERNAL, "internal"},
    {PWC_START, "start"},
    {PWC_RLIMIT, "rlimit"},
    {PWC_E_UNREACHABLE, "unreachable"},
    {PWC_E_ACCESS, "access"},
    {PWC_E_PROTOCOL, "not-pwcd"},
    {PWC_E_GONE, "connection-lost"},
    {PWC_E_TIMEOUT, "wait-timeout"},
    {PWC_E_ARGUMENT, "argument"},
    {PWC_E_SYSTEM, "system"},
    {PWC_E_PARTIAL, "partial"},
};

const char *pwc_code_name(int code)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].code == code)
            return names[i].name;
    return "unknown";
}

static _Thread_local char last[PWC_TEXT_MAX + 256];

const char *pwc_error(void)
{
    return last;
}

int fail(int code, const char *fmt, ...)
{
    char text[sizeof last]; /* what is printed may be `last` itself */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    memcpy(last, text, sizeof last);
    return code;
}

int fail_errno(int code, int err, const char *fmt, ...)
{
    char text[sizeof last], buf[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text - sizeof buf, fmt, ap);
    va_end(ap);
    return fail(code, "%s: %s", text, strerror_r(err, buf, sizeof buf));
}

const char *pwc_version(void)
{
    return PACKAGE_VERSION;
}
