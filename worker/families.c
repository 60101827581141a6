/* families.c - which op families this program has. Compiled once for pwc-stage, once for the test build. */
#include "worker/optable.h"

void optable_load(struct optable *t)
{
    ops_basic(t);
    ops_array(t);
#ifdef HAVE_VIPS
    ops_image(t);
#endif
#ifdef WITH_FAULT_OPS
    ops_fault(t);
    ops_bench(t);
#endif
    optable_finish(t);
}
