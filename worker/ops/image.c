/*
 * image.c - libvips' start-up, registration, and what every role of an image job needs.
 *
 * ops_image_start runs in the nursery, which forks: VIPS_INIT leaves one thread, and no pipeline may run
 * there, because a child of a process that ran one inherits a thread pool without its threads.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "worker/ops/image.h"

#include <gmodule.h> /* after ipc/base.h, as all of GLib */
#include <vips/vector.h>

/* Below this the codec processes cost more than they overlap. */
uint64_t img_whole_bytes = 8u << 20;
/* Big enough to hide a lease's cost and the margins, small enough that several fit an arena. */
uint64_t img_strip_bytes = 3u << 20;

static bool makes_code; /* as the environment has it */

/* Libraries' chatter about doubtful files is not ours to print; what stops a job comes back as its reason. */
static void swallow(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer user)
{
    if (level & (G_LOG_FLAG_FATAL | G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL))
        g_log_default_handler(domain, level, message, user);
}

/*
 * A distribution may put formats into modules, and libvips loads all it finds: with decoders that are not let
 * near a client's bytes come some hundred mappings, which every fork and every death of a stage pays for. So
 * it finds none, and the one format of ours among them is loaded by name. No such file: it is built in, or
 * not installed; the catalogue says which formats there are.
 */
static const char *const modules[] = {"vips-heif"};

static void load_modules(void)
{
    Dl_info lib;
    if (!g_module_supported() || dladdr((void *)(uintptr_t)&vips_init, &lib) == 0)
        return;
    AUTO_FREE char *path = xstrdup(lib.dli_fname);
    char *name = strrchr(path, '/');
    if (name == NULL)
        return; /* linked statically: then nothing is a module */
    *name = '\0';
    for (size_t i = 0; i < ARRAY_LEN(modules); i++) {
        AUTO_FREE char *file = xasprintf("%s/vips-modules-%d.%d/%s." G_MODULE_SUFFIX, path, vips_version(0),
                                         vips_version(1), modules[i]);
        GModule *module = g_module_open(file, G_MODULE_BIND_LAZY);
        if (module != NULL)
            g_module_make_resident(module); /* its types stay */
    }
}

/* Decoders that cannot go row by row (WebP's) fill a temporary file from 100 MB on, which nobody here can
 * make: they fill memory, which the budget and the stage's limit bound. A million gigabytes, as libvips reads
 * it. */
#define NEVER_ON_DISK "1000000g"

void ops_image_start(void)
{
    setenv("VIPSHOME", "/nonexistent", 1); /* where libvips looks for modules and plug-ins */
    setenv("VIPS_DISC_THRESHOLD", NEVER_ON_DISK, 1);
    if (VIPS_INIT("pwc-stage") != 0)
        vips_error_exit("libvips does not start");
    load_modules();
    g_log_set_default_handler(swallow, NULL);
    makes_code = vips_vector_isenabled();
    /* The processes are the parallelism. */
    vips_concurrency_set(1);
    vips_cache_set_max(0);
    vips_block_untrusted_set(TRUE);
}

/* Where it is refused it is not to try: some of liborc takes that for a bug of its own. Nor where it was told
 * not to (VIPS_NOVECTOR). */
void ops_image_code(bool code)
{
    vips_vector_set_enabled(code && makes_code);
}

void ops_image(struct optable *t)
{
    img_table(t);
}

#define NO_THREAD "Error creating thread" /* GLib's words */

/* Threads have their stacks and arenas from the same limit, and nothing else that they could lack here. Where
 * libtiff says "No space for" something, it had no memory for it. A damaged input may ask for more than there
 * is anywhere: of what failed to be allocated there it is to blame. */
static bool lacks_memory(const char *text, Pwc__Code code)
{
    return strcasestr(text, "out of memory") != NULL || strcasestr(text, "insufficient memory") != NULL ||
           strstr(text, NO_THREAD) != NULL || strstr(text, "No space for ") != NULL ||
           (code != PWC__CODE__CODE_BAD_INPUT &&
            (strcasestr(text, "failed to allocate") != NULL || strstr(text, "picture memory error") != NULL));
}

Pwc__Code img_message(char *out, size_t size, Pwc__Code code)
{
    const char *text = vips_error_buffer();
    size_t n = 0, last = 0;
    /* Lines become clauses; libvips repeats itself, so a line that only prefixes another is kept once. */
    for (; *text != '\0' && n + 3 < size; text++) {
        if (*text != '\n') {
            out[n++] = *text;
            continue;
        }
        if (n > last && text[1] != '\0' && strncmp(out + last, text + 1, n - last) != 0) {
            out[n++] = ';';
            out[n++] = ' ';
            last = n;
        } else if (text[1] != '\0') {
            n = last;
        }
    }
    while (n > 0 && (out[n - 1] == ' ' || out[n - 1] == ';')) /* GLib's lines have an empty one behind them */
        n--;
    out[n] = '\0';
    vips_error_clear();
    return lacks_memory(out, code) ? PWC__CODE__CODE_NO_MEMORY : code;
}

/*
 * The process has one text for what libvips says, and a decoder's doubts about a file that it could read all
 * the same stay there: they would be told of the next file that fails, and of many there is no room left for
 * its own.
 */
void img_begin(void)
{
    vips_error_clear();
}

/*
 * libvips' caches of tiles and lines (as of 8.14) report success when they get no memory for a buffer: the
 * pixels stay black. All its larger allocations go through one function, though, and that says so where
 * errors are kept. And a convolution that cannot have a thread while it prepares to compute by code made for
 * it (even its mask is copied by threads) computes otherwise, and rounds otherwise: other pixels than without
 * the want. That it had no thread is told there, too.
 */
int img_starved(struct op_job *job)
{
    const char *said = vips_error_buffer();
    bool memory = strstr(said, "vips_tracked: ") != NULL;
    if (!memory && strstr(said, NO_THREAD) == NULL)
        return 0;
    vips_error_clear();
    return op_fail(job, PWC__CODE__CODE_NO_MEMORY, "libvips found no %s for its pixels",
                   memory ? "memory" : "thread");
}

struct img *img_state(struct op_job *job)
{
    if (!job->state)
        job->state = xcalloc(1, sizeof(struct img));
    return job->state;
}

int img_load_plan(struct op_job *job, struct img *s)
{
    if (img_plan_parse(job->plan, job->plan_len, &s->plan) < 0)
        return op_fail(job, PWC__CODE__CODE_PROTOCOL, "the plan of this job is damaged");
    const char *second = img_family(job)->second;
    if (!second)
        return 0;
    return img_mask_parse(job, second, s->plan.mask, s->plan.mask_len, &s->second);
}

void img_close(struct op_job *job)
{
    struct img *s = job->state;
    if (!s)
        return;
    img_eval_free(s->eval); /* its thread uses all the rest */
    g_clear_object(&s->out);
    g_clear_object(&s->second);
    g_clear_object(&s->view.pixels);
    img_input_close(&s->in);
    free(s->mask);
    free(s->strip);
    free(s);
    job->state = NULL;
}
