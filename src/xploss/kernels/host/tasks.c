/* Threads live as long as the job: there is nothing to be kept over a fork, or to be
   ended with the interpreter. */

#define _POSIX_C_SOURCE 200809L

#include "tasks.h"

#if THREADED
#include <pthread.h>
#include <signal.h>
#endif

#define WORTH_A_THREAD 65536  /* elements; it starts in the time of so many */
#define WORTH_A_THREAD_OF_A_TEAM 16384 /* it waits already */
#define ASKED_EVERY 64        /* tasks */

Size next_task(Work *work, Caller *caller) {
    Size done = caller->done++;
    if (caller->interrupted && done && done % ASKED_EVERY == 0
        && caller->interrupted(caller->context)) {
        work->failed = 1;
    }
    if (work->failed) return -1;
#if THREADED
    Size task = atomic_fetch_add(&work->next, 1);
#else
    Size task = work->next++;
#endif
    return task < work->tasks ? task : -1;
}

#if THREADED
static void *thread(void *data) {
    Work *work = data;
    Caller nobody = {0};
    work->take(work, &nobody);
    return NULL;
}

#define MOST_THREADS 64

typedef struct {
    Work *work;
    pthread_t thread;
    Caller *caller;
} Shared;

static void in_team(void *data) {
    Shared *shared = data;
    Caller nobody = {0};
    int calls = pthread_equal(pthread_self(), shared->thread);
    shared->work->take(shared->work, calls ? shared->caller : &nobody);
}

static void take_by(int threads, Team team, Work *work, Caller *caller) {
    if (team) {
        Shared shared = {work, pthread_self(), caller};
        team(in_team, &shared, (unsigned)threads, 0);
        return;
    }
    pthread_t others[MOST_THREADS];
    int started = 0;
    sigset_t all, before;
    sigfillset(&all); /* signals are for the calling thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < threads - 1 && started < MOST_THREADS) {
        if (pthread_create(&others[started], NULL, thread, work)) break;
        started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    work->take(work, caller);
    for (int k = 0; k < started; k++) pthread_join(others[k], NULL);
}
#else
static void take_by(int threads, Team team, Work *work, Caller *caller) {
    (void)threads;
    (void)team;
    work->take(work, caller);
}
#endif

int carry_out(Work *work, const Job *job, Size elements, Caller *caller) {
    Size worth = elements / (job->team ? WORTH_A_THREAD_OF_A_TEAM : WORTH_A_THREAD);
    Size threads = job->threads < worth ? job->threads : worth;
    threads = threads < work->tasks ? threads : work->tasks;
    work->next = work->failed = 0;
    if (threads > 1) take_by((int)threads, job->team, work, caller);
    else work->take(work, caller);
    return work->failed;
}
