/* Rows of classes are taken TILE at a time, class after class, where their classes are
   few or far apart; else one by one.  Classes are taken a chunk at a time, so that a row
   may be as long as it likes: it is read once for each pass, and once where a chunk has
   it all. */

#include "rows.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "views.h"

#define ROW_TASK 16384 /* elements of a task */
#define ALONG 32       /* as few classes are taken across rows */
#define FEW_ROWS 16    /* and so many rows one by one */
#define CHUNK 64       /* classes of TILE rows, and TILE times as many of one */

typedef struct {
    const Job *job;
    int along;
    Size rows, task; /* of all, of one task */
    View argument[MOST_ARGUMENTS], weights, where, output[MOST_OUTPUTS];
    Sum *sums; /* of each task */
} Rows;

/* What one thread needs: of each array a chunk if it is one a class, or what is one a
   row of TILE rows. */
typedef struct {
    Size chunk;
    char *state, *memory;
    char *argument[MOST_ARGUMENTS + 2], *result[MOST_OUTPUTS];
    double weights[TILE], where[TILE];
} RowSpace;

/* What is read soon: several that are fetched at once take the time of one. */
#if defined(__GNUC__)
#define FETCH(at) __builtin_prefetch(at)
#else
#define FETCH(at) (void)0
#endif

static int is_of_class(unsigned bits, int k) { return (int)(bits >> k & 1u); }

/* ---- memory ----------------------------------------------------------------------- */

static size_t room(Size elements) { return ((size_t)elements * 8 + 63) / 64 * 64; }

static void fill(const Job *job, const Array *array, Size n, void *space) {
    if (!array->data) {
        job->loops->read[FLOAT64](n, (const char *)&array->number, 0, space);
    }
}

static int prepare(RowSpace *space, const Rows *rows) {
    const Job *job = rows->job;
    const RowKernel *kernel = job->row_kernel;
    Size most = rows->along ? CHUNK * TILE : CHUNK;
    space->chunk = job->classes < most ? job->classes : most;
    Size of_chunk = rows->along ? space->chunk : space->chunk * TILE;
    size_t sizes[MOST_ARGUMENTS + MOST_OUTPUTS + 3], whole = 64;
    int count = 0;
    int inputs = kernel->inputs + kernel->picks;
    for (int k = 0; k < inputs; k++) {
        sizes[count++] = room(is_of_class(kernel->classes_in, k) ? of_chunk : TILE);
    }
    for (int k = 0; k < kernel->outputs; k++) {
        sizes[count++] = room(is_of_class(kernel->classes_out, k) ? of_chunk : TILE);
    }
    sizes[count++] = (kernel->state + 63) / 64 * 64;
    for (int k = 0; k < count; k++) whole += sizes[k];
    space->memory = calloc(whole, 1);
    if (!space->memory) return -1;
    char *next = space->memory + (64 - (uintptr_t)space->memory % 64) % 64;
    count = 0;
    for (int k = 0; k < inputs; k++, next += sizes[count++]) {
        space->argument[k] = next;
        Size n = is_of_class(kernel->classes_in, k) ? of_chunk : TILE;
        int of = k < kernel->inputs ? k : kernel->picked[k - kernel->inputs].input;
        fill(job, &job->argument[of], n, next);
    }
    for (int k = 0; k < kernel->outputs; k++, next += sizes[count++]) {
        space->result[k] = next;
    }
    space->state = next;
    if (job->has_weights) fill(job, &job->weights, TILE, space->weights);
    if (job->has_where) fill(job, &job->where, TILE, space->where);
    return 0;
}

/* ---- reading ---------------------------------------------------------------------- */

static char *at_row(const View *view, Size row) {
    Place place;
    go_to(&place, view, row);
    return view->data + place.offset;
}

static double number_of(const Job *job, const void *numbers, Size i) {
    return job->loops->type == FLOAT32 ? (double)((const float *)numbers)[i]
                                       : ((const double *)numbers)[i];
}

/* The elements of rows at the class of a number, any where none has it; from a tile that
   has all classes of the rows, if there is one. */
static void pick(const Rows *rows, RowSpace *space, int p, Size start, Size n,
                 int from_tile) {
    const Job *job = rows->job;
    const RowKernel *kernel = job->row_kernel;
    int input = kernel->picked[p].input;
    const Array *array = &job->argument[input];
    const char *numbers = space->argument[kernel->picked[p].by];
    char *to = space->argument[kernel->inputs + p];
    size_t size = job->loops->size;
    if (!array->data) return;
    if (from_tile) {
        job->loops->pick(n, job->classes, space->argument[input], numbers, to);
        return;
    }
    const char *from[TILE];
    for (Size i = 0; i < n; i++) {
        double number = number_of(job, numbers, i);
        int there = number >= 0 && number < (double)job->classes;
        Size at = there ? (Size)number : 0;
        from[i] = at_row(&rows->argument[input], start + i) + at * array->class_stride;
        FETCH(from[i]);
    }
    for (Size i = 0; i < n; i++) {
        job->loops->read[array->type](1, from[i], 0, to + i * size);
    }
}

static void read_block(const Rows *rows, RowSpace *space, Size start, Size n) {
    const Job *job = rows->job;
    const RowKernel *kernel = job->row_kernel;
    for (int k = 0; k < kernel->inputs; k++) {
        if (is_of_class(kernel->classes_in, k)) continue;
        if (!job->argument[k].data) continue;
        copy(&rows->argument[k], 0, job->loops, start, n, space->argument[k]);
    }
    if (job->has_weights && job->weights.data) {
        copy(&rows->weights, 0, job->loops, start, n, space->weights);
    }
    if (job->has_where && job->where.data) {
        copy(&rows->where, 0, job->loops, start, n, space->where);
    }
}

/* Where the classes of a row lie in a row, and the rows in a line: of the first of `n`
   rows, the first class, or NULL. */
static char *in_lines(const View *view, const Job *job, Size start, Size n) {
    const Array *array = view->array;
    Place place;
    go_to(&place, view, start);
    char *at = view->data + place.offset;
    int there = array->type == job->loops->type && (size_t)at % job->loops->size == 0
        && array->class_stride == (ptrdiff_t)job->loops->size
        && view->strides[view->axes - 1] % (ptrdiff_t)job->loops->size == 0;
    return there && run_from(&place, view, n) == n ? at : NULL;
}

/* `n` classes from `first` on, of TILE rows. */
static void read_across(const Rows *rows, int k, Size start, Size rows_here, Size first,
                        Size n, char *space) {
    const Job *job = rows->job;
    const Array *array = &job->argument[k];
    if (!array->data) return;
    Size line = TILE * (Size)job->loops->size;
    const View *view = &rows->argument[k];
    char *at = in_lines(view, job, start, rows_here);
    if (at) {
        at += first * array->class_stride;
        ptrdiff_t from_line = view->strides[view->axes - 1];
        job->loops->transpose(rows_here, n, at, from_line, space, line);
        return;
    }
    int is_last = start + rows_here >= rows->rows;
    const char *next = at_row(view, is_last ? start : start + rows_here);
    for (Size j = 0; j < n; j++) {
        ptrdiff_t away = (first + j) * array->class_stride;
        copy(view, away, job->loops, start, rows_here, space + j * line);
        for (Size byte = 0; byte < line; byte += 64) FETCH(next + away + byte);
    }
}

/* Of one row: where they lie in a row already, or in `space`. */
static const void *read_along(const Rows *rows, int k, Size row, Size first, Size n,
                              void *space) {
    const Job *job = rows->job;
    const Array *array = &job->argument[k];
    if (!array->data) return space;
    const char *from = at_row(&rows->argument[k], row) + first * array->class_stride;
    int in_place = array->type == job->loops->type && (size_t)from % job->loops->size == 0
        && (array->class_stride == (ptrdiff_t)job->loops->size || n == 1);
    if (in_place) return from;
    job->loops->read[array->type](n, from, array->class_stride, space);
    return space;
}

/* ---- results ---------------------------------------------------------------------- */

/* Weighed, masked, scaled: `n` results one a row, of which the first is a loss; what
   follows is the rows' statistic. */
static void finish_losses(const Job *job, const RowSpace *space, Size n) {
    if (job->has_weights) job->loops->weigh(n, space->result[0], space->weights);
    if (job->has_where) job->loops->mask(n, space->result[0], space->where);
    if (job->has_scale[0]) job->loops->scale(n, space->result[0], job->scale[0]);
}

static void write_across(const Rows *rows, const RowSpace *space, int k, Size start,
                         Size rows_here, Size first, Size n) {
    const Job *job = rows->job;
    Size line = TILE * (Size)job->loops->size;
    for (Size j = 0; j < n; j++) {
        char *values = space->result[k] + j * line;
        if (job->has_weights) job->loops->weigh(rows_here, values, space->weights);
        if (job->has_where) job->loops->mask(rows_here, values, space->where);
        if (job->has_scale[k]) job->loops->scale(rows_here, values, job->scale[k]);
    }
    const View *view = &rows->output[k];
    ptrdiff_t stride = job->output[k].class_stride;
    char *at = in_lines(view, job, start, rows_here);
    if (at) {
        job->loops->transpose(n, rows_here, space->result[k], line, at + first * stride,
                              view->strides[view->axes - 1]);
        return;
    }
    for (Size j = 0; j < n; j++) {
        const char *values = space->result[k] + j * line;
        write(view, (first + j) * stride, job->loops, start, rows_here, values);
    }
}

/* Where a row's results lie in a row they are made there. */
static char *place_along(const Rows *rows, const RowSpace *space, int k, Size row,
                         Size first) {
    const Job *job = rows->job;
    const Array *array = &job->output[k];
    char *to = at_row(&rows->output[k], row) + first * array->class_stride;
    int in_place = array->type == job->loops->type && (size_t)to % job->loops->size == 0
        && array->class_stride == (ptrdiff_t)job->loops->size;
    return in_place ? to : space->result[k];
}

static void write_along(const Rows *rows, const RowSpace *space, int k, Size row, Size i,
                        Size first, Size n, char *values) {
    const Job *job = rows->job;
    if (job->has_weights) {
        job->loops->scale(n, values, number_of(job, space->weights, i));
    }
    if (job->has_where && number_of(job, space->where, i) == 0) {
        memset(values, 0, (size_t)n * job->loops->size);
    }
    if (job->has_scale[k]) job->loops->scale(n, values, job->scale[k]);
    const Array *array = &job->output[k];
    if (values == space->result[k]) {
        char *to = at_row(&rows->output[k], row) + first * array->class_stride;
        job->loops->write[array->type](n, values, to, array->class_stride);
    }
}

/* ---- passes ----------------------------------------------------------------------- */

static void across(const Rows *rows, RowSpace *space, Size start, Size n) {
    const Job *job = rows->job;
    const RowKernel *kernel = job->row_kernel;
    unsigned held = 0; /* inputs that are there already, whole */
    int whole = space->chunk == job->classes;
    for (int k = 0; k < kernel->inputs && whole; k++) {
        if (!is_of_class(kernel->classes_in, k)) continue;
        read_across(rows, k, start, n, 0, job->classes, space->argument[k]);
        held |= 1u << k;
    }
    for (int p = 0; p < kernel->picks; p++) pick(rows, space, p, start, n, whole);
    const void *const *in = (const void *const *)space->argument;
    void *const *out = (void *const *)space->result;
    for (int s = 0; s < kernel->steps; s++) {
        const Step *step = &kernel->step[s];
        step->rows(TILE, 0, job->classes, in, space->state, out);
        if (!step->across) continue;
        for (Size first = 0; first < job->classes; first += space->chunk) {
            Size rest = job->classes - first;
            Size count = rest < space->chunk ? rest : space->chunk;
            for (int k = 0; k < kernel->inputs; k++) {
                if (!is_of_class(step->needed & ~held, k)) continue;
                read_across(rows, k, start, n, first, count, space->argument[k]);
            }
            step->across(count, first, job->classes, in, space->state, out);
            for (int k = 0; k < kernel->outputs && s == kernel->steps - 1; k++) {
                if (!is_of_class(kernel->classes_out, k)) continue;
                write_across(rows, space, k, start, n, first, count);
            }
        }
    }
}

static void along(const Rows *rows, RowSpace *space, Size row, Size i) {
    const Job *job = rows->job;
    const RowKernel *kernel = job->row_kernel;
    const void *in[MOST_ARGUMENTS + 2];
    void *out[MOST_OUTPUTS];
    Size size = (Size)job->loops->size;
    for (int k = 0; k < kernel->inputs + kernel->picks; k++) {
        in[k] = space->argument[k] + (is_of_class(kernel->classes_in, k) ? 0 : i * size);
    }
    for (int k = 0; k < kernel->outputs; k++) out[k] = space->result[k] + i * size;
    unsigned held = 0;
    for (int s = 0; s < kernel->steps; s++) {
        const Step *step = &kernel->step[s];
        step->rows(1, 0, job->classes, in, space->state, out);
        if (!step->along) continue;
        for (Size first = 0; first < job->classes; first += space->chunk) {
            Size rest = job->classes - first;
            Size n = rest < space->chunk ? rest : space->chunk;
            for (int k = 0; k < kernel->inputs; k++) {
                if (!is_of_class(step->needed & ~held, k)) continue;
                in[k] = read_along(rows, k, row, first, n, space->argument[k]);
            }
            int writes = s == kernel->steps - 1;
            for (int k = 0; k < kernel->outputs && writes; k++) {
                if (!is_of_class(kernel->classes_out, k)) continue;
                out[k] = place_along(rows, space, k, row, first);
            }
            step->along(n, first, job->classes, in, space->state, out);
            for (int k = 0; k < kernel->outputs && writes; k++) {
                if (!is_of_class(kernel->classes_out, k)) continue;
                write_along(rows, space, k, row, i, first, n, out[k]);
            }
        }
        if (space->chunk == job->classes) held |= step->needed;
    }
}

/* At most TILE rows. */
static void evaluate_block(const Rows *rows, RowSpace *space, Size start, Size n,
                           Sum *sum) {
    const Job *job = rows->job;
    read_block(rows, space, start, n);
    if (rows->along) {
        for (int p = 0; p < job->row_kernel->picks; p++) {
            pick(rows, space, p, start, n, 0);
        }
        for (Size i = 0; i < n; i++) along(rows, space, start + i, i);
    } else {
        across(rows, space, start, n);
    }
    for (int k = 0; k < job->row_kernel->outputs; k++) {
        if (is_of_class(job->row_kernel->classes_out, k)) continue;
        if (k == 0) finish_losses(job, space, n);
        if (job->summed && k == 0) add(sum, job->loops->sum(n, space->result[0]));
        else write(&rows->output[k], 0, job->loops, start, n, space->result[k]);
    }
}

static void take_rows(Work *work, Caller *caller) {
    const Rows *rows = work->data;
    RowSpace space;
    if (prepare(&space, rows)) {
        work->failed = -1;
        return;
    }
    for (Size task; (task = next_task(work, caller)) >= 0;) {
        Size end = (task + 1) * rows->task;
        end = end < rows->rows ? end : rows->rows;
        for (Size start = task * rows->task; start < end; start += TILE) {
            Size n = end - start < TILE ? end - start : TILE;
            evaluate_block(rows, &space, start, n, rows->sums + task);
        }
    }
    free(space.memory);
}

/* ---- jobs ------------------------------------------------------------------------- */

static void view_rows(View *view, const Job *job, const Array *array) {
    if (!array->data) return;
    view_of(view, array, array->data, job->axes, job->shape, array->strides);
}

static int goes_along(const Job *job, Size rows) {
    const Array *first = &job->argument[0];
    if (job->classes < ALONG) return 0;
    if (rows < FEW_ROWS) return 1;
    return llabs(first->class_stride) <= llabs(first->strides[job->axes - 1]);
}

int evaluate_rows(const Job *job, double *sum, Caller *caller) {
    Rows rows = {.job = job, .rows = count_of(job->axes, job->shape)};
    for (int k = 0; k < job->arguments; k++) {
        view_rows(&rows.argument[k], job, &job->argument[k]);
    }
    if (job->has_weights) view_rows(&rows.weights, job, &job->weights);
    if (job->has_where) view_rows(&rows.where, job, &job->where);
    for (int k = job->summed; k < job->results; k++) {
        view_rows(&rows.output[k], job, &job->output[k]);
    }
    rows.along = goes_along(job, rows.rows);
    Size task = ROW_TASK / job->classes;
    if (!rows.along || task > TILE) task = (task + TILE - 1) / TILE * TILE;
    rows.task = task > 1 ? task : 1;
    Work work = {.take = take_rows, .data = &rows};
    work.tasks = parts_of(rows.rows, rows.task);
    rows.sums = calloc((size_t)work.tasks, sizeof(Sum));
    if (!rows.sums) return -1;
    int failed = carry_out(&work, job, rows.rows * job->classes, caller);
    *sum = rounded(merged(rows.sums, work.tasks)) / job->divisor;
    free(rows.sums);
    return failed;
}
