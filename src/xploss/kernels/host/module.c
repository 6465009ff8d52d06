/* What Python is shown: buffers in, a sum out.  Only of the stable ABI, from 3.11 on. */

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <string.h>

#include "digest.h" /* of the text of the kernels */
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <pthread.h>
#endif

#include "evaluate.h"

/* ---- instruction sets ------------------------------------------------------------- */

extern const Loops loops_baseline_f, loops_baseline_d;
#if defined(WITH_X86_SETS)
extern const Loops loops_avx2_f, loops_avx2_d, loops_avx512_f, loops_avx512_d;
#endif

typedef struct {
    const char *name;
    const Loops *of_float, *of_double;
} Set;

/* The best last. */
static const Set SETS[] = {
    {"baseline", &loops_baseline_f, &loops_baseline_d},
#if defined(WITH_X86_SETS)
    {"avx2", &loops_avx2_f, &loops_avx2_d},
    {"avx512", &loops_avx512_f, &loops_avx512_d},
#endif
};

static int supported(const char *name) {
#if defined(WITH_X86_SETS)
    if (!strcmp(name, "avx2")) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
    if (!strcmp(name, "avx512")) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")
            && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")
            && __builtin_cpu_supports("fma");
    }
#endif
    return !strcmp(name, "baseline");
}

/* ---- arrays ----------------------------------------------------------------------- */

#define MOST_BUFFERS (MOST_ARGUMENTS + MOST_OUTPUTS + 3)

/* The buffers of a call, released at its end. */
typedef struct {
    Py_buffer buffer[MOST_BUFFERS];
    int count;
} Buffers;

static void release(Buffers *buffers) {
    while (buffers->count) PyBuffer_Release(&buffers->buffer[--buffers->count]);
}

static int of_size(int size, int is_signed) {
    int type = size == 1 ? UINT8 : size == 2 ? UINT16 : size == 4 ? UINT32 : UINT64;
    return type + is_signed;
}

/* -1 of what is not known, such as another byte order. */
static int type_of(const Py_buffer *buffer) {
    const char *format = buffer->format ? buffer->format : "B";
    if (!strcmp(format, "T{H:bfloat16:}")) return BFLOAT16;
    if (format[0] == '@' || format[0] == '=') format++;
    if (!format[0] || format[1]) return -1;
    if (strchr("?BHILQ", format[0])) return of_size((int)buffer->itemsize, 0);
    if (strchr("bhilq", format[0])) return of_size((int)buffer->itemsize, 1);
    if (format[0] == 'e') return FLOAT16;
    if (format[0] == 'f') return FLOAT32;
    return format[0] == 'd' ? FLOAT64 : -1;
}

typedef enum { FAILED = -1, NOT_TAKEN, TAKEN } Outcome;

static double number_at(const Job *job, const Array *array) {
    union { float f; double d; } number;
    job->loops->read[array->type](1, array->data, 0, &number);
    return job->loops->type == FLOAT32 ? (double)number.f : number.d;
}

static Outcome number(Array *array, PyObject *object) {
    array->data = NULL;
    array->number = PyFloat_AsDouble(object);
    return array->number == -1.0 && PyErr_Occurred() ? FAILED : TAKEN;
}

/* Of the job's shape, or spread onto it. */
static Outcome array(Array *array, PyObject *object, int flags, Job *job,
                     Buffers *buffers) {
    if (PyFloat_Check(object) || PyBool_Check(object)) return number(array, object);
    Py_buffer *buffer = &buffers->buffer[buffers->count];
    if (PyObject_GetBuffer(object, buffer, flags | PyBUF_STRIDES | PyBUF_FORMAT)) {
        if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) return FAILED;
        PyErr_Clear();
        return NOT_TAKEN;
    }
    buffers->count++;
    int type = type_of(buffer);
    if (type < 0) return NOT_TAKEN;
    array->data = buffer->buf;
    array->type = (Type)type;
    if (!job->axes) { /* it is the first, which tells the shape */
        if (buffer->ndim < 1 || buffer->ndim > MOST_AXES) return NOT_TAKEN;
        job->axes = buffer->ndim;
        for (int k = 0; k < job->axes; k++) job->shape[k] = buffer->shape[k];
    }
    if (!buffer->ndim) {
        array->number = number_at(job, array);
        array->data = NULL;
        return TAKEN;
    }
    if (buffer->ndim != job->axes) return NOT_TAKEN;
    for (int k = 0; k < job->axes; k++) {
        if (buffer->shape[k] != job->shape[k] && buffer->shape[k] != 1) return NOT_TAKEN;
        array->strides[k] = buffer->shape[k] == 1 ? 0 : buffer->strides[k];
    }
    return TAKEN;
}

static Outcome first_array(Job *job, PyObject *object, const Set *set,
                           Buffers *buffers) {
    job->axes = 0;
    if (PyFloat_Check(object)) return NOT_TAKEN;
    Outcome outcome = array(&job->argument[0], object, 0, job, buffers);
    int wide = outcome == TAKEN && job->argument[0].type == FLOAT64;
    job->loops = wide ? set->of_double : set->of_float;
    return outcome;
}

/* ---- calls ------------------------------------------------------------------------ */

typedef struct {
    PyThreadState *state;
} Released;

static int in_main_thread(void) {
#ifdef __linux__
    return syscall(SYS_gettid) == getpid();
#elif defined(__APPLE__)
    return pthread_main_np();
#else
    return 1;
#endif
}

/* An interrupt is for the main thread.  Any other Python ends where it ends itself, once
   it is asked: with the stack on which the threads that take part have their work. */
static int interrupted(void *context) {
    if (!in_main_thread()) return 0;
    Released *released = context;
    PyEval_RestoreThread(released->state);
    int signal = PyErr_CheckSignals();
    released->state = PyEval_SaveThread();
    return signal;
}

static Outcome arguments_of(Job *job, PyObject *arguments, Buffers *buffers) {
    Outcome outcome = TAKEN;
    for (int k = 1; k < job->arguments && outcome == TAKEN; k++) {
        PyObject *object = PyTuple_GetItem(arguments, k);
        outcome = array(&job->argument[k], object, 0, job, buffers);
    }
    return outcome;
}

static Outcome outputs_of(Job *job, PyObject *outputs, Buffers *buffers) {
    for (int k = job->summed; k < job->results; k++) {
        PyObject *object = PyTuple_GetItem(outputs, k - job->summed);
        Outcome outcome = array(&job->output[k], object, PyBUF_WRITABLE, job, buffers);
        if (outcome != TAKEN) return outcome;
        if (!job->output[k].data || !job->loops->write[job->output[k].type]) {
            return NOT_TAKEN;
        }
    }
    return TAKEN;
}

static Outcome scales_of(Job *job, PyObject *scales) {
    for (int k = 0; k < job->results; k++) {
        PyObject *scale = PyTuple_GetItem(scales, k);
        job->has_scale[k] = scale != Py_None;
        if (job->has_scale[k]) {
            job->scale[k] = PyFloat_AsDouble(scale);
            if (PyErr_Occurred()) return FAILED;
        }
    }
    return TAKEN;
}

static Outcome optional(Array *to, int *has, PyObject *object, Job *job,
                        Buffers *buffers) {
    *has = object != Py_None;
    return *has ? array(to, object, 0, job, buffers) : TAKEN;
}

static Outcome total_of(Job *job, PyObject *total, Buffers *buffers) {
    job->summed = total != Py_None;
    job->along_axes = job->summed && !PyBool_Check(total);
    if (!job->along_axes) return TAKEN;
    Outcome outcome = array(&job->total, total, PyBUF_WRITABLE, job, buffers);
    return outcome == TAKEN && !job->total.data ? NOT_TAKEN : outcome;
}

/* Of rows: what is one a row has no classes, or it would be read for the first alone. */
static int has_rows(const Job *job) {
    const RowKernel *kernel = job->row_kernel;
    Size classes = job->shape[job->class_axis];
    if (classes == 1) return 1;
    for (int k = 0; k < job->arguments; k++) {
        int spread = job->argument[k].strides[job->class_axis] == 0;
        if (job->argument[k].data && !spread && !(kernel->classes_in >> k & 1u)) return 0;
    }
    for (int k = job->summed; k < job->results; k++) {
        int spread = job->output[k].strides[job->class_axis] == 0;
        if (spread == (int)(kernel->classes_out >> k & 1u)) return 0;
    }
    return 1;
}

static int set_row_kernel(Job *job, long number) {
    if (job->class_axis < job->axes && number >= 0 && number < job->loops->row_count) {
        job->row_kernel = &job->loops->row_kernels[number];
        if (job->row_kernel->inputs == job->arguments
            && job->row_kernel->outputs == job->results) return 1;
    }
    PyErr_SetString(PyExc_ValueError, "no kernel of rows of that number and so many arrays");
    return 0;
}

/* What is called with other numbers of arrays would read beyond them. */
static int set_kernel(Job *job, long number) {
    job->row_kernel = NULL;
    if (job->class_axis >= 0) return set_row_kernel(job, number);
    if (number >= 0 && number < job->loops->count) {
        job->kernel = &job->loops->kernels[number];
        if (job->kernel->inputs == job->arguments
            && job->kernel->outputs == job->results) return 1;
    }
    PyErr_SetString(PyExc_ValueError, "no kernel of that number and of so many arrays");
    return 0;
}

/* The address of GOMP_parallel, or 0. */
static Team team_at(PyObject *address) {
    union { void *data; Team team; } at = {PyLong_AsVoidPtr(address)};
    return at.team;
}

enum {
    SET, KERNEL, ARGUMENTS, WEIGHTS, WHERE, SCALES, OUTPUTS, TOTAL, DIVISOR, THREADS,
    TEAM, CLASS_AXIS, COUNT
};

static Outcome job_of(Job *job, PyObject *const *args, Buffers *buffers) {
    long set = PyLong_AsLong(args[SET]);
    if (set < 0 || set >= (long)(sizeof(SETS) / sizeof(*SETS))) {
        PyErr_SetString(PyExc_ValueError, "no such instruction set");
        return FAILED;
    }
    long kernel = PyLong_AsLong(args[KERNEL]);
    job->divisor = PyFloat_AsDouble(args[DIVISOR]);
    job->threads = (int)PyLong_AsLong(args[THREADS]);
    job->team = team_at(args[TEAM]);
    job->class_axis = (int)PyLong_AsLong(args[CLASS_AXIS]);
    job->arguments = (int)PyTuple_Size(args[ARGUMENTS]);
    int outputs = (int)PyTuple_Size(args[OUTPUTS]);
    if (PyErr_Occurred()) return FAILED;
    if (job->arguments > MOST_ARGUMENTS || outputs > MOST_OUTPUTS) return NOT_TAKEN;
    Outcome outcome = first_array(job, PyTuple_GetItem(args[ARGUMENTS], 0), &SETS[set],
                                  buffers);
    if (outcome == TAKEN) outcome = total_of(job, args[TOTAL], buffers);
    job->results = outputs + job->summed;
    if (outcome == TAKEN && !set_kernel(job, kernel)) return FAILED;
    if (outcome == TAKEN) outcome = arguments_of(job, args[ARGUMENTS], buffers);
    if (outcome == TAKEN) {
        outcome = optional(&job->weights, &job->has_weights, args[WEIGHTS], job, buffers);
    }
    if (outcome == TAKEN) {
        outcome = optional(&job->where, &job->has_where, args[WHERE], job, buffers);
    }
    if (outcome == TAKEN) outcome = scales_of(job, args[SCALES]);
    if (outcome == TAKEN) outcome = outputs_of(job, args[OUTPUTS], buffers);
    if (outcome == TAKEN && job->row_kernel) {
        outcome = has_rows(job) && !job->along_axes ? TAKEN : NOT_TAKEN;
    }
    return outcome;
}

/* ---- buffers ---------------------------------------------------------------------- */

static PyObject *evaluate_job(PyObject *module, PyObject *const *args, Py_ssize_t n) {
    (void)module;
    if (n != COUNT) {
        PyErr_Format(PyExc_TypeError, "takes %d arguments, got %zd", COUNT, n);
        return NULL;
    }
    Job job;
    Buffers buffers;
    buffers.count = 0;
    double sum = 0;
    Outcome outcome = job_of(&job, args, &buffers);
    int failed = 0, summed = outcome == TAKEN && job.summed && !job.along_axes;
    if (outcome == TAKEN) {
        Released released = {PyEval_SaveThread()};
        failed = evaluate(&job, &sum, interrupted, &released);
        PyEval_RestoreThread(released.state);
    }
    release(&buffers);
    if (outcome == FAILED || failed > 0) return NULL;
    if (failed) return PyErr_NoMemory();
    if (outcome == NOT_TAKEN) return Py_NewRef(Py_NotImplemented);
    /* Rounded here, where what overflows raises nothing. */
    if (summed && job.loops->type == FLOAT32) sum = (double)(float)sum;
    return summed ? PyFloat_FromDouble(sum) : Py_NewRef(Py_None);
}

/* ---- arrays of one kind in a row, by their addresses ------------------------------ */

enum {
    FLAT_SET, FLAT_KERNEL, FLAT_TYPE, FLAT_SIZE, FLAT_ARGUMENTS, FLAT_OUTPUTS,
    FLAT_TOTAL, FLAT_DIVISOR, FLAT_SCALE, FLAT_THREADS, FLAT_TEAM, FLAT_LABELS,
    FLAT_CLASSES,
    FLAT_COUNT
};

static ptrdiff_t width_of(Type type) {
    static const ptrdiff_t WIDTHS[TYPES] = {1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8};
    return WIDTHS[type];
}

/* In a row; of rows of classes it is one a class by its bit, or one a row. */
static int at_address(const Job *job, Array *array, PyObject *address, Type type,
                      unsigned is_per_class) {
    array->data = PyLong_AsVoidPtr(address);
    array->type = type;
    Size classes = job->class_axis < 0 || !is_per_class ? 1 : job->shape[1];
    array->strides[0] = width_of(type) * classes;
    array->strides[1] = classes == 1 ? 0 : width_of(type);
    return array->data != NULL;
}

static int number_or_address(const Job *job, Array *array, PyObject *object, Type type,
                             unsigned is_per_class) {
    if (!PyFloat_Check(object)) {
        return at_address(job, array, object, type, is_per_class);
    }
    array->data = NULL;
    array->number = PyFloat_AsDouble(object);
    array->strides[0] = array->strides[1] = 0;
    return 1;
}

/* The second argument is the labels; behind them, and where they are one a row behind the
   first result, is what is of the type that is computed in: a row's statistic. */
static int flat_arrays(Job *job, PyObject *arguments, PyObject *outputs, Type type,
                       Type labels) {
    const RowKernel *rows = job->row_kernel;
    int taken = 1;
    for (int k = 0; k < job->arguments && taken; k++) {
        PyObject *argument = PyTuple_GetItem(arguments, k);
        Type of = k == 0 ? type : k == 1 ? labels : job->loops->type;
        taken = number_or_address(job, &job->argument[k], argument, of,
                                  rows ? rows->classes_in >> k & 1u : 0);
    }
    for (int k = job->summed; k < job->results && taken; k++) {
        PyObject *output = PyTuple_GetItem(outputs, k - job->summed);
        unsigned is_per_class = rows ? rows->classes_out >> k & 1u : 0;
        Type of = rows && k && !is_per_class ? job->loops->type : type;
        taken = at_address(job, &job->output[k], output, of, is_per_class);
    }
    return taken;
}

/* A line of elements, or rows of so many classes. */
static int set_flat_shape(Job *job, Size size, Size classes) {
    int is_line = classes == 0;
    job->axes = is_line ? 1 : 2;
    job->class_axis = is_line ? -1 : 1;
    job->shape[0] = is_line ? size : size / classes;
    job->shape[1] = classes;
    return is_line || (classes > 0 && size % classes == 0);
}

static int flat_job(Job *job, PyObject *const *args) {
    long set = PyLong_AsLong(args[FLAT_SET]), type = PyLong_AsLong(args[FLAT_TYPE]);
    long kernel = PyLong_AsLong(args[FLAT_KERNEL]), labels = PyLong_AsLong(args[FLAT_LABELS]);
    Size size = PyLong_AsSsize_t(args[FLAT_SIZE]);
    Size classes = PyLong_AsSsize_t(args[FLAT_CLASSES]);
    if (set < 0 || set >= (long)(sizeof(SETS) / sizeof(*SETS)) || type < FLOAT16
        || type >= TYPES || labels < 0 || labels >= TYPES
        || !set_flat_shape(job, size, classes)) {
        PyErr_SetString(PyExc_ValueError, "no such instruction set, type or shape");
        return 0;
    }
    job->loops = type == FLOAT64 ? SETS[set].of_double : SETS[set].of_float;
    job->arguments = (int)PyTuple_Size(args[FLAT_ARGUMENTS]);
    job->summed = args[FLAT_TOTAL] != Py_None;
    job->along_axes = job->has_weights = job->has_where = 0;
    job->results = (int)PyTuple_Size(args[FLAT_OUTPUTS]) + job->summed;
    job->divisor = PyFloat_AsDouble(args[FLAT_DIVISOR]);
    job->threads = (int)PyLong_AsLong(args[FLAT_THREADS]);
    job->team = team_at(args[FLAT_TEAM]);
    double scale = PyFloat_AsDouble(args[FLAT_SCALE]);
    if (PyErr_Occurred() || !set_kernel(job, kernel)) return 0;
    for (int k = 0; k < job->results; k++) {
        job->has_scale[k] = k == job->results - 1 && scale != 1.0;
        job->scale[k] = scale;
    }
    if (job->summed && !PyLong_AsVoidPtr(args[FLAT_TOTAL])) return 0;
    return flat_arrays(job, args[FLAT_ARGUMENTS], args[FLAT_OUTPUTS], (Type)type,
                       (Type)labels);
}

static PyObject *evaluate_flat(PyObject *module, PyObject *const *args, Py_ssize_t n) {
    (void)module;
    if (n != FLAT_COUNT) {
        PyErr_Format(PyExc_TypeError, "takes %d arguments, got %zd", FLAT_COUNT, n);
        return NULL;
    }
    Job job;
    double sum;
    if (!flat_job(&job, args)) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "an address of 0");
        return NULL;
    }
    Released released = {PyEval_SaveThread()};
    int failed = evaluate(&job, &sum, interrupted, &released);
    PyEval_RestoreThread(released.state);
    if (failed > 0) return NULL;
    if (failed) return PyErr_NoMemory();
    if (job.summed) {
        double wide = 0.0;
        void *rounded = &wide;
        job.loops->read[FLOAT64](1, (const char *)&sum, 0, rounded);
        memcpy(PyLong_AsVoidPtr(args[FLAT_TOTAL]), rounded, job.loops->size);
    }
    return Py_NewRef(Py_None);
}

static PyMethodDef METHODS[] = {
    {"evaluate_flat", (PyCFunction)(void (*)(void))evaluate_flat, METH_FASTCALL,
     "evaluate_flat(set, kernel, type, size, arguments, outputs, total, divisor, scale,"
     " threads, team, labels, classes)\n\nOf arrays at addresses, as the total is; `scale`"
     " is of the last output, `labels` their type, and rows have `classes`, if any."},
    {"evaluate", (PyCFunction)(void (*)(void))evaluate_job, METH_FASTCALL,
     "evaluate(set, kernel, arguments, weights, where, scales, outputs, total, divisor,"
     " threads, team, class_axis)\n\nThe sum, None, or NotImplemented of arrays that it does not take."},
    {NULL, NULL, 0, NULL},
};

static int add_sets(PyObject *module) {
    PyObject *names = PyList_New(0);
    if (!names) return -1;
    for (size_t k = 0; k < sizeof(SETS) / sizeof(*SETS); k++) {
        if (!supported(SETS[k].name)) break;
        PyObject *name = PyUnicode_FromString(SETS[k].name);
        if (!name || PyList_Append(names, name)) return -1;
        Py_DECREF(name);
    }
    PyObject *tuple = PyList_AsTuple(names);
    Py_DECREF(names);
    int added = tuple ? PyModule_AddObjectRef(module, "instruction_sets", tuple) : -1;
    Py_XDECREF(tuple);
    return added;
}

static int add_names(PyObject *module) {
    return add_sets(module) || PyModule_AddStringConstant(module, "digest", DIGEST);
}

static PyModuleDef_Slot SLOTS[] = {
    {Py_mod_exec, (void *)add_names},
    {0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_compiled", "The formulas compiled.", 0, METHODS, SLOTS,
    NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__compiled(void) { return PyModuleDef_Init(&MODULE); }
