/* The loops of one instruction set: the compiler is told which, and `LOOPS` is a name
   of its own for their table. */

#include "loops.h"

#include "elementary.h"

#if defined(__clang__)
#define VECTORISED _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define VECTORISED _Pragma("GCC ivdep")
#else
#define VECTORISED
#endif

/* TILE elements of what is read next, while this is computed: a row is often less than
   what processors fetch by themselves.  It may lie behind the end, where nothing is. */
#if defined(__GNUC__)
#define PREFETCH(at) \
    for (int line = 0; line < TILE * (int)sizeof(REAL); line += 64) \
        __builtin_prefetch((const char *)(at) + line)
#else
#define PREFETCH(at) (void)0
#endif

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLED __builtin_shufflevector
#endif
#endif

/* 16 bits: widened exactly, rounded once to the nearest, of two to the even one. */

INLINE float of_float16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t rest = (uint32_t)(half & 0x7fffu) << 13;
    uint32_t normal = rest + (112u << 23);
    uint32_t subnormal = bits_f(real_f(rest + (113u << 23)) - 0x1p-14f);
    uint32_t special = rest + (224u << 23);
    uint32_t bits = rest < (1u << 23) ? subnormal : normal;
    return real_f((rest >= (31u << 23) ? special : bits) | sign);
}

INLINE uint16_t to_float16(float x) {
    uint32_t bits = bits_f(x), sign = (bits >> 16) & 0x8000u, rest = bits & 0x7fffffffu;
    uint32_t normal = (rest - (112u << 23) + 0xfffu + ((rest >> 13) & 1u)) >> 13;
    uint32_t subnormal = bits_f(real_f(rest) + 0.5f) - bits_f(0.5f);
    uint32_t half = rest < (113u << 23) ? subnormal : normal;
    half = rest >= (143u << 23) ? 0x7c00u : half;
    half = rest > (255u << 23) ? 0x7e00u : half;
    return (uint16_t)(half | sign);
}

INLINE float of_bfloat16(uint16_t half) { return real_f((uint32_t)half << 16); }

INLINE uint16_t to_bfloat16(float x) {
    uint32_t bits = bits_f(x);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    uint32_t quiet = (bits >> 16) | 0x40u;
    return (uint16_t)((bits & 0x7fffffffu) > (255u << 23) ? quiet : rounded);
}

#define SAME(x) (x)

/* By `memcpy`, since an element may lie anywhere; those in a row have a loop that the
   compiler can vectorise. */
#define READ(name, source, convert) \
    static void FN(read_##name)(Size n, const char *from, ptrdiff_t stride, void *to) { \
        REAL *restrict real = to; \
        source x; \
        if (stride == sizeof(source)) { \
            for (Size i = 0; i < n; i++) { \
                source y; \
                memcpy(&y, from + i * (Size)sizeof(source), sizeof y); \
                real[i] = (REAL)convert(y); \
            } \
        } else if (stride == 0) { \
            memcpy(&x, from, sizeof x); \
            REAL same = (REAL)convert(x); \
            for (Size i = 0; i < n; i++) real[i] = same; \
        } else { \
            for (Size i = 0; i < n; i++) { \
                memcpy(&x, from + i * stride, sizeof x); \
                real[i] = (REAL)convert(x); \
            } \
        } \
    }

#define WRITE(name, target, convert) \
    static void FN(write_##name)(Size n, const void *from, char *to, ptrdiff_t stride) { \
        const REAL *restrict real = from; \
        if (stride == sizeof(target)) { \
            for (Size i = 0; i < n; i++) { \
                target y = (target)convert(real[i]); \
                memcpy(to + i * (Size)sizeof(target), &y, sizeof y); \
            } \
        } else { \
            for (Size i = 0; i < n; i++) { \
                target x = (target)convert(real[i]); \
                memcpy(to + i * stride, &x, sizeof x); \
            } \
        } \
    }

typedef struct {
    double high[TILE], low[TILE];
    float part[TILE]; /* of a few numbers of float32 */
} Sums;

#define CONCAT(x, y) x##y
#define NAMED(x, y) CONCAT(x, y)

#define FN(name) name##_f
#define REAL float
#define MASK uint32_t
#define REAL_TYPE FLOAT32
#include "kernels.inc"
#include "row_loops.inc"
#include "row_kernels.inc"
#include "loops.inc"
#undef FN
#undef REAL
#undef MASK
#undef REAL_TYPE

#define FN(name) name##_d
#define REAL double
#define MASK uint64_t
#define REAL_TYPE FLOAT64
#include "kernels.inc"
#include "row_loops.inc"
#include "row_kernels.inc"
#include "loops.inc"
