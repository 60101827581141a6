/*
 * values.h - one value of one declared type: from what a client sent, typed or as text, to what an op gets.
 * Pure. A value owns what it points to; value_clear is for those made here only.
 */
#ifndef PWC_DAEMON_VALUES_H
#define PWC_DAEMON_VALUES_H

#include "ipc/base.h"
#include "proto/limits.h"
#include "proto/pwc.pb-c.h"

#define VALUE_LIST_MAX 1000u /* numbers in a list */

struct value_error {
    Pwc__Code code;
    char text[PWC_TEXT_MAX / 2]; /* without the parameter's name: "2000 is out of range, 0 to 1000" */
};

/* 0 and a value of the type `info` declares, or -EINVAL and what was wrong and what would be right. */
int value_check(const Pwc__ParamInfo *info, const Pwc__Value *given, Pwc__Value *ret,
                struct value_error *ret_why);
/* Frees what it points to. */
void value_clear(const Pwc__Value *v);

const char *param_type_name(Pwc__ParamType type); /* "a whole number" */

#endif
