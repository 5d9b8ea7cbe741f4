// What kernels that turn heads by position share (common/heads.h has the equation). For kernels
// only (common/isa.h).
#pragma once

#include <type_traits>

#include "common/heads.h"
#include "common/rows.h"

namespace snakelm::SNAKELM_ISA {

// Numbers of a head's two halves at one place.
struct Pair {
  Vec a, b;
};

SNAKELM_INLINE Pair turned(Pair x, Vec cos, Vec sin) {
  return {multiply_add(x.a, cos, -(x.b * sin)), multiply_add(x.b, cos, x.a * sin)};
}
SNAKELM_INLINE Pair turned_back(Pair x, Vec cos, Vec sin) {
  return {multiply_add(x.a, cos, x.b * sin), multiply_add(x.b, cos, -(x.a * sin))};
}

template <class T, class Lanes>
SNAKELM_INLINE Pair read_pair(const T* head, int64_t half, int64_t j, Lanes lanes) {
  return {read(head + j, lanes), read(head + half + j, lanes)};
}
template <class T, class Lanes>
SNAKELM_INLINE void write_pair(Pair x, T* head, int64_t half, int64_t j, Lanes lanes) {
  write(x.a, head + j, lanes);
  write(x.b, head + half + j, lanes);
}

// The first head of position i of the B T.
template <class T>
SNAKELM_INLINE const T* heads_at(const HeadsView& view, int64_t time, int64_t i) {
  return static_cast<const T*>(view.data) + i / time * view.batch + i % time * view.time;
}
// Where its cosines and sines begin.
SNAKELM_INLINE int64_t angle_at(const Angles& angles, int64_t time, int64_t half, int64_t i) {
  return (angles.by_row ? i : i % time) * half;
}

// Calls run with D/2 as a constant where it is one of the usual ones, so that the compiler unrolls
// the walk along a head and keeps it in registers; with 0 for another.
template <class Run>
SNAKELM_INLINE void with_half(int64_t dim, const Run& run) {
  switch (dim) {
    case 64: return run(std::integral_constant<int, 32>{});
    case 128: return run(std::integral_constant<int, 64>{});
    default: return run(std::integral_constant<int, 0>{});
  }
}

}  // namespace snakelm::SNAKELM_ISA
