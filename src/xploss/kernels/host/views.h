/* Sums of two parts, and arrays by the place of an element in order. */

#ifndef VIEWS_H
#define VIEWS_H

#include <math.h>

#include "evaluate.h"

/* ---- sums of two parts ------------------------------------------------------------ */

typedef struct { double high, low; } Sum;

static inline void add(Sum *sum, double x) {
    double high = sum->high + x, back = high - sum->high;
    sum->low += (sum->high - (high - back)) + (x - back);
    sum->high = high;
}

/* What is infinite or NaN has no rest. */
static inline double rounded(Sum sum) {
    double whole = sum.high + sum.low;
    return isfinite(sum.high) ? whole : sum.high;
}

static inline Sum merged(const Sum *sums, Size count) {
    Sum total = {0, 0};
    for (Size k = 0; k < count; k++) {
        add(&total, sums[k].high);
        total.low += sums[k].low;
    }
    return total;
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
static inline void view_of(View *view, const Array *array, char *data, int axes,
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

static inline void go_to(Place *place, const View *view, Size start) {
    place->offset = 0;
    for (int k = view->axes - 1; k >= 0; k--) {
        place->index[k] = k ? start % view->shape[k] : start;
        start /= view->shape[k];
        place->offset += place->index[k] * view->strides[k];
    }
}

static inline void go_on(Place *place, const View *view, Size steps) {
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

static inline Size run_from(const Place *place, const View *view, Size most) {
    int last = view->axes - 1;
    Size rest = view->shape[last] - place->index[last];
    return rest < most ? rest : most;
}

static inline int is_in_place(const View *view, const Loops *loops) {
    return view->axes == 1 && view->array->type == loops->type
        && (view->strides[0] == (ptrdiff_t)loops->size || view->shape[0] == 1)
        && (size_t)view->data % loops->size == 0;
}

/* `n` elements from `start` on, of what lies so many bytes away from a view. */
static inline void copy(const View *view, ptrdiff_t away, const Loops *loops, Size start,
                        Size n, void *space) {
    Place place;
    char *to = space;
    go_to(&place, view, start);
    while (n > 0) {
        Size run = run_from(&place, view, n);
        ptrdiff_t stride = view->strides[view->axes - 1];
        const char *from = view->data + place.offset + away;
        loops->read[view->array->type](run, from, stride, to);
        to += run * (Size)loops->size;
        n -= run;
        go_on(&place, view, run);
    }
}

/* In `space` unless they lie so already. */
static inline const void *read(const View *view, const Loops *loops, Size start, Size n,
                               void *space) {
    if (is_in_place(view, loops)) return view->data + start * (ptrdiff_t)loops->size;
    copy(view, 0, loops, start, n, space);
    return space;
}

static inline void write(const View *view, ptrdiff_t away, const Loops *loops, Size start,
                         Size n, const void *space) {
    Place place;
    const char *from = space;
    go_to(&place, view, start);
    while (n > 0) {
        Size run = run_from(&place, view, n);
        ptrdiff_t stride = view->strides[view->axes - 1];
        char *to = view->data + place.offset + away;
        loops->write[view->array->type](run, from, to, stride);
        from += run * (Size)loops->size;
        n -= run;
        go_on(&place, view, run);
    }
}

static inline Size count_of(int axes, const Size *shape) {
    Size count = 1;
    for (int k = 0; k < axes; k++) count *= shape[k];
    return count;
}

static inline Size parts_of(Size n, Size part) { return (n + part - 1) / part; }

#endif
