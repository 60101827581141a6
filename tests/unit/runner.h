/* runner.h - runs a check suite and closes with the line that contrib/check adds up. */
#ifndef PWC_TESTS_RUNNER_H
#define PWC_TESTS_RUNNER_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static inline int run_suite(Suite *s)
{
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    printf("%d passed, %d failed\n", srunner_ntests_run(r) - failed, failed);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
