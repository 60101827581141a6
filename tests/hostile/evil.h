/* evil.h - what evil_stage does; its test counts. */
#ifndef PWC_TESTS_EVIL_H
#define PWC_TESTS_EVIL_H

enum evil_action {
    EVIL_DROP,        /* never answers */
    EVIL_TWICE,       /* answers twice */
    EVIL_SPOIL,       /* bits turned, bytes gone */
    EVIL_REFILL,      /* the right type with other fields */
    EVIL_NUMBER,      /* one number is a lie */
    EVIL_OTHER,       /* something else a stage may say */
    EVIL_FOREIGN,     /* what only others may say */
    EVIL_GARBAGE,     /* no frame at all */
    EVIL_DESCRIPTORS, /* that nobody asked for */
    EVIL_FLOOD,
    EVIL_SCRIBBLE, /* over slots, obituary, trace and arena */
    EVIL_CLOSE,    /* its channel, in one direction or both */
    EVIL_STOP,     /* itself */
    EVIL_DIE,
    EVIL_PARTIAL, /* half a frame and silence */
    EVIL_LATER,   /* in another order */
    EVIL_READY,   /* says once more that it is, and that it lives in no cgroup */
    EVIL_DEAF,    /* reads nothing any more, and goes on reporting; one of them only */
    EVIL_ACTIONS
};

/* The file of counts: of each action, and how many would have been deaf. */
#define EVIL_WORDS (EVIL_ACTIONS + 1)

#define EVIL_NAMES                                                                                           \
    {                                                                                                        \
        "drop", "twice", "spoil", "refill", "number", "other", "foreign", "garbage", "descriptors", "flood", \
            "scribble", "close", "stop", "die", "partial", "later", "ready", "deaf"                          \
    }

#endif
