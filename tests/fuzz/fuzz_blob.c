/*
 * fuzz_blob.c - any bytes as the plan of an image job, which a taken-over planner wrote for workers and
 * consumer: refused, or a header and metadata that an image can wear.
 */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "worker/ops/image.h"

static void start(void)
{
    static bool started;
    if (started)
        return;
    started = true;
    FUZZ_CHECK(VIPS_INIT("fuzz") == 0);
    g_log_set_always_fatal(G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct img_plan plan;
    start();
    if (img_plan_parse(data, size, &plan) < 0)
        return 0;
    FUZZ_CHECK(plan.geo.in_rows == (uint32_t)plan.head.height && geometry_valid(&plan.geo));
    FUZZ_CHECK(plan.mask_len <= size && plan.meta_end == data + size);
    VipsImage *im = vips_image_new();
    (void)img_plan_dress(&plan, im);
    vips_error_clear();
    g_object_unref(im);
    return 0;
}
