// Products of attention on AMX's tiles (common/amx.h). Two by two tiles of C are held at a time, so
// that each loaded A and B is used twice: four tiles of sums, two of A, two of B. Four independent
// sums hide the product's latency of 52 cycles behind its rate of 16.
#pragma once

#include "common/amx.h"
#include "ops/attention/attention_tiles.h"

namespace snakelm::SNAKELM_ISA {

constexpr int64_t STRIP = 32;  // rows or columns of two tiles

// One side of a product, in bytes: from row to row within a tile, from the first tile of the two to
// the second, and from one step of 32 summed values to the next.
struct Side {
  const void* data;
  int64_t row, other, step;
};

// to[32, 32] = from[32, 32] + A B, summed over `steps` times 32 values.
struct Product {
  Side a, b;
  int64_t steps;
  const float* from;
  int64_t from_row;
  float* to;
  int64_t to_row;
};

// Products waiting to be computed, a quarter of a step at a turn. A core runs tiles and vectors at
// the same time only where their instructions lie close together, so whoever computes exponentials
// takes a turn after every few vectors. Urgent products go first.
class ProductQueue {
 public:
  void urgent(const Product& product) { urgent_[urgent_count_++] = product; }
  void later(const Product& product) {
    if (later_count_ == MOST_LATER) finish();
    later_[later_count_++] = product;
  }

  // QUARTER goes round from 0 to 3: what it does is known to the compiler.
  template <int QUARTER>
  SNAKELM_INLINE void turn() {
    if (QUARTER == 0 && step_ == steps_) take();
    if (step_ == steps_) return;
    const char *const a = a_ + step_ * now_.a.step, *const b = b_ + step_ * now_.b.step;
    if (QUARTER == 0) {
      if (step_ == 0) {
        if (now_.from)
          load_sums(now_.from, now_.from_row);
        else
          zero_sums();
      }
      load_tile<6>(b, now_.b.row);
      load_tile<4>(a, now_.a.row);
      multiply_tiles<0, 4, 6>();
    } else if (QUARTER == 1) {
      load_tile<7>(b + now_.b.other, now_.b.row);
      multiply_tiles<1, 4, 7>();
    } else if (QUARTER == 2) {
      load_tile<5>(a + now_.a.other, now_.a.row);
      multiply_tiles<2, 5, 6>();
    } else {
      multiply_tiles<3, 5, 7>();
      if (++step_ == steps_) store_sums(now_.to, now_.to_row);
    }
  }

  // To the end, from quarter 0 on.
  SNAKELM_INLINE void finish_urgent() {
    while (step_ < steps_ || urgent_next_ < urgent_count_) all_quarters();
    urgent_next_ = urgent_count_ = 0;
  }
  SNAKELM_INLINE void finish() {
    while (step_ < steps_ || urgent_next_ < urgent_count_ || later_next_ < later_count_) {
      all_quarters();
    }
    urgent_next_ = urgent_count_ = later_next_ = later_count_ = 0;
  }

 private:
  static constexpr int MOST_URGENT = 8, MOST_LATER = 96;

  SNAKELM_INLINE void all_quarters() { turn<0>(), turn<1>(), turn<2>(), turn<3>(); }

  SNAKELM_INLINE void take() {
    if (urgent_next_ < urgent_count_) {
      now_ = urgent_[urgent_next_++];
    } else if (later_next_ < later_count_) {
      now_ = later_[later_next_++];
    } else {
      return;
    }
    a_ = static_cast<const char*>(now_.a.data), b_ = static_cast<const char*>(now_.b.data);
    step_ = 0, steps_ = now_.steps;
  }

  Product now_;
  const char *a_ = nullptr, *b_ = nullptr;
  int64_t step_ = 0, steps_ = 0;
  int urgent_next_ = 0, urgent_count_ = 0, later_next_ = 0, later_count_ = 0;
  Product urgent_[MOST_URGENT], later_[MOST_LATER];
};

// 2^x as exp2 of common/simd.h, for what is rounded to bfloat16 at once: relative error 1e-4, a
// fortieth of that rounding's. x - floor(x) by one instruction, whose floor the scaling takes
// again: no bounds are needed, and -inf gives 0, NaN NaN.
SNAKELM_INLINE Vec exp2_coarse(Vec x) {
  const Vec f = (Vec)_mm512_reduce_ps((__m512)x, 0x09);  // x - floor(x), in [0, 1)
  Vec p = multiply_add(splat(7.70672403e-2f), f, splat(2.27644978e-1f));
  p = multiply_add(p, f, splat(6.95116631e-1f));
  p = multiply_add(p, f, splat(1.0f));
  return (Vec)_mm512_scalef_ps((__m512)p, (__m512)x);
}

}  // namespace snakelm::SNAKELM_ISA
