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

/* Of rows of classes: the rows, or the classes of one row, that are taken at a time. */
#define TILE 64
#define MOST_PASSES 5

/* `n` classes from `first` on, of `count`; or what is one a row.  Of one row an array has
   its classes in a row, of TILE rows class after class. */
typedef void Pass(Size n, Size first, Size count, const void *const *in, void *state,
                  void *const *out);

typedef struct {
    Pass *rows, *along, *across; /* NULL where no class is gone over any more */
    unsigned needed;             /* the inputs that are one a class */
} Step;

/* Inputs and outputs that are one a class by their bits, the others are one a row.  Behind
   the inputs come elements that are picked of one by another, a class's number. */
typedef struct {
    int inputs, outputs;
    unsigned classes_in, classes_out;
    int picks;
    struct { int input, by; } picked[2];
    int steps;
    size_t state;
    Step step[MOST_PASSES];
} RowKernel;

/* Elements that lie `stride` bytes apart, as numbers of the floating type; and back. */
typedef void Read(Size n, const char *from, ptrdiff_t stride, void *to);
typedef void Write(Size n, const void *from, char *to, ptrdiff_t stride);

typedef struct {
    Type type;
    size_t size;
    const Kernel *kernels;
    int count; /* of kernels */
    const RowKernel *row_kernels;
    int row_count;
    Read *read[TYPES];
    Write *write[TYPES]; /* NULL for what no result is of */
    void (*weigh)(Size n, void *values, const void *weights);
    void (*mask)(Size n, void *values, const void *where);
    void (*scale)(Size n, void *values, double scale);
    /* Elements of lines, one behind the other, to as many lines as there are columns. */
    void (*transpose)(Size lines, Size columns, const char *from, ptrdiff_t from_line,
                      char *to, ptrdiff_t to_line);
    /* Of rows in a tile, the elements at the class of a number. */
    void (*pick)(Size n, Size classes, const void *tile, const void *numbers, void *to);
    double (*sum)(Size n, const void *values);
    /* To sums that are kept in two parts each: high and what it was rounded by. */
    void (*add)(Size n, const void *values, double *high, double *low);
} Loops;

#endif
