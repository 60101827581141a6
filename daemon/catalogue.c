/* catalogue.c - see catalogue.h. */
#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "daemon/catalogue.h"
#include "daemon/nearest.h"
#include "ipc/fds.h"
#include "ipc/messages.h"

#define CHOICES_MAX 200u /* the longest list of libvips has some 30 */

struct catalogue {
    struct catalogue_op *ops; /* sorted by name; info and packed are owned */
    size_t n;
};

/* ---- is one entry to be believed? ---- */

static bool name_ok(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n >= PWC_NAME_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("._-", name[i]) == NULL)
            return false;
    return true;
}

static bool has_choices(const Pwc__ParamInfo *p)
{
    return p->type == PWC__PARAM_TYPE__PARAM_ENUM || p->type == PWC__PARAM_TYPE__PARAM_FLAGS;
}

static const char *param_fault(const Pwc__ParamInfo *p)
{
    if (!name_ok(p->name))
        return "a parameter with a bad name";
    if ((unsigned)p->type > PWC__PARAM_TYPE__PARAM_FLAGS)
        return "a parameter of unknown type";
    if (!isfinite(p->min) || !isfinite(p->max) || p->min > p->max)
        return "a parameter with a bad range";
    if (has_choices(p) != (p->n_choices > 0) || p->n_choices > CHOICES_MAX)
        return "a parameter whose choices do not fit its type";
    for (size_t i = 0; i < p->n_choices; i++)
        if (p->choices[i]->nick[0] == '\0' || strpbrk(p->choices[i]->nick, ", \t\n") != NULL)
            return "a choice with a bad name";
    return NULL;
}

static const char *params_fault(const Pwc__OpInfo *op)
{
    if (op->n_params > PWC_PARAMS_MAX)
        return "too many parameters";
    for (size_t i = 0; i < op->n_params; i++) {
        const char *fault = param_fault(op->params[i]);
        if (fault != NULL)
            return fault;
        for (size_t j = 0; j < i; j++)
            if (strcmp(op->params[i]->name, op->params[j]->name) == 0)
                return "two parameters of one name";
    }
    return NULL;
}

static const char *roles_fault(const Pwc__OpInfo *op)
{
    if (op->n_roles > PWC_ROLES_MAX)
        return "too many roles";
    for (size_t i = 0; i < op->n_roles; i++) {
        const Pwc__RoleInfo *r = op->roles[i];
        if (!name_ok(r->name))
            return "a role with a bad name";
        if (r->dir != PWC__ROLE_DIR__ROLE_IN && r->dir != PWC__ROLE_DIR__ROLE_OUT)
            return "a role of unknown direction";
        for (size_t j = 0; j < i; j++)
            if (strcmp(r->name, op->roles[j]->name) == 0)
                return "two roles of one name";
    }
    return NULL;
}

static const char *split_fault(const Pwc__OpInfo *op)
{
    if (op->split == PWC__SPLIT__SPLIT_PLANNED || op->kind != PWC__OP_KIND__OP_JOB)
        return NULL;
    for (size_t i = 0; i < op->n_params; i++)
        if (strcmp(op->params[i]->name, op->count_param) == 0)
            return op->params[i]->type <= PWC__PARAM_TYPE__PARAM_UINT ? NULL
                                                                      : "a count that is no whole number";
    return "a count parameter that is not there";
}

static const char *op_fault(const Pwc__OpInfo *op)
{
    if (!name_ok(op->name))
        return "a bad name";
    if ((unsigned)op->kind > PWC__OP_KIND__OP_LOAD)
        return "an unknown kind";
    if ((unsigned)op->split > PWC__SPLIT__SPLIT_PLANNED)
        return "an unknown split";
    if ((unsigned)op->absorb > PWC__ABSORB__ABSORB_PLACED)
        return "an unknown absorb mode";
    const char *fault = params_fault(op);
    if (fault == NULL)
        fault = roles_fault(op);
    return fault != NULL ? fault : split_fault(op);
}

/* ---- reading ---- */

static int refuse(char **ret_error, const char *fmt, ...) PRINTF(2, 3);
static int refuse(char **ret_error, const char *fmt, ...)
{
    va_list ap;
    char text[300];
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    *ret_error = xasprintf("catalogue: %s", text);
    return -EBADMSG;
}

static int add_op(struct catalogue *c, const uint8_t *at, uint32_t len, char **ret_error)
{
    ProtobufCMessage *msg = msg_unpack(msg_find(PWC_MSG_OP_INFO), at, len);
    if (msg == NULL)
        return refuse(ret_error, "entry %zu does not parse", c->n);
    const Pwc__OpInfo *info = (const Pwc__OpInfo *)msg;
    const char *fault = op_fault(info);
    if (fault != NULL) {
        char shown[PWC_NAME_MAX];
        refuse(ret_error, "entry %zu (%s) has %s", c->n, printable(info->name, shown, sizeof shown), fault);
        msg_free(msg);
        return -EBADMSG;
    }
    uint8_t *packed = xcalloc(len, 1);
    memcpy(packed, at, len);
    c->ops[c->n++] = (struct catalogue_op){info, packed, len};
    return 0;
}

static int add_all(struct catalogue *c, const uint8_t *bytes, size_t len, char **ret_error)
{
    for (size_t at = 0; at < len;) {
        uint32_t n;
        if (len - at < sizeof n)
            return refuse(ret_error, "ends within a length, at byte %zu", at);
        memcpy(&n, bytes + at, sizeof n);
        n = le32toh(n);
        at += sizeof n;
        if (n == 0 || n > PWC_BODY_MAX || n > len - at)
            return refuse(ret_error, "entry %zu claims %u bytes", c->n, n);
        if (c->n == CATALOGUE_OPS_MAX)
            return refuse(ret_error, "more than %u ops", CATALOGUE_OPS_MAX);
        if (c->n % 64 == 0)
            c->ops = xrealloc(c->ops, c->n + 64, sizeof *c->ops);
        int r = add_op(c, bytes + at, n, ret_error);
        if (r < 0)
            return r;
        at += n;
    }
    return c->n > 0 ? 0 : refuse(ret_error, "is empty");
}

static int by_name(const void *a, const void *b)
{
    const struct catalogue_op *x = a, *y = b;
    return strcmp(x->info->name, y->info->name);
}

static int sort_unique(struct catalogue *c, char **ret_error)
{
    qsort(c->ops, c->n, sizeof *c->ops, by_name);
    for (size_t i = 1; i < c->n; i++)
        if (by_name(&c->ops[i - 1], &c->ops[i]) == 0)
            return refuse(ret_error, "two ops are called %s", c->ops[i].info->name);
    return 0;
}

struct catalogue *catalogue_parse(const uint8_t *bytes, size_t len, char **ret_error)
{
    struct catalogue *c = xcalloc(1, sizeof *c);
    int r = add_all(c, bytes, len, ret_error);
    if (r == 0)
        r = sort_unique(c, ret_error);
    if (r < 0) {
        catalogue_free(c);
        return NULL;
    }
    return c;
}

/* Only a memfd has seals, so fstat and mmap are safe once they are there: nobody can make them wait or fault.
 */
struct catalogue *catalogue_load(int fd, char **ret_error)
{
    struct stat st;
    if (!memfd_is_sealed(fd, true)) {
        refuse(ret_error, "is not in sealed memory");
        return NULL;
    }
    if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > (off_t)CATALOGUE_BYTES_MAX) {
        refuse(ret_error, "is empty or larger than %u bytes", CATALOGUE_BYTES_MAX);
        return NULL;
    }
    size_t len = (size_t)st.st_size;
    void *p = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        p = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        refuse(ret_error, "cannot be mapped: %s", strerror(errno));
        return NULL;
    }
    struct catalogue *c = catalogue_parse(p, len, ret_error);
    munmap(p, len);
    return c;
}

void catalogue_free(struct catalogue *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->n; i++) {
        union {
            const void *in;
            void *out;
        } info = {c->ops[i].info}, packed = {c->ops[i].packed}; /* ours, const for everybody else */
        msg_free(info.out);
        free(packed.out);
    }
    free(c->ops);
    free(c);
}

/* ---- asking ---- */

size_t catalogue_len(const struct catalogue *c)
{
    return c->n;
}

const struct catalogue_op *catalogue_at(const struct catalogue *c, size_t i)
{
    return i < c->n ? &c->ops[i] : NULL;
}

static int name_to_op(const void *name, const void *op)
{
    return strcmp(name, ((const struct catalogue_op *)op)->info->name);
}

const struct catalogue_op *catalogue_find(const struct catalogue *c, const char *name)
{
    return c->n > 0 ? bsearch(name, c->ops, c->n, sizeof *c->ops, name_to_op) : NULL;
}

const struct catalogue_op *catalogue_find_in(const struct catalogue *c, const char *family, const char *name)
{
    if (strlen(name) >= PWC_NAME_MAX)
        return NULL;
    AUTO_FREE char *full = xasprintf("%s.%s", family, name);
    return catalogue_find(c, full);
}

const char *catalogue_nearest(const struct catalogue *c, const char *name)
{
    struct nearest near = nearest_to(name);
    for (size_t i = 0; i < c->n; i++)
        if (c->ops[i].info->kind == PWC__OP_KIND__OP_JOB)
            nearest_try(&near, c->ops[i].info->name);
    return near.best;
}
