/* Tasks, which threads take one by one. */

#ifndef TASKS_H
#define TASKS_H

#include "evaluate.h"

#if defined(_WIN32)
#define THREADED 0
#else
#define THREADED 1
#include <stdatomic.h>
#endif

/* What the thread that called asks now and then, and how many tasks it has done. */
typedef struct {
    int (*interrupted)(void *); /* NULL in the other threads */
    void *context;
    Size done;
} Caller;

typedef struct Work {
    void (*take)(struct Work *work, Caller *caller); /* tasks, until there is none */
    const void *data;
    Size tasks;
#if THREADED
    atomic_long next;
    atomic_int failed;
#else
    Size next;
    int failed;
#endif
} Work;

/* -1 where there is none. */
Size next_task(Work *work, Caller *caller);

/* By as many threads as the job says, if its elements are worth them.  0; -1 where there
   is no memory; 1 where it was interrupted. */
int carry_out(Work *work, const Job *job, Size elements, Caller *caller);

#endif
