/* twin.c - a client's second connection, on which it submits again what it has submitted, while the first one
 * lives: it is the same job, nobody is asked for its descriptors here, and its end is told once more. */
#include <stddef.h>

#include "tests/sim/sim.h"

static void twin_is_told(struct twin *t, uint16_t type, const ProtobufCMessage *msg)
{
    const struct spec *s = t->spec;
    SIM_CHECK(type != PWC_MSG_WANT, "who repeats spec %u is asked for descriptors", s->index);
    if (type == PWC_MSG_ACCEPTED) {
        const Pwc__Accepted *m = (const Pwc__Accepted *)msg;
        SIM_CHECK(m->existing && m->job == s->id, "spec %u is job %lu, repeated it is job %lu, %s", s->index,
                  (ul)s->id, (ul)m->job, m->existing ? "made before" : "a new one");
        t->accepted = true;
    } else if (type == PWC_MSG_EVENT) {
        const Pwc__Event *m = (const Pwc__Event *)msg;
        SIM_CHECK(m->seq > t->last_seq, "job %lu: event %lu after %lu, for who repeats it", (ul)m->job,
                  (ul)m->seq, (ul)t->last_seq);
        t->last_seq = m->seq;
    } else if (type == PWC_MSG_FINISHED) {
        const Pwc__Finished *m = (const Pwc__Finished *)msg;
        SIM_CHECK(t->accepted && !t->finished && m->state == s->end_state,
                  "job %lu ended otherwise, or twice, for who repeats it", (ul)m->job);
        t->finished = true;
    }
}

/* It hears the end, or has enough before. */
static void on_twin_reader(struct due *d)
{
    struct twin *t = (struct twin *)(void *)((char *)d - offsetof(struct twin, c.reader));
    struct end *e = t->c.sock->end;
    struct packet *in = end_take(e);
    if (in != NULL) {
        sim_log("client %u's second connection is told %s", t->c.index, msg_name(in->type));
        ProtobufCMessage *msg = packet_message(in);
        twin_is_told(t, in->type, msg);
        msg_free(msg);
        packet_free(in);
    }
    if (t->finished || e->eof || (t->accepted && sim_chance(20)))
        client_end(&t->c);
    else if (e->head != NULL)
        due_in(&t->c.reader, sim_delay());
}

/* As if it had lost its connection, which lives. */
bool twin_begin(struct client *c, struct spec *s)
{
    struct twin *t = &W.twins[c->index];
    if (t->c.sock != NULL || c->leave.place != 0 || W.p_slow > 1)
        return false;
    *t =
        (struct twin){.c = {.index = c->index, .uid = c->uid, .reader = {.fire = on_twin_reader}}, .spec = s};
    client_hello(&t->c);
    client_submit(&t->c, s);
    return true;
}
