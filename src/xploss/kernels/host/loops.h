/* What is compiled for an instruction set and a floating type: loops over arrays of at
   most a block, in which nothing is decided. */

#ifndef LOOPS_H
#define LOOPS_H

#include <stddef.h>

typedef ptrdiff_t Size;

/* Elements of a block: a dozen arrays of it stay in the first cache. */
#define BLOCK 512

typedef enum {
    UINT8, INT8, UINT16, INT16, UINT32, INT32, UINT64, INT64,
    FLOAT16, BFLOAT16, FLOAT32, FLOAT64, TYPES
} Type;

typedef struct {
    int inputs, outputs;
    void (*run)(Size n, const void *const *in, void *const *out);
} Kernel;
/* Elements that lie `stride` bytes apart, as numbers of the floating type; and back. */
typedef void Read(Size n, const char *from, ptrdiff_t stride, void *to);
typedef void Write(Size n, const void *from, char *to, ptrdiff_t stride);

typedef struct {
    Type type;
    size_t size;
    const Kernel *kernels;
    int count; /* of kernels */
    Read *read[TYPES];
    Write *write[TYPES]; /* NULL for what no result is of */
    void (*weigh)(Size n, void *values, const void *weights);
    void (*mask)(Size n, void *values, const void *where);
    void (*scale)(Size n, void *values, double scale);
    double (*sum)(Size n, const void *values);
    /* To sums that are kept in two parts each: high and what it was rounded by. */
    void (*add)(Size n, const void *values, double *high, double *low);
} Loops;

#endif
