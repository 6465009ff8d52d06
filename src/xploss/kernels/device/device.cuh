/* What a kernel on a GPU is made of.  Nothing is included, since PyTorch's and CuPy's
   wheels bring a compiler and no toolkit.  The text before says what `REAL` is, how many
   threads a block (`BLOCK`) and a row (`GROUP`) have, how many elements a thread has at a
   time (`EACH`), and in which integers they are counted (`Size`). */

#ifndef INFINITY
#define INFINITY __longlong_as_double(0x7ff0000000000000LL)
#endif
#ifndef NAN
#define NAN __longlong_as_double(0x7ff8000000000000LL)
#endif
#define AT_ONCE (BLOCK / GROUP) /* rows */
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
/* formulas/difference.py has the mathematics. */
INLINE REAL device_exp_of_difference(REAL a, REAL b) {
    const REAL difference = a - b, back = a - difference;
    const REAL error = (a - (difference + back)) + (back - b);
    const REAL rounded = device_exp(difference);
    return rounded == 0 ? 0 : rounded * (1 + error);
}
INLINE MASK device_isinf(REAL x) { return -(MASK)(device_abs(x) == (REAL)INFINITY); }
INLINE REAL device_where(MASK mask, REAL x, REAL y) { return mask ? x : y; }

/* ---- what threads have found, put together ----

   N threads at a distance of STEP have a row, or a block, and all of them get the result:
   within a warp by exchanging, else by memory that is shared. */

#ifdef __HIP_PLATFORM_AMD__
#define EXCHANGED(x, distance) __shfl_xor(x, distance)
#else
#define EXCHANGED(x, distance) __shfl_xor_sync(0xffffffffu, x, distance, 32)
#endif

INLINE void exchange(double &high, double &low, int distance) {
    high = EXCHANGED(high, distance);
    low = EXCHANGED(low, distance);
}
INLINE void exchange(float &high, float &low, int distance) {
    high = EXCHANGED(high, distance);
    low = EXCHANGED(low, distance);
}

template <int N, int STEP, class T> INLINE void merge(T &own) {
    typedef typename T::Number Number;
    if (N == 1) return;
    if (N <= 32 && STEP == 1) {
        for (int distance = N / 2; distance > 0; distance /= 2) {
            T other = own;
            exchange(other.first, other.second, distance);
            own.take(other);
        }
        return;
    }
    __shared__ Number firsts[BLOCK], seconds[BLOCK];
    const int place = threadIdx.x, lane = place / STEP % N;
    __syncthreads();
    firsts[place] = own.first;
    seconds[place] = own.second;
    for (int half = N / 2; half > 0; half /= 2) {
        __syncthreads();
        if (lane < half) {
            T other = own;
            other.first = firsts[place + half * STEP];
            other.second = seconds[place + half * STEP];
            own.take(other);
            firsts[place] = own.first;
            seconds[place] = own.second;
        }
    }
    __syncthreads();
    own.first = firsts[place - lane * STEP];
    own.second = seconds[place - lane * STEP];
}

/* A sum in two parts: what rounding the first loses is in the second. */
template <class Of> struct Parts {
    typedef Of Number;
    Of first, second;
    __device__ __forceinline__ void add(Of x) {
        const Of sum = first + x, back = sum - first;
        second += (first - (sum - back)) + (x - back);
        first = sum;
    }
    /* The same bits, whichever takes the other. */
    __device__ __forceinline__ void take(const Parts &other) {
        second += other.second;
        add(other.first);
    }
    /* What is infinite or NaN has no rest. */
    __device__ __forceinline__ Of total() const {
        return device_abs(first) < (Of)INFINITY ? first + second : first;
    }
};

/* A loss of float32 needs no second part in float64. */
INLINE void add(Parts<double> &losses, float x) { losses.first += (double)x; }
INLINE void add(Parts<double> &losses, double x) { losses.add(x); }

/* The largest, and the number of its class: of equal ones, or of NaN, the first. */
struct Largest {
    typedef REAL Number;
    REAL first, second;
    __device__ __forceinline__ void compare(REAL x, REAL number) {
        if (!(x <= first) && first == first) {
            first = x;
            second = number;
        }
    }
    __device__ __forceinline__ void take(const Largest &other) {
        const bool is_nan = first != first, other_is_nan = other.first != other.first;
        bool is_later = second > other.second;
        if (!is_nan && first != other.first) is_later = other.first > first;
        if (is_nan != other_is_nan) is_later = other_is_nan;
        if (is_later) *this = other;
    }
};
