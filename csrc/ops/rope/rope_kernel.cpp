// Rotation of heads on one CPU core, for any vector width; compiled once for each instruction set
// (common/isa.h).
#include "common/rotate.h"
#include "ops/rope/rope.h"

namespace snakelm::SNAKELM_ISA {

template <class T, int HALF, bool BACK>
void rope_positions(const RopeProblem& p, int64_t first, int64_t last) {
  const int64_t half = HALF ? HALF : p.dim / 2;
  for (int64_t i = first; i < last; ++i) {
    const int64_t angle = angle_at(p.angles, p.time, half, i);
    const float *const cos = p.angles.cos + angle, *const sin = p.angles.sin + angle;
    const T* const x = heads_at<T>(p.x, p.time, i);
    T* const out = row<T>(p.out, i, p.heads * p.dim);
    for (int64_t h = 0; h < p.heads; ++h) {
      along(half, [&](int64_t j, auto lanes) {
        const Pair pair = read_pair(x + h * p.x.head, half, j, lanes);
        const Vec c = read(cos + j, lanes), s = read(sin + j, lanes);
        write_pair(BACK ? turned_back(pair, c, s) : turned(pair, c, s), out + h * p.dim, half, j,
                   lanes);
      });
    }
  }
}

template <class T, int HALF>
void rope_either_way(const RopeProblem& p, int64_t first, int64_t last) {
  p.back ? rope_positions<T, HALF, true>(p, first, last)
         : rope_positions<T, HALF, false>(p, first, last);
}

void rope(const RopeProblem& p, int64_t first, int64_t last) {
  with_half(p.dim, [&](auto half) {
    p.type == Element::float32 ? rope_either_way<float, half()>(p, first, last)
                               : rope_either_way<BFloat16, half()>(p, first, last);
  });
}

}  // namespace snakelm::SNAKELM_ISA
