/*
 * layers.h - the layers of a stage's sandbox: bits of Enter.require and Entered.layer_bits.
 */
#ifndef PWC_LAYERS_H
#define PWC_LAYERS_H

enum sandbox_layer {
    LAYER_NO_NEW_PRIVS = 1,
    LAYER_SECCOMP = 2,
    LAYER_LANDLOCK = 4,
    LAYER_NOFILE = 8,
    LAYER_NOCORE = 16,
    LAYER_NOCAPS = 32,
    LAYER_MEMORY = 64, /* where Enter.memory is not 0 */
};

/* All that a stage can have. memory: Enter.memory. */
#define LAYERS_ALL(memory)                                                                                   \
    (LAYER_NO_NEW_PRIVS | LAYER_SECCOMP | LAYER_LANDLOCK | LAYER_NOFILE | LAYER_NOCORE | LAYER_NOCAPS |      \
     ((memory) > 0 ? LAYER_MEMORY : 0))

#endif
