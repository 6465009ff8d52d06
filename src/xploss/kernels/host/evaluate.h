/* A job: a kernel over arrays of one shape, weighed, masked, scaled; written or summed. */

#ifndef EVALUATE_H
#define EVALUATE_H

#include <stddef.h>

#include "loops.h"

#define MOST_AXES 64
#define MOST_ARGUMENTS 10
#define MOST_OUTPUTS 3

typedef struct {
    char *data; /* NULL for a number */
    double number;
    Type type;
    ptrdiff_t strides[MOST_AXES]; /* 0 where it is spread */
    ptrdiff_t class_stride;       /* of a job of rows, whose axes are without that */
} Array;

/* GOMP_parallel, of the OpenMP that the arrays' library runs on:
   https://gcc.gnu.org/onlinedocs/libgomp/Implementing-PARALLEL-construct.html */
typedef void (*Team)(void (*body)(void *), void *data, unsigned threads, unsigned flags);

typedef struct {
    const Loops *loops;
    const Kernel *kernel;
    const RowKernel *row_kernel; /* of rows of classes, or NULL */
    int class_axis;
    Size classes;
    int axes;
    Size shape[MOST_AXES];
    int arguments;
    Array argument[MOST_ARGUMENTS];
    int has_weights, has_where;
    Array weights, where;
    int results; /* of the kernel */
    double scale[MOST_OUTPUTS];
    int has_scale[MOST_OUTPUTS];
    int summed; /* the first result, which is not written */
    Array output[MOST_OUTPUTS];
    int along_axes; /* the sum is an array: */
    Array total;
    double divisor;
    int threads;
    Team team; /* NULL where threads are made for the job */
} Job;

/* The sum, where it is a number, into `sum`.  0; -1 where there is no memory; 1 where
   `interrupted`, which the calling thread asks now and then, said so. */
int evaluate(Job *job, double *sum, int (*interrupted)(void *), void *context);

#endif
