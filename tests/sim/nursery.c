/*
 * nursery.c - the simulated nursery: makes a stage when it is asked for one and says which. It may fail to,
 * die before or after it did, or stand still, or make only such as die before they are ready.
 */
#include <errno.h>

#include "tests/sim/sim.h"

/* It does not get well again. */
static void fall_sick(struct proc *p)
{
    if (W.p_sick == 0 || p->sick != WELL || !sim_fault(W.p_sick))
        return;
    p->sick = sim_chance(500) ? SICK_AT_BOOT : SICK_AT_ENTER;
    W.sick++;
    sim_tally->sick++;
    sim_log("nursery %d is sick from now on", p->pid);
}

static void nursery_answer(struct proc *p, uint64_t stage, struct file *sock)
{
    Stage__Spawned m = STAGE__SPAWNED__INIT;
    m.stage = stage;
    if (sim_fault(W.p_start)) {
        W.start_troubles++;
        m.error = EAGAIN;
        file_drop(&sock);
        proc_send(p, PWC_MSG_SPAWNED, &m.base, NULL, 0, NULL);
        return;
    }
    pid_t pid;
    fall_sick(p);
    proc_spawn(false, sock, &pid);
    struct proc *child = proc_of_pid(pid);
    child->number = stage;
    child->sick = p->sick;
    if (proc_fault(p, AT_NURSERY) && !p->stopped)
        return; /* a child that nobody has told of */
    m.pid = (uint32_t)pid;
    struct file *pidfd = file_new(FILE_PIDFD);
    pidfd->proc = child;
    child->pidfd = pidfd;
    proc_send(p, PWC_MSG_SPAWNED, &m.base, NULL, 0, pidfd);
}

static void nursery_read(struct proc *p)
{
    struct packet *in = end_take(p->sock->end);
    if (in == NULL) {
        if (p->sock->end->eof)
            proc_die(p, true, 0);
        return;
    }
    SIM_CHECK(in->type == PWC_MSG_SPAWN && in->nfiles == 1, "the nursery was sent %s", msg_name(in->type));
    Stage__Spawn *m = (Stage__Spawn *)packet_message(in);
    if (!proc_fault(p, AT_NURSERY))
        nursery_answer(p, m->stage, TAKE_PTR(in->files[0]));
    msg_free(&m->base);
    packet_free(in);
    if (p->state == PROC_RUNS && !p->hung)
        due_in(&p->step, sim_delay());
}

void nursery_step(struct proc *p)
{
    if (p->phase == PHASE_LOOP) {
        nursery_read(p);
        return;
    }
    if (proc_fault(p, AT_NURSERY))
        return;
    p->phase = PHASE_LOOP;
    Stage__NurseryReady m = STAGE__NURSERY_READY__INIT;
    proc_send(p, PWC_MSG_NURSERY_READY, &m.base, NULL, 0, NULL);
    due_in(&p->step, 0);
}
