// All that CuPy's float16.cuh uses of CUDA's header of this name.
#pragma once
#include <type_traits>

struct __half_raw { unsigned short x; };

struct half {
  _Float16 value;
  half() = default;
  half(__half_raw bits) : value(bits_as<_Float16>(bits)) {}
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
  half(T number) : value((_Float16)number) {}  // rounds once, also from double
  operator float() const { return value; }
  operator __half_raw() const { return bits_as<__half_raw>(value); }
};
static inline unsigned short __half_as_ushort(half v) { return __half_raw(v).x; }
static inline half __ushort_as_half(unsigned short v) { return __half_raw{v}; }
