/* What a kernel on a GPU is made of.  Nothing is included, since PyTorch's and CuPy's
   wheels bring a compiler and no toolkit.  The text before says what `REAL` is, whether
   it is `WIDE` (double), how many threads a row has (`GROUP`; 1 of elements), and in
   which integers elements are counted (`Size`). */

#ifndef INFINITY
#define INFINITY __longlong_as_double(0x7ff0000000000000LL)
#endif
#ifndef NAN
#define NAN __longlong_as_double(0x7ff8000000000000LL)
#endif
#define BLOCK 256 /* threads */
#define AT_ONCE (BLOCK / GROUP)
#define INLINE static __device__ __forceinline__

typedef unsigned MASK;

/* ---- numbers in memory ---- */

struct Half { unsigned short bits; };
struct BFloat16 { unsigned short bits; };

template <class T> INLINE REAL load(T x) { return (REAL)x; }
INLINE REAL load(BFloat16 x) { return __int_as_float((int)((unsigned)x.bits << 16)); }
INLINE REAL load(Half x) {
    const unsigned rest = x.bits & 0x7fffu;
    const float subnormal = (float)rest * 5.9604644775390625e-08f;
    const float normal = __int_as_float((int)((rest << 13) + (112u << 23)));
    const float beyond = __int_as_float((int)(0x7f800000u | ((rest & 0x3ffu) << 13)));
    const float size = rest >= 0x7c00u ? beyond : rest < 0x400u ? subnormal : normal;
    return x.bits >> 15 ? -size : size;
}

/* Of what is to be rounded again: towards zero, with a last bit that tells of a rest. */
INLINE float to_odd(float x) { return x; }
INLINE float to_odd(double x) {
    const float near = (float)x;
    unsigned bits = (unsigned)__float_as_int(near);
    if ((double)near == x || x != x) return near;
    if (fabs((double)near) > fabs(x)) bits -= 1;
    return __int_as_float((int)(bits | 1u));
}

template <class T, class From> INLINE void store(T *at, From x) { *at = (T)x; }
template <class From> INLINE void store(BFloat16 *at, From from) {
    const float x = to_odd(from);
    const unsigned bits = (unsigned)__float_as_int(x);
    const unsigned near = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    at->bits = (unsigned short)(x != x ? 0x7fc0u : near);
}
template <class From> INLINE void store(Half *at, From from) {
    const float x = to_odd(from);
    const unsigned bits = (unsigned)__float_as_int(x), size = bits & 0x7fffffffu;
    const float scaled = __int_as_float((int)size) * 16777216.0f + 8388608.0f;
    const unsigned subnormal = (unsigned)__float_as_int(scaled) - 0x4b000000u;
    const unsigned normal = (size + 0xfffu + ((size >> 13) & 1u) - (112u << 23)) >> 13;
    unsigned half = size < 0x38800000u ? subnormal : normal;
    half = size >= 0x477ff000u ? 0x7c00u : half;
    half = size > 0x7f800000u ? 0x7e00u : half;
    at->bits = (unsigned short)(half | ((bits >> 16) & 0x8000u));
}

/* ---- functions that formulas ask for ---- */

#define FN(name) device_##name

INLINE float device_exp(float x) { return expf(x); }
INLINE float device_log(float x) { return logf(x); }
INLINE float device_log1p(float x) { return log1pf(x); }
INLINE float device_abs(float x) { return fabsf(x); }
INLINE float device_pow(float x, float y) { return powf(x, y); }
INLINE double device_pow(double x, double y) { return pow(x, y); }
INLINE double device_exp(double x) { return exp(x); }
INLINE double device_log(double x) { return log(x); }
INLINE double device_log1p(double x) { return log1p(x); }
INLINE double device_abs(double x) { return fabs(x); }
INLINE REAL device_log1p_of_any(REAL x) { return device_log1p(x); }
INLINE MASK device_isinf(REAL x) { return -(MASK)(device_abs(x) == (REAL)INFINITY); }
INLINE REAL device_where(MASK mask, REAL x, REAL y) { return mask ? x : y; }

/* ---- sums ---- */

struct Sum { double high, low; };

/* Of float32 in float64; of that in two parts. */
INLINE void add(Sum &sum, double x) {
    const double high = sum.high + x, back = high - sum.high;
    if (WIDE) sum.low += (sum.high - (high - back)) + (x - back);
    sum.high = high;
}

/* What is infinite or NaN has no rest. */
INLINE double total(const Sum &sum) {
    return fabs(sum.high) < INFINITY ? sum.high + sum.low : sum.high;
}

/* Of N threads beside each other, each of which gets it. */
template <int N> INLINE void merge(Sum &sum) {
    __shared__ double high[BLOCK], low[BLOCK];
    if (N == 1) return;
    const int own = threadIdx.x, lane = own % N;
    __syncthreads();
    high[own] = sum.high;
    low[own] = sum.low;
    for (int half = N / 2; half > 0; half /= 2) {
        __syncthreads();
        if (lane < half) {
            add(sum, high[own + half]);
            sum.low += low[own + half];
            high[own] = sum.high;
            low[own] = sum.low;
        }
    }
    __syncthreads();
    sum.high = high[own - lane];
    sum.low = low[own - lane];
}

/* ---- the largest, and the number of its class: of equal ones, or of NaN, the first ---- */

struct Largest { REAL value, top; };

INLINE void compare(Largest &largest, REAL x, REAL number) {
    if (!(x <= largest.value) && largest.value == largest.value) {
        largest.value = x;
        largest.top = number;
    }
}

INLINE bool is_before(const Largest &a, const Largest &b) {
    const bool is_nan = a.value != a.value, other_is_nan = b.value != b.value;
    if (is_nan != other_is_nan) return is_nan;
    if (!is_nan && a.value != b.value) return a.value > b.value;
    return a.top < b.top;
}

template <int N> INLINE void merge(Largest &largest) {
    __shared__ REAL value[BLOCK], top[BLOCK];
    if (N == 1) return;
    const int own = threadIdx.x, lane = own % N;
    __syncthreads();
    value[own] = largest.value;
    top[own] = largest.top;
    for (int half = N / 2; half > 0; half /= 2) {
        __syncthreads();
        if (lane < half) {
            const Largest other = {value[own + half], top[own + half]};
            if (is_before(other, largest)) largest = other;
            value[own] = largest.value;
            top[own] = largest.top;
        }
    }
    __syncthreads();
    largest.value = value[own - lane];
    largest.top = top[own - lane];
}
