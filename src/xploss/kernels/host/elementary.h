/* exp, log1p and log: lines without a branch, which compilers vectorise as they stand.

   Each is within 1 ulp (tests/backends/test_compiled_numpy.py) over the arguments that
   formulas hand it: exp of all numbers up to 0, and a little above (40); log1p from -1/4
   on, quick up to 1; log of all.  A NaN stays one.

   Sources: W. J. Cody, W. Waite, "Software Manual for the Elementary Functions", 1980,
   for the reduction by ln 2 in two parts; log by s = f / (2 + f) as in FDLIBM's e_log.c
   (Sun Microsystems, 1993).

   Fused multiply-adds are written where they are meant, and the compiler makes no others
   (`-ffp-contract=off`): a gradient has the same bits whatever is computed beside it.
   Where the machine has none, nothing rests on them.  */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "coefficients.h"

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#elif defined(_MSC_VER)
#define INLINE static __forceinline
#else
#define INLINE static inline
#endif

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define FMA_F(x, y, z) __builtin_fmaf(x, y, z)
#define FMA_D(x, y, z) __builtin_fma(x, y, z)
#else
#define FMA_F(x, y, z) ((x) * (y) + (z))
#define FMA_D(x, y, z) ((x) * (y) + (z))
#endif

INLINE uint32_t bits_f(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
INLINE uint64_t bits_d(double x) { uint64_t b; memcpy(&b, &x, 8); return b; }
INLINE float real_f(uint32_t b) { float x; memcpy(&x, &b, 4); return x; }
INLINE double real_d(uint64_t b) { double x; memcpy(&x, &b, 8); return x; }

INLINE float abs_f(float x) { return fabsf(x); }
INLINE double abs_d(double x) { return fabs(x); }

/* What is true or false is a mask of the number's width: a compiler that is shown a
   `_Bool` does not vectorise all that is made of several. */
INLINE uint32_t isinf_f(float x) { return -(uint32_t)(fabsf(x) > 0x1.fffffep127f); }
INLINE uint64_t isinf_d(double x) {
    return -(uint64_t)(fabs(x) > 0x1.fffffffffffffp1023);
}
INLINE float where_f(uint32_t mask, float x, float y) { return mask ? x : y; }
INLINE double where_d(uint64_t mask, double x, double y) { return mask ? x : y; }

/* Adding this rounds to an integer, which then stands in the last bits. */
#define ROUND_F 0x1.8p23f
#define ROUND_D 0x1.8p52

/* x = k ln 2 + r; exp(x) = 2**k (1 + r + r**2 rest(r)), 2**k in two factors, one of
   which is fixed, so that a subnormal result is rounded once.  Below the bound it is 0
   anyway.  What rounding 1 + r loses is added to the rest. */

INLINE float exp_f(float x) {
    x = x < -105.0f ? -105.0f : x;
    float t = FMA_F(x, LOG2_E_F, ROUND_F), k = t - ROUND_F;
    float r = FMA_F(k, -LN2_LOW_F, FMA_F(k, -LN2_HIGH_F, x));
    float sum = 1.0f + r, lost = (1.0f - sum) + r;
    float power = sum + FMA_F(r * r, EXP_REST_F(r), lost);
    uint32_t n = bits_f(t) - bits_f(ROUND_F);
    return power * real_f((n + 64 + 127) << 23) * 0x1p-64f;
}

INLINE double exp_d(double x) {
    x = x < -746.0 ? -746.0 : x;
    double t = FMA_D(x, LOG2_E_D, ROUND_D), k = t - ROUND_D;
    double r = FMA_D(k, -LN2_LOW_D, FMA_D(k, -LN2_HIGH_D, x));
    double sum = 1.0 + r, lost = (1.0 - sum) + r;
    double power = sum + FMA_D(r * r, EXP_REST_D(r), lost);
    uint64_t n = bits_d(t) - bits_d(ROUND_D);
    return power * real_d((n + 512 + 1023) << 52) * 0x1p-512;
}

/* exp(x - m) without what rounding x - m would lose, of a row of x and its largest, m.
   With each from an origin, x = k ln 2 + r and m = l ln 2 + s, it is

       2**(k - l) exp(r) exp(-s):

   the numbers that are far apart are integers, and nothing of x or m is lost.  The origin
   is 0, or m where that is so large that the difference of the two is exact.  What is one
   a row is made once: the origin; what is below, which is 0 anyway; what rounds, less l;
   exp(-s).  The powers of 2 are in two factors, as those of exp are; and are products, of
   which a NaN stays one, whatever its bits.  */

#define FAR_F 224.0f
#define FAR_D 1520.0

INLINE float difference_origin_f(float m) { return fabsf(m) < FAR_F ? 0.0f : m; }
INLINE double difference_origin_d(double m) { return fabs(m) < FAR_D ? 0.0 : m; }
INLINE float from_origin_f(float m) { return fabsf(m) >= FAR_F ? 0.0f : m; }
INLINE double from_origin_d(double m) { return fabs(m) >= FAR_D ? 0.0 : m; }
INLINE float difference_lowest_f(float m) { return from_origin_f(m) - 105.0f; }
INLINE double difference_lowest_d(double m) { return from_origin_d(m) - 746.0; }

INLINE float difference_round_f(float m) {
    return ROUND_F + (64.0f + 127.0f) - (FMA_F(from_origin_f(m), LOG2_E_F, ROUND_F) - ROUND_F);
}
INLINE double difference_round_d(double m) {
    return ROUND_D + (512.0 + 1023.0) - (FMA_D(from_origin_d(m), LOG2_E_D, ROUND_D) - ROUND_D);
}

INLINE float difference_scale_f(float m) {
    m = from_origin_f(m);
    float l = FMA_F(m, LOG2_E_F, ROUND_F) - ROUND_F;
    return exp_f(-FMA_F(l, -LN2_LOW_F, FMA_F(l, -LN2_HIGH_F, m))) * 0x1p-64f;
}
INLINE double difference_scale_d(double m) {
    m = from_origin_d(m);
    double l = FMA_D(m, LOG2_E_D, ROUND_D) - ROUND_D;
    return exp_d(-FMA_D(l, -LN2_LOW_D, FMA_D(l, -LN2_HIGH_D, m))) * 0x1p-512;
}

INLINE float exp_from_f(float x, float origin, float lowest, float round, float scale) {
    x -= origin;
    x = x < lowest ? lowest : x;
    float t = FMA_F(x, LOG2_E_F, round), k = t - round;
    float r = FMA_F(k, -LN2_LOW_F, FMA_F(k, -LN2_HIGH_F, x));
    float power = 1.0f + FMA_F(r * r, EXP_REST_F(r), r);
    return power * real_f(bits_f(t) << 23) * scale;
}
INLINE double exp_from_d(double x, double origin, double lowest, double round,
                         double scale) {
    x -= origin;
    x = x < lowest ? lowest : x;
    double t = FMA_D(x, LOG2_E_D, round), k = t - round;
    double r = FMA_D(k, -LN2_LOW_D, FMA_D(k, -LN2_HIGH_D, x));
    double power = 1.0 + FMA_D(r * r, EXP_REST_D(r), r);
    return power * real_d(bits_d(t) << 52) * scale;
}

/* log(1 + f) = f - (h - s (h + s**2 rest(s**2))), h = f**2 / 2, s = f / (2 + f), for f
   from -1/4 to 1/2; above that of (1 + f) / 2, with ln 2 added. */

INLINE float log1p_f(float x) {
    int above = x > 0.5f;
    float f = above ? 0.5f * x - 0.5f : x;
    float high = above ? LN2_HIGH_F : 0.0f, low = above ? LN2_LOW_F : 0.0f;
    float s = f / (2.0f + f), z = s * s, h = 0.5f * f * f;
    float sum = high + f, lost = (high - sum) + f;
    return sum + (lost + (low - (h - s * FMA_F(z, LOG1P_REST_F(z), h))));
}

INLINE double log1p_d(double x) {
    int above = x > 0.5;
    double f = above ? 0.5 * x - 0.5 : x;
    double high = above ? LN2_HIGH_D : 0.0, low = above ? LN2_LOW_D : 0.0;
    double s = f / (2.0 + f), z = s * s, h = 0.5 * f * f;
    double sum = high + f, lost = (high - sum) + f;
    return sum + (lost + (low - (h - s * FMA_D(z, LOG1P_REST_D(z), h))));
}

/* x = 2**k (1 + f), 1 + f from sqrt(1/2) to sqrt(2).  Subnormal x are scaled first. */

#define SQRT_HALF_F 0x3f3504f3u
#define SQRT_HALF_D 0x3fe6a09e667f3bcdull

INLINE float log_f(float x) {
    int tiny = x < 0x1p-126f;
    uint32_t shifted = bits_f(tiny ? x * 0x1p24f : x) - SQRT_HALF_F + (127u << 23);
    float k = (float)((int32_t)(shifted >> 23) - 127);
    k = tiny ? k - 24.0f : k;
    float f = real_f((shifted & 0x007fffffu) + SQRT_HALF_F) - 1.0f;
    float s = f / (2.0f + f), z = s * s, h = 0.5f * f * f;
    float low = FMA_F(s, FMA_F(z, LOG_REST_F(z), h), k * LN2_LOW_F);
    float log = FMA_F(k, LN2_HIGH_F, f - (h - low));
    log = x > 0x1.fffffep127f ? x : log;
    log = x == 0.0f ? -INFINITY : log;
    return x >= 0.0f ? log : NAN;
}

INLINE double log_d(double x) {
    int tiny = x < 0x1p-1022;
    uint64_t shifted = bits_d(tiny ? x * 0x1p54 : x) - SQRT_HALF_D + (1023ull << 52);
    /* As a number by its bits: AVX2 has no such conversion. */
    double k = real_d((shifted >> 52) | 0x4330000000000000ull) - (0x1p52 + 1023.0);
    k = tiny ? k - 54.0 : k;
    double f = real_d((shifted & 0x000fffffffffffffull) + SQRT_HALF_D) - 1.0;
    double s = f / (2.0 + f), z = s * s, h = 0.5 * f * f;
    double low = FMA_D(s, FMA_D(z, LOG_REST_D(z), h), k * LN2_LOW_D);
    double log = FMA_D(k, LN2_HIGH_D, f - (h - low));
    log = x > 0x1.fffffffffffffp1023 ? x : log;
    log = x == 0.0 ? -INFINITY : log;
    return x >= 0.0 ? log : NAN;
}
