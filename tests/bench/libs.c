/*
 * libs.c - bench-libs: what the libraries of a stage need in any program: starts them as the nursery does,
 * and says how much memory is resident then.
 */
#include <vips/vips.h>

#include "tests/bench/bench.h"

int main(int argc, char **argv)
{
    (void)argc;
    if (VIPS_INIT(argv[0]) != 0)
        bench_fail("VIPS_INIT failed");
    bench_print("stage_rss_mib", (double)bench_rss_kib(getpid()) / 1024);
    vips_shutdown();
    return 0;
}
