/* Jobs are cut into tasks, which threads take one by one, and tasks into blocks.  How a
   job is cut hangs on its shape alone, and what tasks add up is merged in their order,
   so that the bits do not depend on how many threads take part.

   Threads live as Size as the job: there is nothing to be kept over a fork, or to be
   ended with the interpreter. */

#define _POSIX_C_SOURCE 200809L

#include "evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define THREADED 0
#else
#define THREADED 1
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#endif

#define TASK (32 * BLOCK)     /* elements of one where nothing is summed along axes */
#define SUMS 2048             /* of one, at most, where something is */
#define WORTH_A_THREAD 65536  /* elements; it starts in the time of so many */
#define WORTH_A_THREAD_OF_A_TEAM 16384 /* it waits already */
#define ASKED_EVERY 64        /* tasks */

/* ---- sums of two parts ------------------------------------------------------------ */

typedef struct { double high, low; } Sum;

static void add(Sum *sum, double x) {
    double high = sum->high + x, back = high - sum->high;
    sum->low += (sum->high - (high - back)) + (x - back);
    sum->high = high;
}

/* What is infinite or NaN has no rest. */
static double rounded(Sum sum) {
    double whole = sum.high + sum.low;
    return isfinite(sum.high) ? whole : sum.high;
}

/* ---- arrays by the place of an element in order ----------------------------------- */

typedef struct {
    const Array *array;
    char *data;
    int axes;
    Size shape[MOST_AXES];
    ptrdiff_t strides[MOST_AXES];
} View;

/* Of an array along some axes, those that lie behind one another as one. */
static void view_of(View *view, const Array *array, char *data, int axes,
                    const Size *shape, const ptrdiff_t *strides) {
    int n = 0;
    view->array = array;
    view->data = data;
    for (int k = 0; k < axes; k++) {
        if (shape[k] == 1) continue;
        if (n && view->strides[n - 1] == strides[k] * shape[k]) {
            view->shape[n - 1] *= shape[k];
            view->strides[n - 1] = strides[k];
        } else {
            view->shape[n] = shape[k];
            view->strides[n++] = strides[k];
        }
    }
    if (!n) {
        view->shape[0] = 1;
        view->strides[n++] = 0;
    }
    view->axes = n;
}

/* Where in a view its elements lie, run by run along its last axis. */
typedef struct {
    Size index[MOST_AXES];
    ptrdiff_t offset;
} Place;

static void go_to(Place *place, const View *view, Size start) {
    place->offset = 0;
    for (int k = view->axes - 1; k >= 0; k--) {
        place->index[k] = k ? start % view->shape[k] : start;
        start /= view->shape[k];
        place->offset += place->index[k] * view->strides[k];
    }
}

static void go_on(Place *place, const View *view, Size steps) {
    int k = view->axes - 1;
    place->index[k] += steps;
    place->offset += steps * view->strides[k];
    while (k && place->index[k] == view->shape[k]) {
        place->offset -= view->shape[k] * view->strides[k];
        place->index[k--] = 0;
        place->index[k]++;
        place->offset += view->strides[k];
    }
}

static Size run_from(const Place *place, const View *view, Size most) {
    int last = view->axes - 1;
    Size rest = view->shape[last] - place->index[last];
    return rest < most ? rest : most;
}

static int is_in_place(const View *view, const Loops *loops) {
    return view->axes == 1 && view->array->type == loops->type
        && (view->strides[0] == (ptrdiff_t)loops->size || view->shape[0] == 1)
        && (size_t)view->data % loops->size == 0;
}

/* `n` elements from `start` on, in `space` unless they lie so already. */
static const void *read(const View *view, const Loops *loops, Size start, Size n,
                        void *space) {
    if (is_in_place(view, loops)) return view->data + start * (ptrdiff_t)loops->size;
    Place place;
    char *to = space;
    go_to(&place, view, start);
    while (n > 0) {
        Size run = run_from(&place, view, n);
        ptrdiff_t stride = view->strides[view->axes - 1];
        loops->read[view->array->type](run, view->data + place.offset, stride, to);
        to += run * (Size)loops->size;
        n -= run;
        go_on(&place, view, run);
    }
    return space;
}

static void write(const View *view, const Loops *loops, Size start, Size n,
                  const void *space) {
    Place place;
    const char *from = space;
    go_to(&place, view, start);
    while (n > 0) {
        Size run = run_from(&place, view, n);
        ptrdiff_t stride = view->strides[view->axes - 1];
        loops->write[view->array->type](run, from, view->data + place.offset, stride);
        from += run * (Size)loops->size;
        n -= run;
        go_on(&place, view, run);
    }
}

/* ---- blocks ----------------------------------------------------------------------- */

/* What one thread needs.  Where an array of the job is a number, its space is full of
   that already. */
typedef struct {
    double argument[MOST_ARGUMENTS][BLOCK], weights[BLOCK], where[BLOCK];
    double result[MOST_OUTPUTS][BLOCK];
} Space;

static void fill(const Loops *loops, Size n, const Array *array, void *space) {
    if (!array->data) loops->read[FLOAT64](n, (const char *)&array->number, 0, space);
}

static void fill_numbers(const Job *job, Size elements, Space *space) {
    Size n = elements < BLOCK ? elements : BLOCK;
    for (int k = 0; k < job->arguments; k++) {
        fill(job->loops, n, &job->argument[k], space->argument[k]);
    }
    if (job->has_weights) fill(job->loops, n, &job->weights, space->weights);
    if (job->has_where) fill(job->loops, n, &job->where, space->where);
}

/* Of what a task reads and writes, and of the sums along axes that it adds to. */
typedef struct {
    View argument[MOST_ARGUMENTS], weights, where, output[MOST_OUTPUTS];
    View sums;
    double *high, *low;
} Views;

static const void *read_argument(const Job *job, const Array *array, const View *view,
                                 Size start, Size n, void *space) {
    return array->data ? read(view, job->loops, start, n, space) : space;
}

static void add_along_axes(const Views *views, const Loops *loops, Size start, Size n,
                           const char *values) {
    const View *sums = &views->sums;
    Place place;
    go_to(&place, sums, start);
    while (n > 0) {
        Size run = run_from(&place, sums, n);
        double *high = views->high + place.offset, *low = views->low + place.offset;
        if (sums->strides[sums->axes - 1]) {
            loops->add(run, values, high, low);
        } else {
            Sum sum = {*high, *low};
            add(&sum, loops->sum(run, values));
            *high = sum.high;
            *low = sum.low;
        }
        values += run * (Size)loops->size;
        n -= run;
        go_on(&place, sums, run);
    }
}

static void evaluate_block(const Job *job, const Views *views, Space *space, Size start,
                           Size n, Sum *sum) {
    const Loops *loops = job->loops;
    const void *in[MOST_ARGUMENTS];
    void *out[MOST_OUTPUTS];
    for (int k = 0; k < job->arguments; k++) {
        in[k] = read_argument(job, &job->argument[k], &views->argument[k], start, n,
                              space->argument[k]);
    }
    for (int k = 0; k < job->results; k++) {
        const View *output = &views->output[k];
        int in_place = !(job->summed && k == 0) && is_in_place(output, loops);
        out[k] = in_place ? output->data + start * (ptrdiff_t)loops->size
                          : (char *)space->result[k];
    }
    job->kernel->run(n, in, out);
    const void *weights = NULL, *where = NULL;
    if (job->has_weights) {
        weights = read_argument(job, &job->weights, &views->weights, start, n,
                                space->weights);
    }
    if (job->has_where) {
        where = read_argument(job, &job->where, &views->where, start, n, space->where);
    }
    for (int k = 0; k < job->results; k++) {
        if (weights) loops->weigh(n, out[k], weights);
        if (where) loops->mask(n, out[k], where);
        if (job->has_scale[k]) loops->scale(n, out[k], job->scale[k]);
        if (job->summed && k == 0) {
            if (job->along_axes) {
                add_along_axes(views, loops, start, n, out[k]);
            } else {
                add(sum, loops->sum(n, out[k]));
            }
        } else if (out[k] == (void *)space->result[k]) {
            write(&views->output[k], loops, start, n, out[k]);
        }
    }
}

static void evaluate_blocks(const Job *job, const Views *views, Space *space, Size start,
                            Size end, Sum *sum) {
    for (; start < end; start += BLOCK) {
        Size n = end - start < BLOCK ? end - start : BLOCK;
        evaluate_block(job, views, space, start, n, sum);
    }
}

/* ---- tasks: of a range of elements, or of some of the sums along axes ------------- */

static Size count_of(int axes, const Size *shape) {
    Size count = 1;
    for (int k = 0; k < axes; k++) count *= shape[k];
    return count;
}

/* A part of a job's axes: so many from `first` on along each. */
typedef struct {
    Size first[MOST_AXES], shape[MOST_AXES];
} Part;

static void view_part(View *view, const Job *job, const Array *array, const Part *part) {
    if (!array->data) return;
    char *data = array->data;
    for (int k = 0; k < job->axes; k++) data += part->first[k] * array->strides[k];
    view_of(view, array, data, job->axes, part->shape, array->strides);
}

static void view_parts(Views *views, const Job *job, const Part *part) {
    for (int k = 0; k < job->arguments; k++) {
        view_part(&views->argument[k], job, &job->argument[k], part);
    }
    if (job->has_weights) view_part(&views->weights, job, &job->weights, part);
    if (job->has_where) view_part(&views->where, job, &job->where, part);
    for (int k = job->summed; k < job->results; k++) {
        view_part(&views->output[k], job, &job->output[k], part);
    }
}

/* How the axes of a job are cut whose sum is along some of them: one by one the first
   axes that are kept, the last of these into parts, and the last axis if that is kept,
   so that a task has not many sums. */
typedef struct {
    int leading; /* axes that are kept before any that is summed over */
    Size rows, columns; /* of a part */
} Cut;

static int is_kept(const Job *job, int k) { return job->total.strides[k] != 0; }

static void cut(const Job *job, Cut *cut) {
    int k = 0, last = job->axes - 1;
    while (k < job->axes && is_kept(job, k)) k++;
    cut->leading = k;
    Size sums = 1;
    for (; k < last; k++) sums *= is_kept(job, k) ? job->shape[k] : 1;
    cut->columns = job->shape[last];
    if (cut->leading <= last && is_kept(job, last)) {
        Size most = SUMS / sums > 1 ? SUMS / sums : 1;
        cut->columns = cut->columns < most ? cut->columns : most;
        sums *= cut->columns;
    }
    cut->rows = SUMS / sums > 1 ? SUMS / sums : 1;
}

static Size parts_of(Size n, Size part) { return (n + part - 1) / part; }

static Size tasks_of_cut(const Job *job, const Cut *cut) {
    int last = job->axes - 1;
    Size tasks = 1;
    for (int k = 0; k < cut->leading; k++) {
        tasks *= k == cut->leading - 1 ? parts_of(job->shape[k], cut->rows)
                                       : job->shape[k];
    }
    return cut->leading <= last ? tasks * parts_of(job->shape[last], cut->columns)
                                : tasks;
}

static void take(Part *part, const Job *job, int k, Size *task, Size length) {
    Size parts = parts_of(job->shape[k], length), first = *task % parts * length;
    Size rest = job->shape[k] - first;
    part->first[k] = first;
    part->shape[k] = rest < length ? rest : length;
    *task /= parts;
}

static void part_of_task(Part *part, const Job *job, const Cut *cut, Size task) {
    int last = job->axes - 1;
    for (int k = 0; k < job->axes; k++) {
        part->first[k] = 0;
        part->shape[k] = job->shape[k];
    }
    if (cut->leading <= last) take(part, job, last, &task, cut->columns);
    for (int k = cut->leading - 1; k >= 0; k--) {
        take(part, job, k, &task, k == cut->leading - 1 ? cut->rows : 1);
    }
}

/* The sums of a part, of their own, and then where they belong. */
static int sum_part(const Job *job, const Part *part, Space *space) {
    ptrdiff_t strides[MOST_AXES];
    Size sums = 1;
    for (int k = job->axes - 1; k >= 0; k--) {
        strides[k] = is_kept(job, k) ? sums : 0;
        sums *= is_kept(job, k) ? part->shape[k] : 1;
    }
    double *high = calloc(2 * (size_t)sums, sizeof(double));
    if (!high) return -1;
    Views views;
    view_parts(&views, job, part);
    views.high = high;
    views.low = high + sums;
    view_of(&views.sums, NULL, NULL, job->axes, part->shape, strides);
    evaluate_blocks(job, &views, space, 0, count_of(job->axes, part->shape), NULL);
    Array number = {(char *)high, 0, FLOAT64, {0}};
    Part kept = *part;
    for (int k = 0; k < job->axes; k++) kept.shape[k] = is_kept(job, k) ? part->shape[k] : 1;
    View from, to;
    view_of(&from, &number, (char *)high, 1, &sums, (ptrdiff_t[]){sizeof(double)});
    view_part(&to, job, &job->total, &kept);
    for (Size i = 0; i < sums; i++) {
        high[i] = rounded((Sum){high[i], views.low[i]}) / job->divisor;
    }
    for (Size i = 0; i < sums; i += BLOCK) {
        Size n = sums - i < BLOCK ? sums - i : BLOCK;
        const void *values = read(&from, job->loops, i, n, space->result[0]);
        write(&to, job->loops, i, n, values);
    }
    free(high);
    return 0;
}

/* ---- threads ---------------------------------------------------------------------- */

typedef struct {
    const Job *job;
    const Cut *cut;
    const Views *views; /* where tasks are ranges of the elements */
    Sum *sums;          /* of each such task */
    Size tasks, elements;
#if THREADED
    atomic_long next;
    atomic_int failed;
#else
    Size next;
    int failed;
#endif
} Work;

static Size next_task(Work *work) {
#if THREADED
    return atomic_fetch_add(&work->next, 1);
#else
    return work->next++;
#endif
}

static int evaluate_task(Work *work, Size task, Space *space) {
    const Job *job = work->job;
    if (job->along_axes) {
        Part part;
        part_of_task(&part, job, work->cut, task);
        return sum_part(job, &part, space);
    }
    Size start = task * TASK, rest = work->elements - start;
    Size end = start + (rest < TASK ? rest : TASK);
    evaluate_blocks(job, work->views, space, start, end, work->sums + task);
    return 0;
}

static void take_tasks(Work *work, int (*interrupted)(void *), void *context) {
    Space space;
    fill_numbers(work->job, work->elements, &space);
    for (Size done = 1; !work->failed; done++) {
        Size task = next_task(work);
        if (task >= work->tasks) return;
        if (evaluate_task(work, task, &space)) work->failed = -1;
        if (interrupted && done % ASKED_EVERY == 0 && interrupted(context)) {
            work->failed = 1;
        }
    }
}

#if THREADED
static void *thread(void *work) {
    take_tasks(work, NULL, NULL);
    return NULL;
}

#define MOST_THREADS 64

typedef struct {
    Work *work;
    pthread_t caller;
    int (*interrupted)(void *);
    void *context;
} Shared;

static void in_team(void *data) {
    Shared *shared = data;
    int calls = pthread_equal(pthread_self(), shared->caller);
    take_tasks(shared->work, calls ? shared->interrupted : NULL, shared->context);
}

static void take_tasks_by(int threads, Work *work, int (*interrupted)(void *),
                          void *context) {
    if (work->job->team) {
        Shared shared = {work, pthread_self(), interrupted, context};
        work->job->team(in_team, &shared, (unsigned)threads, 0);
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
    take_tasks(work, interrupted, context);
    for (int k = 0; k < started; k++) pthread_join(others[k], NULL);
}
#else
static void take_tasks_by(int threads, Work *work, int (*interrupted)(void *),
                          void *context) {
    (void)threads;
    take_tasks(work, interrupted, context);
}
#endif

/* ---- jobs ------------------------------------------------------------------------- */

/* The axes in the order in which the first argument lies in memory, and none of 1. */
static void order_axes(Job *job) {
    Array *arrays[MOST_ARGUMENTS + MOST_OUTPUTS + 3];
    int count = 0, axes = 0, order[MOST_AXES];
    for (int k = 0; k < job->arguments; k++) arrays[count++] = &job->argument[k];
    for (int k = 0; k < job->results; k++) arrays[count++] = &job->output[k];
    arrays[count++] = &job->weights;
    arrays[count++] = &job->where;
    arrays[count++] = &job->total;
    const ptrdiff_t *strides = job->argument[0].strides;
    for (int k = 0; k < job->axes; k++) {
        if (job->shape[k] == 1) continue;
        int place = axes++;
        while (place && llabs(strides[order[place - 1]]) < llabs(strides[k])) {
            order[place] = order[place - 1];
            place--;
        }
        order[place] = k;
    }
    Size shape[MOST_AXES];
    for (int k = 0; k < axes; k++) shape[k] = job->shape[order[k]];
    memcpy(job->shape, shape, sizeof(Size) * (size_t)axes);
    for (int a = 0; a < count; a++) {
        ptrdiff_t moved[MOST_AXES];
        for (int k = 0; k < axes; k++) moved[k] = arrays[a]->strides[order[k]];
        memcpy(arrays[a]->strides, moved, sizeof(ptrdiff_t) * (size_t)axes);
    }
    job->axes = axes;
    if (!axes) { /* one element */
        job->axes = 1;
        job->shape[0] = 1;
        for (int a = 0; a < count; a++) arrays[a]->strides[0] = 0;
    }
}

static void carry_out(Work *work, int (*interrupted)(void *), void *context) {
    Size each = work->job->team ? WORTH_A_THREAD_OF_A_TEAM : WORTH_A_THREAD;
    Size worth = work->elements / each;
    Size threads = work->job->threads < worth ? work->job->threads : worth;
    threads = threads < work->tasks ? threads : work->tasks;
    if (threads > 1) take_tasks_by((int)threads, work, interrupted, context);
    else take_tasks(work, interrupted, context);
}

static void sum_along_axes(Work *work, int (*interrupted)(void *), void *context) {
    Cut axes_cut;
    cut(work->job, &axes_cut);
    work->cut = &axes_cut;
    work->tasks = tasks_of_cut(work->job, &axes_cut);
    carry_out(work, interrupted, context);
}

/* All results per element, or a sum of the first, over everything. */
static double by_ranges(Work *work, int (*interrupted)(void *), void *context) {
    const Job *job = work->job;
    Part whole;
    Views views;
    Sum total = {0, 0};
    memset(whole.first, 0, sizeof(Size) * (size_t)job->axes);
    memcpy(whole.shape, job->shape, sizeof(Size) * (size_t)job->axes);
    view_parts(&views, job, &whole);
    work->views = &views;
    work->tasks = parts_of(work->elements, TASK);
    work->sums = work->tasks > 1 ? calloc((size_t)work->tasks, sizeof(Sum)) : &total;
    if (!work->sums) {
        work->failed = -1;
        return 0;
    }
    carry_out(work, interrupted, context);
    if (work->tasks > 1) {
        for (Size k = 0; k < work->tasks; k++) {
            add(&total, work->sums[k].high);
            total.low += work->sums[k].low;
        }
        free(work->sums);
    }
    return rounded(total) / job->divisor;
}

int evaluate(Job *job, double *sum, int (*interrupted)(void *), void *context) {
    order_axes(job);
    Work work;
    work.job = job;
    work.elements = count_of(job->axes, job->shape);
    work.next = work.failed = 0;
    *sum = 0;
    if (job->along_axes) sum_along_axes(&work, interrupted, context);
    else *sum = by_ranges(&work, interrupted, context);
    return work.failed;
}
