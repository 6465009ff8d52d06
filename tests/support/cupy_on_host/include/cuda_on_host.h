// What the CUDA C++ that CuPy generates needs in order to compile as C++ for the host.
// Every kernel is compiled behind this header, which is precompiled once.
#pragma once
#include <math.h>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include "grid.h"

#define __CUDACC_VER_MAJOR__ 12  // has CuPy include cuda_fp16.h
#define __device__
#define __forceinline__ inline
#define __global__
#define __host__
#define __shared__ static  // one block runs at a time

// ---- barriers and warps ----------------------------------------------------------
static const int warpSize = 32;
static inline void __syncthreads() { wait_for_block(); }
static inline void __syncwarp(unsigned = 0) { wait_for_warp(); }

static inline unsigned thread_number() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
// Every thread of the warp leaves its value, and then reads another's.
template <class T> static inline T exchange(T value, unsigned source) {
  static T values[MAX_THREADS];
  values[thread_number()] = value;
  wait_for_warp();
  T other = values[source];
  wait_for_warp();
  return other;
}
template <class T> static inline T __shfl_xor_sync(unsigned, T value, int mask, int) {
  return exchange(value, thread_number() ^ mask);
}
template <class T> static inline T __shfl_up_sync(unsigned, T value, int by, int of) {
  int own = thread_number();
  return exchange(value, own % of < by ? own : own - by);
}

// ---- intrinsics ------------------------------------------------------------------
template <class To, class From> static inline To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From), "");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
static inline int __float_as_int(float v) { return bits_as<int>(v); }
static inline float __int_as_float(int v) { return bits_as<float>(v); }
static inline long long __double_as_longlong(double v) { return bits_as<long long>(v); }
static inline double __longlong_as_double(long long v) { return bits_as<double>(v); }

static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
static inline int __clz(int v) { return v ? __builtin_clz(v) : 32; }

// CUDA's min and max take mixed types, and prefer a number to a NaN.
template <class A, class B, class T = std::common_type_t<A, B>>
static inline T min(A a, B b) { T x = a, y = b; return x < y || y != y ? x : y; }
template <class A, class B, class T = std::common_type_t<A, B>>
static inline T max(A a, B b) { T x = a, y = b; return x > y || y != y ? x : y; }

// Threads run one after another, so that plain reading and writing is atomic.  CuPy's
// headers build their other atomics on these two.
template <class T> static inline T atomicCAS(T* at, T expected, T value) {
  T old = *at;
  if (old == expected) *at = value;
  return old;
}
typedef unsigned long long Unsigned;
static inline Unsigned atomicAdd(Unsigned* at, Unsigned v) { return (*at += v) - v; }

// ---- launch ----------------------------------------------------------------------
// Calls the kernel for one thread, with its own copies of the arguments as on a device.
template <class... A, size_t... I>
static inline void call(void (*kernel)(A...), void** from, std::index_sequence<I...>) {
  kernel(*(std::decay_t<A>*)from[I]...);
}
template <class... A> static inline void call(void (*kernel)(A...), void** from) {
  call(kernel, from, std::index_sequence_for<A...>{});
}
#define LAUNCHABLE(NAME) extern "C" __attribute__((visibility("default"))) \
  void launch_##NAME(void** arguments) { call(NAME, arguments); }

#include <cupy/complex.cuh>
#include <cupy/carray.cuh>
#include <cupy/atomics.cuh>
#include <cupy/math_constants.h>
