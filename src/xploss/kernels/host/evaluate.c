/* Jobs are cut into tasks, which threads take one by one, and tasks into blocks.  How a
   job is cut hangs on its shape alone, and what tasks add up is merged in their order,
   so that the bits do not depend on how many threads take part. */

#include "evaluate.h"

#include <stdlib.h>
#include <string.h>

#include "rows.h"
#include "tasks.h"
#include "views.h"

#define TASK (32 * BLOCK) /* elements of one where nothing is summed along axes */
#define SUMS 2048         /* of one, at most, where something is */

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
            write(&views->output[k], 0, loops, start, n, out[k]);
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
    Array number = {.data = (char *)high, .type = FLOAT64};
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
        write(&to, 0, job->loops, i, n, values);
    }
    free(high);
    return 0;
}

/* ---- jobs ------------------------------------------------------------------------- */

typedef struct {
    const Job *job;
    Size elements;
    const Cut *cut;     /* where a sum is along axes; else */
    const Views *views; /* tasks are ranges of the elements */
    Sum *sums;          /* of each such task */
} Whole;

static int evaluate_task(const Whole *whole, Size task, Space *space) {
    const Job *job = whole->job;
    if (job->along_axes) {
        Part part;
        part_of_task(&part, job, whole->cut, task);
        return sum_part(job, &part, space);
    }
    Size start = task * TASK, rest = whole->elements - start;
    Size end = start + (rest < TASK ? rest : TASK);
    evaluate_blocks(job, whole->views, space, start, end, whole->sums + task);
    return 0;
}

static void take_tasks(Work *work, Caller *caller) {
    const Whole *whole = work->data;
    Space space;
    fill_numbers(whole->job, whole->elements, &space);
    for (Size task; (task = next_task(work, caller)) >= 0;) {
        if (evaluate_task(whole, task, &space)) work->failed = -1;
    }
}

#define MOST_ARRAYS (MOST_ARGUMENTS + MOST_OUTPUTS + 3)

static int arrays_of(Job *job, Array **arrays) {
    int count = 0;
    for (int k = 0; k < job->arguments; k++) arrays[count++] = &job->argument[k];
    for (int k = 0; k < job->results; k++) arrays[count++] = &job->output[k];
    arrays[count++] = &job->weights;
    arrays[count++] = &job->where;
    arrays[count++] = &job->total;
    return count;
}

/* Of a job of rows: from its axes. */
static void take_class_axis(Job *job) {
    Array *arrays[MOST_ARRAYS];
    int count = arrays_of(job, arrays), axis = job->class_axis;
    size_t behind = (size_t)(--job->axes - axis);
    job->classes = job->shape[axis];
    memmove(job->shape + axis, job->shape + axis + 1, behind * sizeof(Size));
    for (int a = 0; a < count; a++) {
        ptrdiff_t *strides = arrays[a]->strides;
        arrays[a]->class_stride = strides[axis];
        memmove(strides + axis, strides + axis + 1, behind * sizeof(ptrdiff_t));
    }
}

/* The axes in the order in which the first argument lies in memory, and none of 1. */
static void order_axes(Job *job) {
    Array *arrays[MOST_ARRAYS];
    int count = arrays_of(job, arrays), axes = 0, order[MOST_AXES];
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

static int sum_along_axes(Whole *whole, Caller *caller) {
    Cut axes_cut;
    cut(whole->job, &axes_cut);
    whole->cut = &axes_cut;
    Work work = {.take = take_tasks, .data = whole};
    work.tasks = tasks_of_cut(whole->job, &axes_cut);
    return carry_out(&work, whole->job, whole->elements, caller);
}

/* All results per element, or a sum of the first, over everything. */
static int by_ranges(Whole *whole, double *sum, Caller *caller) {
    const Job *job = whole->job;
    Part part;
    Views views;
    Sum total = {0, 0};
    memset(part.first, 0, sizeof(Size) * (size_t)job->axes);
    memcpy(part.shape, job->shape, sizeof(Size) * (size_t)job->axes);
    view_parts(&views, job, &part);
    whole->views = &views;
    Work work = {.take = take_tasks, .data = whole};
    work.tasks = parts_of(whole->elements, TASK);
    whole->sums = work.tasks > 1 ? calloc((size_t)work.tasks, sizeof(Sum)) : &total;
    if (!whole->sums) return -1;
    int failed = carry_out(&work, job, whole->elements, caller);
    if (work.tasks > 1) {
        total = merged(whole->sums, work.tasks);
        free(whole->sums);
    }
    *sum = rounded(total) / job->divisor;
    return failed;
}

int evaluate(Job *job, double *sum, int (*interrupted)(void *), void *context) {
    Caller caller = {interrupted, context, 0};
    *sum = 0;
    if (job->row_kernel) take_class_axis(job);
    order_axes(job);
    if (job->row_kernel) return evaluate_rows(job, sum, &caller);
    Whole whole = {.job = job, .elements = count_of(job->axes, job->shape)};
    return job->along_axes ? sum_along_axes(&whole, &caller)
                           : by_ranges(&whole, sum, &caller);
}
